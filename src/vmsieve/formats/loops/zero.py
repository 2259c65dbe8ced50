"""Detection of zero pages."""

from __future__ import annotations

from vmsieve.formats.compiler import inline, loop
from vmsieve.formats.compiler.primitives import load32, load64, store8


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

    Args:
        pages: Address of the memory that holds them.
        index: Address of ``count`` 32-bit words: each page's index in that memory.
        out: Address of ``count`` bytes, set to 1 for a zero page, else 0.
    """
    found = 0
    for i in range(count):
        zero = is_zero(pages + load32(index, i * 4) * size, size)
        store8(out, i, zero)
        found += zero
    return found
