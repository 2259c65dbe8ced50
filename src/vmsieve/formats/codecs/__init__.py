"""Page codecs: compression of one page in a kdump-compressed dump.

Belongs here: one file per codec, ending in ``CODEC``; ``_pack`` (batch loops over all codecs); the search for C
libraries.
Does not: compression of whole files (``frames``), loops that implement a codec (``loops``).

Packing runs in compiled loops, a batch at a time. ``compress`` and ``decompress`` are *inline* functions in the loops'
dialect that do the work (lzo, snappy) or call a C library by address. Address, context and scratch memory lie in a
*state*: 64-bit words that ``open_*`` prepares for one thread. Without a C library the address is that of a ctypes
callback, so callers have one path on every machine.
"""

from __future__ import annotations

import ctypes
import sys

from vmsieve.formats.errors import UsageError
from vmsieve.formats.plugins import load, names, scan
from vmsieve.formats.slim.records import field, record, replace
from vmsieve.formats.slim.typing import Any, Callable


@record
class State:
    """The state of one thread that runs a codec in one direction."""

    provider: str  #: Origin of the code, for people: ``"isal (wheel)"``, ``"libz.so.1 1.2.13"``, ``"built in"``.
    words: ctypes.Array[ctypes.c_uint64]  #: Codec-specific words; the inline function gets their address.
    keep: list[Any] = field(default_factory=list)  #: Objects whose memory ``words`` refers to.
    close: Callable[[], None] = lambda: None  #: Frees C memory; ends the use of the state.

    @property
    def address(self) -> int:
        """Address of ``words``, for loops."""
        return ctypes.addressof(self.words)


@record(frozen=True)
class Codec:
    """A page codec."""

    name: str  #: Short and unique; the argument of ``--codec``.
    title: str  #: For people.
    #: Bit in a page descriptor's flags and the main header's status; 0 for no compression. DUMP_DH_COMPRESSED_* of
    #: crash's ``diskdump_mod.h``.
    flag: int
    option: str | None  #: makedumpfile's option letter, such as ``"z"``, or None.
    default_level: int  #: Level without a request.
    levels: tuple[int, int]  #: Lowest and highest level; equal if there is no choice.
    #: Inline ``(state, source, size, out, room) -> packed size``; 0 if it fails or the result exceeds ``room``. May use
    #: all of ``room``.
    compress: Callable[[int, int, int, int, int], int]
    #: Inline ``(state, source, size, out, room) -> bytes``; 0 for damaged input. Never writes beyond ``room`` or reads
    #: beyond ``size``, whatever the input.
    decompress: Callable[[int, int, int, int, int], int]
    open_compressor: Callable[[int, int], State]  #: ``(level, page_size) -> State`` for one thread.
    open_decompressor: Callable[[int], State]  #: ``(page_size) -> State`` for one thread.


def opener(scratch: int) -> Callable[[int, int], State]:
    """Make an ``open_compressor`` of a codec that is a loop itself: its state is the address of ``scratch`` bytes."""

    def open_compressor(level: int, page_size: int) -> State:
        del level, page_size
        memory = ctypes.create_string_buffer(scratch)
        return State("built in", (ctypes.c_uint64 * 1)(ctypes.addressof(memory)), [memory])

    return open_compressor


def open_nothing(page_size: int) -> State:
    """The ``open_decompressor`` of a codec that is a loop itself."""
    return opener(0)(0, page_size)


def codecs() -> list[Codec]:
    """All codecs in order of their modules' names. The index is a codec's number in loops."""
    return scan(sys.modules[__name__], "CODEC", Codec)


def codec_number(name: str) -> int:
    """The number of codec ``name`` in loops."""
    return names(sys.modules[__name__]).index(name)


def codec(name: str) -> Codec:
    """The codec ``name``; ``name@provider`` restricts it to one provider for packing.

    ``provider`` is the beginning of a :attr:`State.provider`, with ``-`` for a space: ``zlib@built-in``,
    ``zlib@libdeflate``, ``zstd@libzstd.so.1``. Raises UsageError, which lists the known names; ``open_compressor``
    raises it for a missing provider.
    """
    name, _, provider = name.partition("@")
    found = load(sys.modules[__name__], "CODEC", name, "codec", Codec)
    if not provider:
        return found
    return replace(found, open_compressor=lambda level, page_size: _open_from(provider, found, level, page_size))


def _open_from(provider: str, found: Codec, level: int, page_size: int) -> State:
    from vmsieve.formats.codecs import _libraries

    _libraries.REQUESTED.append(provider)
    try:
        state = found.open_compressor(level, page_size)
        if _libraries.is_requested(state.provider):
            return state
    finally:
        _libraries.REQUESTED.pop()
    state.close()
    raise UsageError(
        f"{found.name} pages of level {level} can't come from {provider}", found=state.provider,
        hint="'vmsieve info --codecs' lists providers",
    )  # fmt: skip


def rejected_libraries() -> dict[str, str]:
    """Libraries rejected since the last call, with reasons."""
    from vmsieve.formats.codecs._libraries import REJECTED

    found = dict(REJECTED)
    REJECTED.clear()
    return found
