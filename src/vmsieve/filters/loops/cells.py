"""Cells of a map of memory: how many of so many neighbouring page frames are of which category."""

from __future__ import annotations

from typing import Final

from vmsieve.formats.compiler import loop
from vmsieve.formats.compiler.primitives import load8, load32, load64, store32

__all__ = ["CATEGORIES", "count_cell_bits", "count_cell_pages"]

#: 32-bit counters a cell has: a power of two.
CATEGORIES: Final = 16


@loop
def count_cell_pages(
    classes: int, first: int, pfns: int, zeros: int, count: int, table: int, shift: int, cells: int
) -> int:
    """Count pages in their cells; returns 0.

    Args:
        classes: Address of the classes of the page frames from ``first`` on, a byte each.
        first: The first of these page frames.
        pfns: Address of ``count`` 64-bit words: the page frames to count.
        zeros: Address of ``count`` bytes: 1 for a page of zeros, 0 for another.
        count: How many there are.
        table: Address of 512 bytes: the category of each class, first of pages with content, then of zero pages.
        shift: A cell has ``1 << shift`` page frames; ``first`` is in the first cell.
        cells: Address of :data:`CATEGORIES` 32-bit counters for each cell.
    """
    for i in range(count):
        bit = load64(pfns, i * 8) - first
        which = load8(table, load8(classes, bit) + load8(zeros, i) * 256)
        at = ((bit >> shift) * CATEGORIES + which) * 4
        store32(cells, at, load32(cells, at) + 1)
    return 0


@loop
def count_cell_bits(bits: int, count: int, category: int, shift: int, cells: int) -> int:
    """Count the bits that are set among ``count`` at address ``bits``, as category ``category``; returns 0.

    ``shift`` and ``cells`` as for :func:`count_cell_pages`, the first bit being in the first cell.
    """
    i = 0
    while i < count:
        byte = load8(bits, i >> 3)
        if byte == 0:
            i += 8
            continue
        for k in range(8):
            if i + k < count and byte & (1 << k):
                at = (((i + k) >> shift) * CATEGORIES + category) * 4
                store32(cells, at, load32(cells, at) + 1)
        i += 8
    return 0
