"""Is a classification plausible? What is not is not used.

A scan of the struct pages is held against what must be true of any kernel:

* What the classification stands on - page tables, memory sections, struct pages, the kernel's own variables - and the
  kernel's log are not memory that it leaves out.
* What tells of the kernel - those tables, and the like - is not itself struct pages.
* No memory holds the struct pages of two page frames, tails of compound pages apart; and those mean the head that is
  before them.
* There are as many free blocks of each order as the kernel counted. Where there are not, or the counts can't be read,
  the struct page of each page of a block has to agree.
* There are slab pages, and none of them is on a list of the page cache.

Where that is not so, what was wrong is put right and the scan is made again: struct pages are not believed, blocks are
looked at page by page, or a rule is off. All of it keeps more pages.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final

from vmsieve.formats.bitmap import BLOCK
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.records import field, record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vmsieve.filters.classify import Classifier
    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
    from vmsieve.filters.rules import Rule
    from vmsieve.formats.bitmap import Bitmap

__all__ = ["Doubts", "Places", "expected_blocks"]

_UNIT: Final = 4096
_MOST_PIECES: Final = 1 << 16  # beyond which no more is noted
_MOST_BROKEN: Final = 3  # pages of the kernel's own that may be poisoned indeed
_MOST_CONTESTED: Final = 1 << 10  # each is looked at again with every piece of struct pages


@record
class Doubts:
    """What a classification must not rely on.

    Attributes:
        verify: Each page of a free block is looked at.
        contested: Physical memory, first and end address of each piece, where struct pages are not believed.
        off: Rules that are off, and why.
        end_uncertain: The last struct page may not be where memory ends.
    """

    verify: bool = False
    end_uncertain: bool = False
    contested: list[tuple[int, int]] = field(default_factory=list)
    off: dict[str, str] = field(default_factory=dict)

    def raised_by(self, classifier: Classifier, stored: Bitmap, kept: Bitmap) -> bool:
        """Add what is wrong with a scan that is over; says whether it has to be made again.

        ``stored``, ``kept``: page frames before and after it.
        """
        before = self._extent()
        dropped = _Dropped(stored, kept, classifier.page_size)
        own = classifier.places.pieces()
        self._contest(piece for start, end in own for piece in dropped.within(start, end))
        self._contest(classifier.places.misplaced)
        self._contest(classifier.places.within(classifier.memory_read))
        if classifier.conflicts:
            self._contest(classifier.places.aliased)
        self.verify |= classifier.blocks_differ
        self.end_uncertain |= bool(classifier.unread or self.contested)
        if self._extent() == before:
            self._suspect_rules(classifier, dropped)
        return self._extent() != before

    def _contest(self, pieces: Iterable[tuple[int, int]]) -> None:
        """Add ``pieces``; of too many, what they are in as a whole."""
        known = set(self.contested)
        for start, end in pieces:
            low, high = self.contested[0] if self.contested else (0, 0)
            if (start, end) in known or low <= start < end <= high:
                continue
            if len(self.contested) < _MOST_CONTESTED:
                known.add((start, end))
                self.contested.append((start, end))
            else:
                starts, ends = zip(*self.contested, (start, end))
                known = {(min(starts), max(ends))}
                self.contested[:] = known

    def _extent(self) -> tuple[object, ...]:
        return self.verify, self.end_uncertain, self.contested[:1], len(self.contested), len(self.off)

    def _suspect_rules(self, classifier: Classifier, dropped: _Dropped) -> None:
        """Switch off rules that drop what can't be dropped, everything else being right."""
        if classifier.slabs_unknown:
            for rule in classifier.rules:
                if rule.unlike_slabs:
                    self.off.setdefault(rule.name, f"{rule.name} pages are kept: {classifier.slabs_unknown}")
        size = classifier.page_size
        found: dict[Rule, set[int]] = {}
        for number in sorted(classifier.memory_read):
            for start, _ in dropped.within(number * _UNIT, (number + 1) * _UNIT):
                found.setdefault(classifier.rule_that_drops(start // size), set()).add(start // size)
        for rule, pfns in found.items():
            # Memory of the kernel's can be broken, which may be why it crashed; but not here and there.
            if not rule.broken or len(pfns) > _MOST_BROKEN:
                self.off.setdefault(
                    rule.name,
                    f"{rule.title.lower()} are kept: the kernel's own tables, variables or log, at "
                    f"{min(pfns) * size:#x}, would be some",
                )


class _Dropped:
    """Page frames that a scan left out."""

    def __init__(self, stored: Bitmap, kept: Bitmap, page_size: int) -> None:
        self._stored, self._kept, self._page_size = stored, kept, page_size
        self._number, self._blocks = -1, (b"", b"")

    def within(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Pieces of the physical memory ``start .. end`` in pages that were left out."""
        size = self._page_size
        for number in range(start // size // BLOCK, -(-end // (size * BLOCK))):
            base = number * BLOCK
            first, last = max(start // size - base, 0), min(-(-end // size) - base, BLOCK)
            bits = self._bits(number, first, last)
            while bits:
                low = (bits & -bits).bit_length() - 1
                ones = (~(bits >> low) & (bits >> low) + 1).bit_length() - 1
                pfn = base + first + low
                yield max(pfn * size, start), min((pfn + ones) * size, end)
                bits &= -1 << low + ones

    def _bits(self, number: int, first: int, last: int) -> int:
        """Bits ``first .. last`` of a block of what was left out, as a number; most calls ask for a page or two."""
        if number != self._number:
            self._number, self._blocks = number, (b"", b"")
            if number < len(self._kept):
                self._blocks = self._stored[number], self._kept[number]
        stored, kept = (int.from_bytes(block[first // 8 : -(-last // 8)], "little") for block in self._blocks)
        return (stored & ~kept) >> first % 8 & (1 << last - first) - 1


class Places:
    """Where in physical memory struct pages lie, noted as they are read.

    Attributes:
        aliased: Pieces of it that were come upon twice: first and end address.
        misplaced: Pieces of it where tails of compound pages mean heads elsewhere, or that are among noise.
    """

    def __init__(self, contested: list[tuple[int, int]]) -> None:
        self.aliased: list[tuple[int, int]] = []
        self.misplaced: list[tuple[int, int]] = []
        self._contested = contested
        self._starts, self._ends = array("Q"), array("Q")

    def pieces(self) -> Iterable[tuple[int, int]]:
        """What was noted: first and end address, ascending."""
        return zip(self._starts, self._ends)

    def within(self, blocks: Iterable[int]) -> Iterator[tuple[int, int]]:
        """Those of the ``blocks`` of 4 KiB, by number, that are struct pages from end to end."""
        for number in blocks:
            i = bisect_right(self._starts, number * _UNIT)
            if i and self._ends[i - 1] >= (number + 1) * _UNIT:
                yield number * _UNIT, (number + 1) * _UNIT

    def enter(self, phase: int, pieces: list[tuple[int, int]], alias: int, contested: int) -> bytearray | None:
        """Note struct pages in ``pieces``, the first of them ``phase`` bytes behind a multiple of 4 KiB.

        Returns a byte for each 4 KiB of them: ``alias`` where memory is come upon again, ``contested`` where it is not
        to be believed; None if there is nothing of the kind.
        """
        if len(pieces) == 1 and self._ends and self._ends[-1] == pieces[0][0] and not self._contested:
            self._ends[-1] += pieces[0][1]  # the usual case
            return None
        marks: bytearray | None = None
        for paddr, length in pieces:
            end = paddr + length
            again = list(self._note(paddr, end))
            self.aliased += again[: max(0, _MOST_PIECES - len(self.aliased))]
            bad = [(max(low, paddr), min(high, end)) for low, high in self._contested if low < end and high > paddr]
            for mark, found in ((alias, again), (contested, bad)):
                for low, high in found:
                    if marks is None:
                        marks = bytearray((phase + sum(size for _, size in pieces) >> 12) + 2)
                    first, last = phase + low - paddr >> 12, phase + high - paddr + _UNIT - 1 >> 12
                    marks[first:last] = bytes([mark]) * (last - first)
            phase += length
        return marks

    def _note(self, paddr: int, end: int) -> Iterator[tuple[int, int]]:
        """Note ``paddr .. end``; yields what of it was noted before."""
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


def expected_blocks(memory: VirtualMemory, info: VmcoreInfo) -> list[int] | None:
    """How many free blocks of each order the kernel counts; None if that can't be told."""
    from vmsieve.filters.linux.zones import free_blocks

    try:
        return free_blocks(memory, info)
    except (KernelError, ReadError):
        return None
