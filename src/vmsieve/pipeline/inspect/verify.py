"""Comparison of a dump with its source: each page is equal, or omitted for a reason."""

from __future__ import annotations

from ctypes import addressof

from vmsieve.filters.histogram import Histogram, dropping, tally
from vmsieve.filters.loops.classify import apply_classes
from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, address_of, count_ones
from vmsieve.formats.loops.bits import join_bits, spread_bits
from vmsieve.formats.loops.compare import compare_pages
from vmsieve.formats.loops.descriptors import find_bit
from vmsieve.formats.outputs._unread import MARK
from vmsieve.formats.outputs.s390 import patched, register_pages
from vmsieve.formats.s390_registers import parse_notes
from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.formats.source import read_bytes
from vmsieve.pipeline.dump.account import StoredBits, Survey, add_piece, survey
from vmsieve.pipeline.dump.batches import PageBatch
from vmsieve.pipeline.dump.scan import open_classifier, walk_blocks
from vmsieve.pipeline.inspect.blocks import batches_of, classify_block, keep_common, mark_zeros

if TYPE_CHECKING:
    from vmsieve.filters.classify import Classifier
    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import LeftOut, Source
    from vmsieve.formats.outputs.s390 import Patches
    from vmsieve.pipeline.process.progress import Progress

_NAMED = 8  # pages named one by one
_LOST = "no class of the dump's level is the reason"
_EQUAL, _FILLER = 0, 1  # results of compare_pages; any other: different
_UNREADABLE = 2  # beside the results of zero_pages, 0 and 1


@record
class Comparison:
    """Result of comparing a dump with its source; counts are in pages.

    ``missing["zero"]`` counts pages of no other class that an ELF core describes and does not store, so that they read
    as zeros there too. ``filler`` are pages of a droppable class that are zeros in an ELF core, which fills short gaps
    so. ``swallowed`` are unreadable pages that are zeros in an ELF core, where nothing marks them.
    """

    level: int  # the dump's, if its format stores it
    equal: int = 0  # in both with the same content
    different: int = 0  # in both with other content, or unreadable in the dump
    extra: int = 0  # in the dump and not in the source
    missing: dict[str, int] = field(default_factory=dict)  # in the source and not in the dump, by class
    lost: int = 0  # missing pages that the dump's level does not omit
    unwritten: int = 0  # described by an incomplete dump, and missing or partly written in it
    filler: int = 0
    unreadable: int = 0  # unreadable in the source, hence not compared
    swallowed: int = 0
    survey: Survey = field(default_factory=Survey)  # what the source stores, by its ranges
    passed_over: int = 0  # bytes of that which its reader skips
    places: list[LeftOut] = field(default_factory=list)  # ranges of lost memory
    notes: list[str] = field(default_factory=list)  # sentences on remarks, the first different pages included

    @property
    def right(self) -> bool:
        """True if no page is wrong or lost."""
        return not (self.different or self.extra or self.lost or self.unwritten or self.swallowed)

    def account(self, page_size: int) -> dict[str, int]:
        """Account for each byte that the source stores; ``"unaccounted"`` is 0 if the sums agree."""
        found = {
            "equal": self.equal, "different": self.different, "filler": self.filler, "unreadable": self.unreadable,
            "unwritten": self.unwritten, "missing": sum(self.missing.values()),
        }  # fmt: skip
        sizes = {name: pages * page_size for name, pages in found.items()} | {"passed_over": self.passed_over}
        stored, filled = self.survey.stored, self.survey.filled
        return {"stored": stored, "filled": filled, **sizes, "unaccounted": stored + filled - sum(sizes.values())}


def verify(source: Source, knowledge: Knowledge, dump: Source, progress: Progress) -> Comparison:
    """Compare ``dump`` with ``source``, whose kernel is ``knowledge``, page by page of that kernel."""
    for one in (source, dump):
        # Sets the page size: from here on, stored blocks of another size are split or joined.
        one.memory_bits(0, 8, knowledge.page_size)
    result = Comparison(dump.dump_level, survey=survey(source, knowledge.page_size))
    result.passed_over = sum(one.size for one in source.passed_over)
    classifier = open_classifier(knowledge, 31, result.notes, thorough=True)
    comparer = _Comparer(source, dump, knowledge.page_size, classifier, result)
    end = max(knowledge.max_pfn(source.end()), knowledge.max_pfn(dump.end()))
    for first in walk_blocks("Comparing pages", end, knowledge.page_size, progress, source, dump):
        comparer.block(first)
    progress.close()
    comparer.finish()
    return result


class _Comparer:
    """Compares pages, one block of page frames at a time."""

    def __init__(
        self, source: Source, dump: Source, page_size: int, classifier: Classifier | None, result: Comparison
    ) -> None:
        self._source, self._dump, self._classifier, self._result = source, dump, classifier, result
        self._pages = PageBatch(page_size)
        self._other = memoryview(bytearray(len(self._pages.raw)))
        self._results = bytearray(self._pages.room)
        self._classes = bytearray(BLOCK)
        self._source_bits, self._dump_bits = StoredBits(source, page_size), StoredBits(dump, page_size)
        self._missing, self._excused, self._lost = Histogram(), Histogram(), Histogram()
        self._zero = 0
        self._partial: dict[int, tuple[int, int]] = {}
        self._registers = _registers(source)
        rules = classifier.rules if classifier is not None else []
        self._droppable = dropping(rules, 31)
        # An ELF core does not store its level: any is allowed.
        self._allowed = dropping(rules, result.level if dump.page_size is not None else 31)

    def block(self, first: int) -> None:
        """Compare the page frames from ``first`` on."""
        _, there = self._source_bits.block(first, BLOCK)
        described, here = self._dump_bits.block(first, BLOCK)
        self._partial = self._dump_bits.partial() if self._dump.incomplete else {}
        classify_block(self._classifier, first, self._classes)
        both = bytearray(here)
        keep_common(both, there)
        extra = count_ones(here) - count_ones(both)
        self._result.extra += extra - self._padding(first, there, here) if extra else 0
        self._explain_missing(first, there, both, described)
        for _ in batches_of(first, both, self._pages, self._source, self._dump):
            self._compare(first)

    def _padding(self, first: int, there: bytearray, here: bytearray) -> int:
        """Count extra pages that are zeros and only fill a larger page of the dump up."""
        ratio = (self._dump.page_size or 0) // self._pages.page_size
        if ratio < 2:
            return 0
        blocks, near = bytearray(BLOCK_BYTES // ratio), bytearray(BLOCK_BYTES)
        join_bits(address_of(there), BLOCK // ratio, ratio, address_of(blocks))
        spread_bits(address_of(blocks), BLOCK // ratio, ratio, address_of(near))
        alone = int.from_bytes(here, "little") & int.from_bytes(near, "little") & ~int.from_bytes(there, "little")
        pages, found = self._pages, 0
        for _ in batches_of(first, bytearray(alone.to_bytes(BLOCK_BYTES, "little")), pages, self._dump):
            pages.read(self._dump)
            found += mark_zeros(pages, self._results) - sum(self._results[k] for k in pages.bad)
        return found

    def _explain_missing(self, first: int, there: bytearray, both: bytearray, described: bytearray) -> None:
        """Sort missing pages by reason: their class, zeros, unreadable in the source; the others are lost."""
        number = int.from_bytes(there, "little") & ~int.from_bytes(both, "little")
        if not number:
            return
        missing = bytearray(number.to_bytes(BLOCK_BYTES, "little"))
        classes, histogram = address_of(self._classes), self._missing.address
        apply_classes(classes, BLOCK, address_of(missing), 0, self._allowed, histogram)
        if any(missing):
            excused = self._excuse(first, missing, described)
            for bits, counts in ((excused, self._excused), (missing, self._lost)):
                apply_classes(classes, BLOCK, address_of(bits), 0, 0, counts.address)
            self._name_lost(first, missing)

    def _excuse(self, first: int, missing: bytearray, described: bytearray) -> bytearray:
        """Move unreadable pages, and zero pages in an ELF core, out of ``missing``; return their bits.

        ELF memory that is described and not stored reads as zeros: ``makedumpfile -E -d 1`` omits zero pages so.
        """
        pages, excused = self._pages, bytearray(BLOCK_BYTES)
        for _ in batches_of(first, missing, pages, self._source):
            pages.read(self._source)
            mark_zeros(pages, self._results)
            for k in pages.bad:
                self._note_unreadable(int(pages.pfns[k]))
                self._results[k] = _UNREADABLE
            for k in range(pages.count):
                byte, mask = int(pages.pfns[k]) - first >> 3, 1 << (int(pages.pfns[k]) & 7)
                zero = self._results[k] == 1 and self._dump.page_size is None and described[byte] & mask
                if zero or self._results[k] == _UNREADABLE:
                    excused[byte] |= mask
                    missing[byte] &= ~mask
                    self._zero += bool(zero)
        return excused

    def _name_lost(self, first: int, lost: bytearray) -> None:
        size, at = self._pages.page_size, find_bit(address_of(lost), 0, BLOCK, 1)
        while at < BLOCK:
            end = find_bit(address_of(lost), at, BLOCK, 0)
            add_piece(self._result.places, (first + at) * size, (first + end) * size, _LOST)
            at = find_bit(address_of(lost), end, BLOCK, 1)

    def _note_unreadable(self, pfn: int) -> None:
        if self._result.unreadable < _NAMED:
            self._result.notes.append(f"the source's page at {pfn * self._pages.page_size:#x} can't be read")
        self._result.unreadable += 1

    def _compare(self, first: int) -> None:
        pages, result = self._pages, self._result
        pages.read(self._source)
        unreadable = {int(pages.pfns[k]) for k in pages.bad}
        pages.read(self._dump, self._other)
        damaged = {int(pages.pfns[k]) for k in pages.bad} - unreadable
        unequal = compare_pages(
            pages.address, address_of(self._other), addressof(pages.index), pages.count, pages.page_size,
            address_of(self._results),
        )  # fmt: skip
        result.equal += pages.count - unequal
        if unequal or damaged or unreadable:
            self._compare_one_by_one(first, unreadable, damaged)

    def _compare_one_by_one(self, first: int, unreadable: set[int], damaged: set[int]) -> None:
        """Sort the pages of a batch that is not all equal."""
        pages, count = self._pages, self._result
        for k in range(pages.count):
            pfn, result = int(pages.pfns[k]), self._results[k]
            if pfn in unreadable or pfn in damaged:
                # The buffers compared did not hold the page.
                count.equal -= result == _EQUAL
                if pfn in unreadable:
                    self._note_unreadable(pfn)
                    count.swallowed += self._dump.page_size is None and pfn not in damaged and not any(self._both(k)[1])
                elif self._dump.incomplete or self._dump.shrunk():
                    count.unwritten += 1
                else:
                    self._note_different(pfn, "can't be read from the dump")
            elif pfn in self._registers and self._differs_by_registers(k):
                count.equal += result != _EQUAL
            elif result == _FILLER and self._classes[pfn - first] & self._droppable:
                count.filler += 1
            elif result != _EQUAL and self._was_not_written(k):
                count.unwritten += 1
            elif result != _EQUAL:
                self._note_different(pfn, "differs")

    def _differs_by_registers(self, k: int) -> bool:
        """True if page ``k`` of a batch is the source's except for registers, which the source has in its notes."""
        mine, other = self._both(k)
        return patched(mine, self._registers[int(self._pages.pfns[k])]) == other

    def _was_not_written(self, k: int) -> bool:
        """True if page ``k`` of a torn dump is only partly stored, or holds the mark of an unreadable page."""
        mine, other = self._both(k)
        start, end = self._partial.get(int(self._pages.pfns[k]), (0, 0))
        if start < end and mine[start:end] == other[start:end]:
            return True
        text = MARK * (self._pages.page_size // len(MARK))
        return self._dump.page_size is None and self._dump.incomplete and other == text

    def _both(self, k: int) -> tuple[memoryview, memoryview]:
        """Return page ``k`` of a batch, of the source and of the dump."""
        size, at = self._pages.page_size, self._pages.index[k] * self._pages.page_size
        return self._pages.raw[at : at + size], self._other[at : at + size]

    def _note_different(self, pfn: int, how: str) -> None:
        if self._result.different < _NAMED:
            self._result.notes.append(f"the page at {pfn * self._pages.page_size:#x} {how}")
        self._result.different += 1

    def finish(self) -> None:
        """Sum up the missing pages."""
        result = self._result
        rules = self._classifier.rules if self._classifier is not None else []
        missing, excused = tally(self._missing, rules, 31), tally(self._excused, rules, 31)
        missing = {name: count - excused[name] for name, count in missing.items()} | {"zero": self._zero}
        result.missing = {name: count for name, count in missing.items() if count}
        result.lost = sum(count for _, count in self._lost)
        result.notes += map(str, result.places)
        if (lacking := result.account(self._pages.page_size)["unaccounted"]) != 0:
            result.notes.append(f"the account of memory does not add up: {lacking} bytes are not accounted for")


def _registers(source: Source) -> Patches:
    """Find the memory where an s390x dump may have registers that the source has in its notes only."""
    if source.machine != "s390x":
        return {}
    notes = parse_notes(source.notes)
    return register_pages(notes, lambda address, size: read_bytes(source, address, size), source.end())
