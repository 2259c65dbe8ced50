"""Cells of a memory map, with a count of page frames for each category.

A row of the map has :data:`COLUMNS` cells. Long runs of rows without memory are omitted, and a cell covers as many page
frames as it takes for the map to fit.
"""

from __future__ import annotations

import struct
import zlib

from vmsieve.filters.loops.cells import CATEGORIES, count_cell_bits, count_cell_pages, counter_size
from vmsieve.filters.rules import rules
from vmsieve.formats.bitmap import BLOCK, address_of
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vmsieve.filters.rules import Rule
    from vmsieve.formats.inputs import MemoryRange

COLUMNS: Final = 256
#: Rows of all bands of a picture, and of a map that can be zoomed. Each band counts for one more: the line of text
#: between two.
ROWS, FINE_ROWS = 288, 2048
_GAP: Final = 4  # rows without memory that are drawn rather than omitted
_BLOCK_SHIFT: Final = BLOCK.bit_length() - 1
_EXISTS, _STORED = CATEGORIES - 1, CATEGORIES - 2  # counters of which Cells.kinds_in makes categories
_NOTHING: Final = zlib.compress(b"")
#: Beside the five bits of the dump level: such pages are dropped at every level that reads struct pages.
ALWAYS: Final = 32


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
    def fit(cls, ranges: Iterable[MemoryRange], page_size: int, most: int = ROWS) -> MapLayout:
        """Fit these memory ranges on a map of ``most`` rows, in memory that does not grow with their number."""
        shift, rows = 0, 0
        spans: list[tuple[int, int]] = []
        for one in ranges:
            if one.start >= one.end:
                continue
            span = COLUMNS * page_size << shift
            rows += _append(spans, one.start // span, -(-one.end // span))
            while rows > most:
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
    """The cells of a map, filled block by block while pages are classified.

    A cell counts page frames by *kind*: a category, and the bits of the dump level that drop such pages. Counters of
    blocks that are done are held compressed: those of a large map take up to 64 MiB.
    """

    def __init__(self, layout: MapLayout, classes: list[Rule]) -> None:
        """Make empty cells; ``classes``: the rules that the bits of a page class stand for."""
        self.layout = layout
        self.categories = categories()
        self._rules = classes
        self._place = {name: number for number, name in enumerate(self.categories)}
        self._zero = next(rule.levels for rule in rules() if rule.name == "zero")
        self._table = bytearray(512)
        self._known = {0}  # classes that the table has
        #: Category and dropping bits of the dump level, ``ALWAYS`` among them, by counter.
        self.kinds: list[tuple[int, int]] = [(self._place["kept"], 0), (self._place["zero"], self._zero)]
        self._table[256] = 1
        for bit in range(len(classes)):
            self._learn(1 << bit)
        self._blocks: dict[int, bytes] = {}
        self._learned = -1  # the block whose classes were looked up last
        self._open, self._counters = -1, bytearray()  # the block that is not compressed

    def _learn(self, which: int) -> None:
        """Enter a page class in the table: its kind if its pages have content, and if they are zeros."""
        self._known.add(which)
        hits = [rule for bit, rule in enumerate(self._rules) if which >> bit & 1]
        category, drops = self._place[hits[0].name], 0
        for rule in hits:
            drops |= rule.levels or ALWAYS
        for at, kind in ((which, (category, drops)), (256 + which, (category, drops | self._zero))):
            if kind not in self.kinds and len(self.kinds) < _STORED:
                self.kinds.append(kind)
            # Damaged struct pages can match any rules: without a counter left, the first rule's.
            self._table[at] = self.kinds.index(kind) if kind in self.kinds else self._table[at & 256 | which & -which]

    def _counters_of(self, first: int) -> bytearray:
        """Return the counters of the block at page frame ``first``; blocks may share a cell."""
        shift = self.layout.shift
        key = first >> max(shift, _BLOCK_SHIFT)
        if key != self._open:
            if self._open >= 0:
                self._blocks[self._open] = zlib.compress(self._counters, 1)
            self._open = key
            packed = self._blocks.pop(key, None)
            size = max(1, BLOCK >> shift) * CATEGORIES * counter_size(shift)
            self._counters = bytearray(zlib.decompress(packed) if packed is not None else size)
        return self._counters

    def block(self, first: int, exists: bytearray, stored: bytearray) -> None:
        """Count the page frames of a block that exist and that are stored."""
        counters, shift = address_of(self._counters_of(first)), self.layout.shift
        for category, bits in ((_EXISTS, exists), (_STORED, stored)):
            count_cell_bits(address_of(bits), len(bits) * 8, category, shift, counters)

    def pages(self, first: int, classes: bytearray, pfns: int, zeros: bytearray, count: int) -> None:
        """Count pages of the block at ``first``; the arguments are those of :func:`count_cell_pages`.

        ``classes`` must not change before the next block.
        """
        if first != self._learned:
            self._learned = first
            for which in sorted(set(classes.translate(None, bytes(self._known)))):
                self._learn(which)
        count_cell_pages(
            address_of(classes), first, pfns, address_of(zeros), count, address_of(self._table), self.layout.shift,
            address_of(self._counters_of(first)),
        )  # fmt: skip

    def rows(self, first: int, end: int) -> Iterator[bytes]:
        """Yield the counters of each cell, ``first`` up to ``end``: equal bytes are equal cells."""
        size, per_block = CATEGORIES * counter_size(self.layout.shift), max(1, BLOCK >> self.layout.shift)
        while first < end:
            key, place = divmod(first, per_block)
            count = min(end - first, per_block - place)
            counters = self._counters if key == self._open else zlib.decompress(self._blocks.get(key, _NOTHING))
            for at in range(place * size, (place + count) * size, size):
                yield bytes(counters[at : at + size])
            first += count

    def kinds_in(self, row: bytes) -> dict[int, int]:
        """Return the page frames of each kind in a cell that occurs; behind :attr:`kinds`: the last three categories.

        ``row``: the cell's counters.
        """
        counters, kinds = self._numbers(row), len(self.kinds)
        found = counters[:kinds]
        exists, stored = counters[_EXISTS], counters[_STORED]
        found += [exists - stored, stored - sum(found), (1 << self.layout.shift) - exists]
        return {kind: count for kind, count in enumerate(found) if count}

    def _numbers(self, row: bytes) -> list[int]:
        size = counter_size(self.layout.shift)
        letter = {1: "B", 2: "H", 4: "I"}[size]
        return list(struct.unpack(f"={CATEGORIES}{letter}", row or bytes(CATEGORIES * size)))

    def by_category(self, row: bytes) -> list[int]:
        """Return the page frames of each category in a cell, of which ``row`` has the counters."""
        found = [0] * len(self.categories)
        for kind, count in self.kinds_in(row).items():
            found[self.category(kind)] += count
        return found

    def counts(self, cell: int) -> list[int]:
        """Return the page frames of each category in a cell; cell 0 begins at address 0."""
        return self.by_category(next(self.rows(cell, cell + 1)))

    def category(self, kind: int) -> int:
        """Return the number of a kind's category."""
        kinds = len(self.kinds)
        return self.kinds[kind][0] if kind < kinds else len(self.categories) - 3 + kind - kinds
