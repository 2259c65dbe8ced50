"""Which pages hold nothing but zeros."""

from __future__ import annotations

from vmsieve.formats.compiler import inline, loop
from vmsieve.formats.compiler.primitives import load32, load64, store8

__all__ = ["is_zero", "zero_pages"]


@inline
def is_zero(page: int, size: int) -> int:
    """1 if the ``size`` bytes (a multiple of 512) at address ``page`` are all zero.

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
    """Mark the zero pages among ``count`` pages of ``size`` bytes.

    ``pages``: address of the memory they lie in; ``index``: address of ``count`` 32-bit words: which page of that
    memory each one is. ``out``: address of ``count`` bytes, each set to 1 for a zero page and to 0 for another. Returns
    how many are zero.
    """
    found = 0
    for i in range(count):
        zero = is_zero(pages + load32(index, i * 4) * size, size)
        store8(out, i, zero)
        found += zero
    return found
