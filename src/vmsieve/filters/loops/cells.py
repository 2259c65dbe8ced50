"""Cells of a map of memory: page frames counted by category, in groups of neighbours."""

from __future__ import annotations

from vmsieve.formats.compiler import inline, loop
from vmsieve.formats.compiler.primitives import load8, load16, load32, load64, store8, store16, store32
from vmsieve.formats.slim.typing import Final

#: Counters of a cell: a power of two. They have as many bytes as :func:`counter_size` says.
CATEGORIES: Final = 32


def counter_size(shift: int) -> int:
    """Bytes of a counter of cells of ``1 << shift`` page frames."""
    return 1 if shift < 8 else 2 if shift < 16 else 4


@inline
def count_in(cells: int, number: int, shift: int) -> int:
    """Increment counter ``number``."""
    if shift < 8:
        return store8(cells, number, load8(cells, number) + 1)
    if shift < 16:
        return store16(cells, number * 2, load16(cells, number * 2) + 1)
    return store32(cells, number * 4, load32(cells, number * 4) + 1)


@loop
def count_cell_pages(
    classes: int, first: int, pfns: int, zeros: int, count: int, table: int, shift: int, cells: int
) -> int:
    """Count pages in their cells; returns 0.

    Args:
        classes: Address of a byte for each page frame from ``first`` on: its class.
        first: The first page frame of the first cell.
        pfns: Address of ``count`` 64-bit page frame numbers.
        zeros: Address of ``count`` bytes: 1 for a zero page.
        count: Pages to count.
        table: Address of 512 bytes: the category of each class, first of pages with content, then of zero pages.
        shift: A cell has ``1 << shift`` page frames.
        cells: Address of :data:`CATEGORIES` counters for each cell.
    """
    for i in range(count):
        bit = load64(pfns, i * 8) - first
        which = load8(table, load8(classes, bit) + load8(zeros, i) * 256)
        count_in(cells, (bit >> shift) * CATEGORIES + which, shift)
    return 0


@loop
def count_cell_bits(bits: int, count: int, category: int, shift: int, cells: int) -> int:
    """Count the bits that are set among ``count`` at address ``bits`` as one category; returns 0.

    ``shift``, ``cells``: as for :func:`count_cell_pages`. The first bit is in the first cell.
    """
    i = 0
    while i < count:
        byte = load8(bits, i >> 3)
        if byte == 0:
            i += 8
            continue
        for k in range(8):
            if i + k < count and byte & (1 << k):
                count_in(cells, ((i + k) >> shift) * CATEGORIES + category, shift)
        i += 8
    return 0
