"""Checks whether a scan's result is plausible, and says what the next scan must not rely on.

In any kernel:

* The kernel's page tables, memory sections, struct pages, variables and log are not among the pages left out.
* Memory that was read as such a table holds no struct pages.
* No memory holds the struct pages of two page frames, except for compound tails. Tails must point to the
  preceding head.
* There are as many free blocks of each order as the kernel counted. If not, or if its counts can't be read, the struct
  page of every page of a block has to look free.
* There are slab pages, and none is on an LRU list.

If a scan contradicts this, it is made again: struct pages are not believed, blocks are looked at page by page, or a
rule is off. Each keeps more pages.
"""

from __future__ import annotations

from vmsieve.formats.bitmap import BLOCK
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.classify import Classifier
    from vmsieve.filters.doubts import Doubts
    from vmsieve.filters.rules import Rule
    from vmsieve.formats.bitmap import Bitmap

_UNIT: Final = 4096
_MOST_POISONED: Final = 3  # pages of the kernel's own that may really be poisoned


def doubt_scan(doubts: Doubts, classifier: Classifier, stored: Bitmap, kept: Bitmap) -> bool:
    """Add to ``doubts`` what is implausible about a finished scan; True if it has to be made again.

    ``stored``, ``kept``: page frames before and after it.
    """
    before = doubts.extent()
    dropped = _Dropped(stored, kept, classifier.page_size)
    memory = classifier.struct_page_memory
    doubts.contest(piece for start, end in memory.pieces() for piece in dropped.within(start, end))
    doubts.contest(memory.foreign)
    doubts.contest(memory.within(classifier.blocks_read))
    if classifier.conflicts:
        doubts.contest(memory.aliased)
    doubts.verify |= classifier.blocks_differ
    doubts.end_uncertain |= bool(classifier.unread or doubts.contested)
    # A rule is the last suspect: wrong struct pages explain everything that a wrong rule does.
    if doubts.extent() == before:
        _doubt_rules(doubts, classifier, dropped)
    return doubts.extent() != before


def _doubt_rules(doubts: Doubts, classifier: Classifier, dropped: _Dropped) -> None:
    """Switch off rules that drop the kernel's own memory, or that need the slab test where it fails."""
    if classifier.slabs_unknown:
        for rule in classifier.rules:
            if rule.needs_slab_test:
                doubts.off.setdefault(rule.name, f"{rule.name} pages are kept: {classifier.slabs_unknown}")
    size = classifier.page_size
    found: dict[Rule, set[int]] = {}
    for number in sorted(classifier.blocks_read):
        for start, _ in dropped.within(number * _UNIT, (number + 1) * _UNIT):
            if (dropping := classifier.rule_that_drops(start // size)) is not None:
                found.setdefault(dropping, set()).add(start // size)
    for rule, pfns in found.items():
        # A few pages of the kernel's own may be broken, which may be why it crashed. Many mean a wrong flag.
        if not rule.poison or len(pfns) > _MOST_POISONED:
            doubts.off.setdefault(
                rule.name,
                f"{rule.title.lower()} are kept: they would include the kernel's own tables, variables or log, at "
                f"{min(pfns) * size:#x}",
            )


class _Dropped:
    """Page frames that a scan left out."""

    def __init__(self, stored: Bitmap, kept: Bitmap, page_size: int) -> None:
        self._stored, self._kept, self._page_size = stored, kept, page_size
        self._number, self._blocks = -1, (b"", b"")

    def within(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the pieces of physical memory ``start .. end`` that were left out."""
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
        """Return bits ``first .. last`` of a bitmap block as a number; most calls ask for a page or two."""
        if number != self._number:
            self._number, self._blocks = number, (b"", b"")
            if number < len(self._kept):
                self._blocks = self._stored[number], self._kept[number]
        stored, kept = (int.from_bytes(block[first // 8 : -(-last // 8)], "little") for block in self._blocks)
        return (stored & ~kept) >> first % 8 & (1 << last - first) - 1
