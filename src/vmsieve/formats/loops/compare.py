"""Comparison of pages."""

from __future__ import annotations

from vmsieve.formats.compiler import loop
from vmsieve.formats.compiler.primitives import load32, load64, store8
from vmsieve.formats.loops.zero import is_zero


@loop
def compare_pages(one: int, other: int, index: int, count: int, size: int, out: int) -> int:
    """Compare ``count`` pages of ``size`` bytes (a multiple of 512) at equal indices of two buffers; count differences.

    Args:
        index: Address of a 32-bit word per page: its index in both buffers.
        out: Address of a byte per page, set to 0 if equal, 1 if they differ and the page of ``other`` is zero, else 2.
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
