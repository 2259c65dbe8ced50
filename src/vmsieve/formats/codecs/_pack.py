"""Loops that pack and unpack a batch of pages with any codec.

They call every codec of this room through one function (``Plugins``). A codec imports ``loops``, so these live here.
"""

from __future__ import annotations

from vmsieve.formats.codecs import codecs
from vmsieve.formats.compiler import loop
from vmsieve.formats.compiler.families import Plugins
from vmsieve.formats.compiler.primitives import load32, load64, store32, store64
from vmsieve.formats.loops import view as words
from vmsieve.formats.loops.bits import ZERO_PAGE
from vmsieve.formats.loops.compare import is_zero
from vmsieve.formats.loops.copies import copy
from vmsieve.formats.loops.view import move_window
from vmsieve.formats.slim.typing import Any, Final

_ALL: Final = (1 << 64) - 1
_compress: Any = Plugins(lambda: [codec.compress for codec in codecs()], how="pick")
_decompress: Any = Plugins(lambda: [codec.decompress for codec in codecs()], how="pick")


@loop
def pack_pages(
    which: int, state: int, count: int, pages: int, index: int, page_size: int,
    skip_zero: int, flag: int, sizes: int, flags: int, out: int, view: int,
) -> int:  # fmt: skip
    """Pack pages one behind the other; return bytes written.

    Args:
        which: Number of the codec: its index in :func:`vmsieve.formats.codecs.codecs`.
        state: Address of the thread's :class:`~vmsieve.formats.codecs.State` from ``open_compressor``.
        index: Address of ``count`` native 32-bit words: each page's index in the memory at ``pages``, or
            :data:`~vmsieve.formats.loops.bits.ZERO_PAGE`: it is not stored, whatever ``skip_zero`` is.
        page_size: Bytes; a multiple of 512.
        skip_zero: Not 0: a page of zeros is not stored; its size and flags are 0.
        flag: Flags of a packed page.
        sizes: Address of ``count`` native 32-bit words, set to stored sizes.
        flags: Address of ``count`` native 32-bit words, set to ``flag``, or 0 for a page stored as it is.
        out: Address of ``count * page_size`` bytes: no page takes more than ``page_size``, whatever the codec.
        view: 0, or the address of a view (:mod:`vmsieve.formats.loops.view`) whose window is at ``pages``: it is moved
            to each page. Then the loop may stop early, and ``out`` needs space for the view's limit and one more page.
    """
    at = out
    start = 0
    end = _ALL
    limit = _ALL
    if view != 0:
        start = load64(view, words.START)
        end = load64(view, words.END)
        limit = out + load64(view, words.LIMIT)
    i = 0
    while i < count and at < limit:
        number = load32(index, i * 4)
        place = number * page_size
        if place >= end and number != ZERO_PAGE:
            if move_window(view, place) == 0:
                store64(view, words.FAILED, 1)
                break
            start = place
            end = load64(view, words.END)
        page = pages + (place - start)
        size = 0
        kept = 0
        if number != ZERO_PAGE and (skip_zero == 0 or is_zero(page, page_size) == 0):
            size = _compress(which, state, page, page_size, at, page_size - 1)
            kept = flag
            if size == 0 or size >= page_size:
                copy(at, page, page_size)
                size = page_size
                kept = 0
        store32(sizes, i * 4, size)
        store32(flags, i * 4, kept)
        at += size
        i += 1
    if view != 0:
        store64(view, words.DONE, i)
    return at - out


@loop
def unpack_pages(which: int, state: int, count: int, table: int, packed: int, page_size: int, out: int) -> int:
    """Unpack pages one behind the other; return the index of the first damaged one, ``count`` if all are good.

    Args:
        which: Number of the codec, as for :func:`pack_pages`; ``state`` is of its ``open_decompressor``.
        table: Address of ``count`` native entries of 16 bytes: 64-bit offset in ``packed``; 32-bit size; 32 bits, 1 if
            packed, 0 if stored as it is. The caller has checked that each lies within ``packed``.
        out: Address of ``count * page_size`` bytes. Undefined from the damaged page on.
    """
    for i in range(count):
        source = packed + load64(table, i * 16)
        size = load32(table, i * 16 + 8)
        kind = load32(table, i * 16 + 12)
        target = out + i * page_size
        if kind == 0 and size == page_size:
            copy(target, source, page_size)
        elif kind != 1 or _decompress(which, state, source, size, target, page_size) != page_size:
            return i
    return count
