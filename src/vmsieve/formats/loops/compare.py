"""Comparison of pages, with each other and with zeros."""

from __future__ import annotations

from vmsieve.formats.compiler import inline, loop
from vmsieve.formats.compiler.primitives import load32, load64, store8
from vmsieve.formats.loops.bits import ZERO_PAGE


@inline
def is_zero(page: int, size: int) -> int:
    """Return 1 if ``size`` bytes (a multiple of 512) at address ``page`` are all zero.

    512 bytes are or-ed before each test: wide enough for vector loads, narrow enough to leave a page of data early.
    """
    at = 0
    while at < size:
        bits = 0
        for i in range(64):
            bits |= load64(page, at + i * 8)
        if bits != 0:
            return 0
        at += 512
    return 1


@loop
def zero_pages(pages: int, index: int, count: int, size: int, out: int) -> int:
    """Mark zero pages among ``count`` pages of ``size`` bytes; return their number.

    ``index``: address of 32-bit words: each page's index in the memory at ``pages``, or ``ZERO_PAGE``. ``out``: address
    of ``count`` bytes, set to 1 for a zero page, else 0.
    """
    found = 0
    for i in range(count):
        place = load32(index, i * 4)
        zero = 1
        if place != ZERO_PAGE:
            zero = is_zero(pages + place * size, size)
        store8(out, i, zero)
        found += zero
    return found


@loop
def compare_pages(one: int, other: int, index: int, count: int, size: int, out: int) -> int:
    """Compare ``count`` pages of ``size`` bytes (a multiple of 512) at equal indices of two buffers; count differences.

    ``index``: address of a 32-bit word per page: its index in both buffers. ``out``: address of a byte per page, set
    to 0 if equal, 1 if they differ and the page of ``other`` is zero, else 2.
    """
    unequal = 0
    for i in range(count):
        at = load32(index, i * 4) * size
        bits = 0
        byte = 0
        while byte < size and bits == 0:
            for j in range(64):
                bits |= load64(one + at + byte, j * 8) ^ load64(other + at + byte, j * 8)
            byte += 512
        result = 0
        if bits:
            unequal += 1
            result = 1 if is_zero(other + at, size) else 2
        store8(out, i, result)
    return unequal
