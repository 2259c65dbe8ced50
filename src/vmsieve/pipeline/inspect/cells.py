"""Cells of a memory map, with a count of page frames for each category.

A row of the map has :data:`COLUMNS` cells. Long runs of rows without memory are omitted, and a cell covers as many page
frames as it takes for the map to fit.
"""

from __future__ import annotations

from vmsieve.filters.loops.cells import CATEGORIES, count_cell_bits, count_cell_pages
from vmsieve.filters.rules import rules
from vmsieve.formats.bitmap import BLOCK, address_of
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.filters.rules import Rule
    from vmsieve.formats.inputs import MemoryRange

COLUMNS: Final = 256
_ROWS: Final = 288  # of all bands, each of which counts for one more: the line of text between two
_GAP: Final = 4  # rows without memory that are drawn rather than omitted
_BLOCK_SHIFT: Final = BLOCK.bit_length() - 1
_EXISTS, _STORED = CATEGORIES - 1, CATEGORIES - 2  # counters of which Cells.counts makes categories


def categories() -> dict[str, str]:
    """Title of each category of page frames by its name, in the order of a cell's counts."""
    return {
        "kept": "Kernel data and others",
        **{rule.name: rule.title for rule in rules()},
        "absent": "Not in the input",
        "unreadable": "Unreadable pages",
        "hole": "Memory holes",
    }


@record(frozen=True)
class Band:
    """Consecutive rows of the map, ``first`` up to ``end``; row 0 begins at address 0."""

    first: int
    end: int


@record
class MapLayout:
    """Layout of a map: a cell covers ``1 << shift`` page frames; the bands drawn are ascending."""

    shift: int
    bands: list[Band]

    @classmethod
    def fit(cls, ranges: Iterable[MemoryRange], page_size: int) -> MapLayout:
        """Fit these memory ranges on a map, in memory that does not grow with their number."""
        shift, rows = 0, 0
        spans: list[tuple[int, int]] = []
        for one in ranges:
            if one.start >= one.end:
                continue
            span = COLUMNS * page_size << shift
            rows += _append(spans, one.start // span, -(-one.end // span))
            while rows > _ROWS:
                shift += 1
                spans, halves = [], spans
                rows = sum(_append(spans, first >> 1, (end + 1) >> 1) for first, end in halves)
        return cls(shift, [Band(first, end) for first, end in spans])


def _append(spans: list[tuple[int, int]], first: int, end: int) -> int:
    """Extend the last span by rows, or add a span; return the growth of the map in rows."""
    if not spans or first > spans[-1][1] + _GAP:
        spans.append((first, end))
        return end - first + 1
    before = spans[-1][1]
    spans[-1] = spans[-1][0], max(end, before)
    return spans[-1][1] - before


class Cells:
    """The cells of a map, filled block by block while pages are classified."""

    def __init__(self, layout: MapLayout, classes: list[Rule]) -> None:
        """Make empty cells; ``classes``: the rules that the bits of a page class stand for."""
        self.layout = layout
        self.categories = categories()
        self._blocks: dict[int, bytearray] = {}
        names = list(self.categories)
        assert len(names) <= _STORED
        by_bit = [names.index(rule.name) for rule in classes]
        nonzero = [by_bit[(bits & -bits).bit_length() - 1] if bits else 0 for bits in range(1 << len(classes))]
        nonzero += [0] * (256 - len(nonzero))
        # A zero page counts as one only if no rule drops it.
        self._table = bytearray(nonzero + [category or names.index("zero") for category in nonzero])

    def _counters(self, first: int) -> bytearray:
        """Return the counters of the block at page frame ``first``; blocks may share a cell."""
        shift = self.layout.shift
        key = first >> max(shift, _BLOCK_SHIFT)
        if key not in self._blocks:
            self._blocks[key] = bytearray(max(1, BLOCK >> shift) * CATEGORIES * 4)
        return self._blocks[key]

    def block(self, first: int, exists: bytearray, stored: bytearray) -> None:
        """Count the page frames of a block that exist and that are stored."""
        counters, shift = address_of(self._counters(first)), self.layout.shift
        for category, bits in ((_EXISTS, exists), (_STORED, stored)):
            count_cell_bits(address_of(bits), len(bits) * 8, category, shift, counters)

    def pages(self, first: int, classes: bytearray, pfns: int, zeros: bytearray, count: int) -> None:
        """Count pages of the block at ``first``; the arguments are those of :func:`count_cell_pages`."""
        count_cell_pages(
            address_of(classes), first, pfns, address_of(zeros), count, address_of(self._table), self.layout.shift,
            address_of(self._counters(first)),
        )  # fmt: skip

    def counts(self, cell: int) -> list[int]:
        """Return the page frames of each category in a cell; cell 0 begins at address 0."""
        shift = self.layout.shift
        key, place = (cell, 0) if shift >= _BLOCK_SHIFT else divmod(cell, BLOCK >> shift)
        found = [0] * len(self.categories)
        counters = self._blocks.get(key)
        if counters is None:
            found[-1] = 1 << shift
            return found
        row = memoryview(counters).cast("I")[place * CATEGORIES : (place + 1) * CATEGORIES].tolist()
        found[:-3] = row[: len(found) - 3]
        found[-3:] = row[_EXISTS] - row[_STORED], row[_STORED] - sum(found[:-3]), (1 << shift) - row[_EXISTS]
        return found
