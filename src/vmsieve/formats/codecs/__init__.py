"""Page codecs: how one page is packed in a kdump-compressed dump.

A plugin is one file that ends in ``CODEC``, a :class:`Codec`. Packing and unpacking run inside compiled loops
(:mod:`vmsieve.formats.loops.pack`), a batch at a time: a codec's ``compress`` and ``decompress`` are *inline*
functions in the loops' dialect that either do the work (lzo, snappy) or call a C library through an address. What
they need (the address, a context, scratch memory) lies in a *state*: an array of 64-bit words that ``open_*`` prepares
for one thread. Where no C library is found, the address is that of a Python function (a ctypes callback), so that
callers have one path whatever the machine offers.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.records import field, record, replace

__all__ = ["Codec", "State", "codec", "codec_number", "codecs", "passed_over"]


@record
class State:
    """What one thread needs to run a codec in one direction.

    Attributes:
        provider: Where the code comes from, for people: ``"isal (wheel)"``, ``"libz.so.1 1.2.13"``, ``"built in"``.
        words: The state that the inline function is given the address of; codec-specific.
        keep: Objects whose memory ``words`` refers to.
        close: Gives back C memory; the state must not be used afterwards.
    """

    provider: str
    words: ctypes.Array[ctypes.c_uint64]
    keep: list[Any] = field(default_factory=list)
    close: Callable[[], None] = lambda: None

    @property
    def address(self) -> int:
        """Address of ``words``: what loops are given."""
        return ctypes.addressof(self.words)


@record(frozen=True)
class Codec:
    """A page codec.

    Attributes:
        name: Short and unique: what ``--codec`` takes.
        title: For people.
        flag: The bit in a page descriptor's flags and the main header's status (``diskdump_mod.h`` of crash,
            DUMP_DH_COMPRESSED_*); 0 for no compression.
        option: makedumpfile's option letter, such as ``"z"``, or None.
        default_level: Level used when none is asked for.
        levels: Lowest and highest level; equal when there is no choice.
        compress: Inline function ``(state, source, size, out, room) -> packed size``, or 0 when it can't or the result
            would not fit into ``room`` bytes; may use all of ``room``.
        decompress: Inline function ``(state, source, size, out, room) -> bytes``, or 0 when the input is damaged. Never
            writes beyond ``room`` nor reads beyond ``size``, whatever the input.
        open_compressor: ``(level, page_size) -> State`` for one thread.
        open_decompressor: ``(page_size) -> State`` for one thread.
    """

    name: str
    title: str
    flag: int
    option: str | None
    default_level: int
    levels: tuple[int, int]
    compress: Callable[[int, int, int, int, int], int]
    decompress: Callable[[int, int, int, int, int], int]
    open_compressor: Callable[[int, int], State]
    open_decompressor: Callable[[int], State]


def codecs() -> list[Codec]:
    """All codecs, in order of their modules' names. A codec's index here is what loops call it by."""
    from vmsieve.formats import codecs as room
    from vmsieve.formats.plugins import scan

    return scan(room, "CODEC", Codec)


def codec_number(name: str) -> int:
    """What loops call the codec called ``name`` by."""
    from vmsieve.formats import codecs as room
    from vmsieve.formats.plugins import names

    return names(room).index(name)


def codec(name: str) -> Codec:
    """The codec called ``name``; with ``@`` and a provider behind it, one that packs with nothing else.

    A provider is told by the beginning of what :attr:`State.provider` says, with ``-`` for a space: ``zlib@built-in``,
    ``zlib@libdeflate``, ``zstd@libzstd.so.1``.

    Raises:
        UsageError: There is none; the message names those there are. Its ``open_compressor`` raises it when the
            provider can't be had.
    """
    from vmsieve.formats import codecs as room
    from vmsieve.formats.plugins import load

    name, _, provider = name.partition("@")
    found = load(room, "CODEC", name, "codec", Codec)
    if not provider:
        return found
    return replace(found, open_compressor=lambda level, page_size: _open_from(provider, found, level, page_size))


def _open_from(provider: str, found: Codec, level: int, page_size: int) -> State:
    from vmsieve.formats.codecs import _libraries

    _libraries.ASKED.append(provider)
    try:
        state = found.open_compressor(level, page_size)
        if _libraries.asked(state.provider):
            return state
    finally:
        _libraries.ASKED.pop()
    state.close()
    raise UsageError(
        f"{found.name} pages of level {level} can't come from {provider}", found=state.provider,
        hint="'vmsieve info --codecs' says what there is",
    )  # fmt: skip


def passed_over() -> dict[str, str]:
    """Libraries that were looked at and not taken since the last call, each with the reason."""
    from vmsieve.formats.codecs._libraries import PASSED

    found = dict(PASSED)
    PASSED.clear()
    return found
