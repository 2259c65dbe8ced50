"""Memory cut into cells for a map: how many page frames of each category every cell has.

A row of the map has :data:`COLUMNS` cells. Rows without memory are left out where there are many of them, so that a map
shows memory and not the addresses between. As many page frames share a cell as it takes for the map to fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.filters.loops.cells import CATEGORIES, count_cell_bits, count_cell_pages
from vmsieve.filters.rules import rules
from vmsieve.formats.bitmap import BLOCK, address_of
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.filters.rules import Rule
    from vmsieve.formats.inputs import MemoryRange

__all__ = ["COLUMNS", "Band", "Category", "Cells", "MapLayout", "categories"]

COLUMNS: Final = 256
_ROWS: Final = 288  # of all bands together, each of which counts for one more
_GAP: Final = 4  # rows without memory that are drawn rather than left out
_BLOCK_SHIFT: Final = BLOCK.bit_length() - 1
_EXISTS, _STORED = CATEGORIES - 1, CATEGORIES - 2  # counters that become categories in the end
_KEPT = "kept"


@record(frozen=True)
class Category:
    """What a cell can be full of.

    Attributes:
        name: Short and unique: a rule's, ``kept``, ``absent``, ``unreadable`` or ``hole``.
        title: For people.
    """

    name: str
    title: str


def categories() -> list[Category]:
    """All categories; a cell's counts are in this order."""
    return [
        Category(_KEPT, "Kernel data and others"),
        *(Category(rule.name, rule.title) for rule in rules()),
        Category("absent", "Not in the input"),
        Category("unreadable", "Unreadable pages"),
        Category("hole", "Memory holes"),
    ]


@record(frozen=True)
class Band:
    """Rows of the map one after another: rows ``first .. end`` of all that the address space has."""

    first: int
    end: int


@record
class MapLayout:
    """How memory is laid out on a map.

    Attributes:
        shift: A cell has ``1 << shift`` page frames.
        bands: What is drawn, ascending.
    """

    shift: int
    bands: list[Band]

    @classmethod
    def fit(cls, ranges: Iterable[MemoryRange], page_size: int) -> MapLayout:
        """The layout for a machine with these memory ranges; takes little memory however many there are."""
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
    """Add rows to the last span, or as a new one; returns by how much the map has grown."""
    if not spans or first > spans[-1][1] + _GAP:
        spans.append((first, end))
        return end - first + 1
    before = spans[-1][1]
    spans[-1] = spans[-1][0], max(end, before)
    return spans[-1][1] - before


class Cells:
    """The cells of a layout, filled block by block, as the pages are looked at."""

    def __init__(self, layout: MapLayout, classes: list[Rule]) -> None:
        """Empty cells; ``classes``: the rules that the bits of a page's class stand for."""
        self.layout = layout
        self.categories = categories()
        self._blocks: dict[int, bytearray] = {}
        names = [one.name for one in self.categories]
        assert len(names) <= _STORED
        places = [names.index(rule.name) for rule in classes]
        first = [places[(which & -which).bit_length() - 1] if which else 0 for which in range(1 << len(classes))]
        first += [0] * (256 - len(first))
        # A page of zeros counts as that only if it would be kept otherwise.
        self._table = bytearray(first + [place or names.index("zero") for place in first])

    def _counters(self, first: int) -> bytearray:
        """The counters of the block from page frame ``first`` on; several blocks may share a cell."""
        shift = self.layout.shift
        key = first >> max(shift, _BLOCK_SHIFT)
        if key not in self._blocks:
            self._blocks[key] = bytearray(max(1, BLOCK >> shift) * CATEGORIES * 4)
        return self._blocks[key]

    def block(self, first: int, exists: bytearray, stored: bytearray) -> None:
        """Count which page frames of a block there are."""
        counters, shift = address_of(self._counters(first)), self.layout.shift
        for category, bits in ((_EXISTS, exists), (_STORED, stored)):
            count_cell_bits(address_of(bits), len(bits) * 8, category, shift, counters)

    def pages(self, first: int, classes: bytearray, pfns: int, zeros: bytearray, count: int) -> None:
        """Count ``count`` pages of the block from ``first`` on: arguments as of :func:`count_cell_pages`."""
        count_cell_pages(
            address_of(classes), first, pfns, address_of(zeros), count, address_of(self._table), self.layout.shift,
            address_of(self._counters(first)),
        )  # fmt: skip

    def counts(self, cell: int) -> list[int]:
        """How many page frames of each category are in a cell, counted from address 0 on."""
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
