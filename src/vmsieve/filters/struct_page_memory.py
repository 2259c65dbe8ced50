"""Which physical memory holds struct pages, noted as they are read."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from vmsieve.filters.loops.parameters import ALIAS, CONTESTED
from vmsieve.formats.slim.arrays import array
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_UNIT: Final = 4096
_MOST_PIECES: Final = 1 << 16  # beyond which nothing is noted


class StructPageMemory:
    """Physical memory that holds struct pages. All pieces are a start and an end address.

    Attributes:
        aliased: Pieces that were mapped twice.
        foreign: Pieces with tails that point to a foreign head, or that are among noise.
    """

    def __init__(self, contested: list[tuple[int, int]]) -> None:
        self.aliased: list[tuple[int, int]] = []
        self.foreign: list[tuple[int, int]] = []
        self._contested = contested
        self._starts, self._ends = array("Q"), array("Q")

    def pieces(self) -> Iterable[tuple[int, int]]:
        """Return all pieces, ascending and merged."""
        return zip(self._starts, self._ends)

    def within(self, blocks: Iterable[int]) -> Iterator[tuple[int, int]]:
        """Yield those of the ``blocks`` of 4 KiB, given by number, that hold nothing but struct pages."""
        for number in blocks:
            i = bisect_right(self._starts, number * _UNIT)
            if i and self._ends[i - 1] >= (number + 1) * _UNIT:
                yield number * _UNIT, (number + 1) * _UNIT

    def copy(self) -> StructPageMemory:
        """A copy, which notes on its own."""
        made = StructPageMemory(self._contested)
        made.aliased, made.foreign = self.aliased[:], self.foreign[:]
        made._starts, made._ends = self._starts[:], self._ends[:]
        return made

    def is_new(self, paddr: int, length: int) -> bool:
        """True if :meth:`note` has no marks for this piece."""
        if self._contested:
            return False
        i = bisect_right(self._ends, paddr)
        return i == len(self._starts) or self._starts[i] >= paddr + length

    def note(self, phase: int, pieces: list[tuple[int, int]]) -> bytearray | None:
        """Note struct pages in ``pieces``: address and length each; the first is ``phase`` bytes into its 4 KiB.

        Returns a mark for each 4 KiB, ALIAS where memory is mapped again, CONTESTED where it is not believed; or None
        if there are no marks.
        """
        if len(pieces) == 1 and self._ends and self._ends[-1] == pieces[0][0] and not self._contested:
            self._ends[-1] += pieces[0][1]  # the usual case
            return None
        marks: bytearray | None = None
        for paddr, length in pieces:
            end = paddr + length
            again = list(self._insert_new(paddr, end))
            self.aliased += again[: max(0, _MOST_PIECES - len(self.aliased))]
            bad = [(max(low, paddr), min(high, end)) for low, high in self._contested if low < end and high > paddr]
            for mark, found in ((ALIAS, again), (CONTESTED, bad)):
                for low, high in found:
                    if marks is None:
                        marks = bytearray((phase + sum(size for _, size in pieces) >> 12) + 2)
                    first, last = phase + low - paddr >> 12, phase + high - paddr + _UNIT - 1 >> 12
                    marks[first:last] = bytes([mark]) * (last - first)
            phase += length
        return marks

    def _insert_new(self, paddr: int, end: int) -> Iterator[tuple[int, int]]:
        """Insert ``paddr .. end``; yields the parts that were noted before."""
        starts, ends = self._starts, self._ends
        if len(starts) >= _MOST_PIECES:
            return
        i = bisect_right(ends, paddr)
        new = []
        at = paddr
        while i < len(starts) and starts[i] < end:
            if starts[i] > at:
                new.append((at, starts[i]))
            yield max(starts[i], paddr), min(ends[i], end)
            at = ends[i]
            i += 1
        if at < end:
            new.append((at, end))
        for start, stop in new:
            self._insert(start, stop)

    def _insert(self, start: int, end: int) -> None:
        """Insert a piece that overlaps no other, merged with those that it touches."""
        starts, ends = self._starts, self._ends
        i = bisect_left(starts, start)
        if i and ends[i - 1] == start:
            i -= 1
            ends[i] = end
        elif i < len(starts) and starts[i] == end:
            starts[i] = start
        else:
            starts.insert(i, start)
            ends.insert(i, end)
        if i + 1 < len(starts) and starts[i + 1] == ends[i]:
            ends[i] = ends[i + 1]
            del starts[i + 1], ends[i + 1]
