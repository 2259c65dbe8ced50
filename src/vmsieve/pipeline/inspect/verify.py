"""Is a dump what it claims to be: every page in it equal to the source's, and nothing missing but what was left out."""

from __future__ import annotations

from ctypes import addressof
from typing import TYPE_CHECKING

from vmsieve.filters.histogram import Histogram, dropping, tally
from vmsieve.filters.loops.classify import apply_classes
from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, Bitmap, address_of
from vmsieve.formats.s390_registers import parse_notes
from vmsieve.formats.loops.bits import and_bits, count_bits, join_bits, spread_bits
from vmsieve.formats.loops.compare import compare_pages
from vmsieve.formats.loops.descriptors import find_bit
from vmsieve.formats.loops.zero import zero_pages
from vmsieve.formats.os_info import read_bytes
from vmsieve.formats.outputs._registers import patched, register_pages
from vmsieve.formats.outputs._unread import MARK
from vmsieve.formats.slim.records import field, record
from vmsieve.pipeline.dump.account import StoredBits, Survey, add_piece, survey
from vmsieve.pipeline.dump.batches import Gatherer, PageBatch
from vmsieve.pipeline.dump.scan import blocks_with_memory, open_classifier

if TYPE_CHECKING:
    from vmsieve.filters.classify import Classifier
    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import LeftOut, Source
    from vmsieve.formats.outputs._registers import Patches
    from vmsieve.pipeline.process.progress import Progress

__all__ = ["Comparison", "verify"]

_NAMED = 8  # pages told one by one
_LOST = "no class of the dump's level is the reason"
_UNREADABLE = 2
_EQUAL, _FILLER = 0, 1  # what compare_pages says of a page; anything else: different


@record
class Comparison:
    """What comparing a dump with its source showed.

    Attributes:
        level: The dump's level, if it tells one.
        equal: Pages in both with the same content.
        different: Pages in both with other content, and those of the dump that can't be read.
        extra: Pages of the dump that the source does not have.
        missing: Pages of the source that the dump lacks, by class; ``"zero"``: pages of no other class that read as
            zeros in the dump too, because it describes them and does not store them.
        lost: Of these, pages that no level may leave out, or that the dump's level does not.
        unwritten: Pages that an incomplete dump describes and does not hold, or not whole.
        filler: Pages of a droppable class that are zeros in the dump: an ELF core fills short gaps so.
        unreadable: Pages of the source that can't be read, so that they can't be compared.
        swallowed: Of these, pages that are zeros in an ELF core, which has nothing else that says so.
        survey: What the source stores, by its ranges.
        passed_over: Bytes of that which its reader can't take.
        bands: Where lost memory is.
        notes: Sentences on what was odd, the first different pages among them.
    """

    level: int
    equal: int = 0
    different: int = 0
    extra: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    unwritten: int = 0
    filler: int = 0
    unreadable: int = 0
    swallowed: int = 0
    survey: Survey = field(default_factory=Survey)
    passed_over: int = 0
    places: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """No page is wrong or lost."""
        return not (self.different or self.extra or self.lost or self.unwritten or self.swallowed)

    def account(self, page_size: int) -> dict[str, int]:
        """What became of each byte that the source stores; ``"unaccounted"`` is 0 if that adds up."""
        found = {
            "equal": self.equal, "different": self.different, "filler": self.filler, "unreadable": self.unreadable,
            "unwritten": self.unwritten, "missing": sum(self.missing.values()),
        }  # fmt: skip
        sizes = {name: pages * page_size for name, pages in found.items()} | {"passed_over": self.passed_over}
        stored, filled = self.survey.stored, self.survey.filled
        return {"stored": stored, "filled": filled, **sizes, "unaccounted": stored + filled - sum(sizes.values())}


def verify(source: Source, knowledge: Knowledge, dump: Source, progress: Progress) -> Comparison:
    """Compare ``dump`` with ``source``, whose kernel is ``knowledge``, in the kernel's pages."""
    for one in (source, dump):
        one.memory_bits(0, 8, knowledge.page_size)  # from now on its blocks are divided into these pages, or joined
    comparison = Comparison(dump.dump_level, survey=survey(source, knowledge.page_size))
    comparison.passed_over = sum(one.size for one in source.passed_over)
    classifier = open_classifier(knowledge, 31, comparison.notes, thorough=True)
    check = _Check(source, dump, knowledge.page_size, classifier, comparison)
    end = max(knowledge.max_pfn(source.end()), knowledge.max_pfn(dump.end()))
    progress.step("Comparing pages", end, knowledge.page_size)
    done = 0
    for first in blocks_with_memory(end, knowledge.page_size, source, dump):
        check.block(first)
        progress.advance(min(first + BLOCK, end) - done)
        done = min(first + BLOCK, end)
    progress.close()
    check.finish()
    return comparison


class _Check:
    """Compares one block of page frames after the other."""

    def __init__(
        self, source: Source, dump: Source, page_size: int, classifier: Classifier | None, comparison: Comparison
    ) -> None:
        self._source, self._dump, self._comparison = source, dump, comparison
        self._classifier = classifier
        self._pages = PageBatch(page_size)
        self._other = memoryview(bytearray(len(self._pages.raw)))
        self._results = bytearray(self._pages.room)
        self._classes = bytearray(BLOCK)
        self._there, self._here = StoredBits(source, page_size), StoredBits(dump, page_size)
        self._missing, self._excused, self._lost = Histogram(), Histogram(), Histogram()
        self._zero = 0
        self._torn: dict[int, tuple[int, int]] = {}
        self._registers = _registers(source)
        rules = classifier.rules if classifier is not None else []
        self._droppable = dropping(rules, 31)
        # An ELF core does not tell its level.
        self._level = comparison.level if dump.page_size is not None else 31
        self._allowed = dropping(rules, self._level)

    def block(self, first: int) -> None:
        """Compare the page frames from ``first`` on."""
        _, there = self._there.block(first, BLOCK)
        described, here = self._here.block(first, BLOCK)
        self._torn = self._here.partial() if self._dump.incomplete else {}
        self._classes[:] = bytes(BLOCK)
        if self._classifier is not None:
            for pfn, classes, count in self._classifier.classify(first, first + BLOCK):
                self._classes[pfn - first : pfn - first + count] = classes[:count]
        both = bytearray(BLOCK_BYTES)
        and_bits(address_of(here), address_of(there), BLOCK_BYTES, address_of(both))
        extra = count_bits(address_of(here), BLOCK_BYTES) - count_bits(address_of(both), BLOCK_BYTES)
        self._comparison.extra += extra - self._padding(first, there, here) if extra else 0
        self._judge_missing(first, there, both, described)
        common = _block(first, both)
        gatherer = Gatherer(common, common, self._source, self._dump)
        while gatherer.claim(self._pages):
            self._compare(first)

    def _padding(self, first: int, there: bytearray, here: bytearray) -> int:
        """How many pages of the dump alone are zeros, and of a larger block that holds pages of the source too."""
        ratio = (self._dump.page_size or 0) // self._pages.page_size
        if ratio < 2:
            return 0
        blocks, near = bytearray(BLOCK_BYTES // ratio), bytearray(BLOCK_BYTES)
        join_bits(address_of(there), BLOCK // ratio, ratio, address_of(blocks))
        spread_bits(address_of(blocks), BLOCK // ratio, ratio, address_of(near))
        alone = int.from_bytes(here, "little") & int.from_bytes(near, "little") & ~int.from_bytes(there, "little")
        wanted = _block(first, bytearray(alone.to_bytes(BLOCK_BYTES, "little")))
        pages, found = self._pages, 0
        gatherer = Gatherer(wanted, wanted, self._dump)
        while gatherer.claim(pages):
            pages.read(self._dump)
            zeros = address_of(self._results)
            found += zero_pages(pages.address, addressof(pages.index), pages.count, pages.page_size, zeros)
            found -= sum(self._results[k] for k in pages.bad)
        return found

    def _judge_missing(self, first: int, there: bytearray, both: bytearray, described: bytearray) -> None:
        """Find out why the dump lacks pages: their class, or zeros, or that they can't be read; else they are lost."""
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
            self._name(first, missing)

    def _excuse(self, first: int, missing: bytearray, described: bytearray) -> bytearray:
        """Take pages that can't be read, and those of zeros in an ELF core, out of ``missing``; returns those.

        ELF memory that is described and not stored reads as zeros: ``makedumpfile -E -d 1`` leaves zero pages out so.
        """
        pages, excused = self._pages, bytearray(BLOCK_BYTES)
        wanted = _block(first, missing)
        gatherer = Gatherer(wanted, wanted, self._source)
        while gatherer.claim(pages):
            pages.read(self._source)
            zero_pages(pages.address, addressof(pages.index), pages.count, pages.page_size, address_of(self._results))
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

    def _name(self, first: int, lost: bytearray) -> None:
        size, at = self._pages.page_size, find_bit(address_of(lost), 0, BLOCK, 1)
        while at < BLOCK:
            end = find_bit(address_of(lost), at, BLOCK, 0)
            add_piece(self._comparison.places, (first + at) * size, (first + end) * size, _LOST)
            at = find_bit(address_of(lost), end, BLOCK, 1)

    def _note_unreadable(self, pfn: int) -> None:
        if self._comparison.unreadable < _NAMED:
            self._comparison.notes.append(f"the source's page at {pfn * self._pages.page_size:#x} can't be read")
        self._comparison.unreadable += 1

    def _compare(self, first: int) -> None:
        pages, comparison = self._pages, self._comparison
        pages.read(self._source)
        unreadable = {int(pages.pfns[k]) for k in pages.bad}
        pages.read(self._dump, self._other)
        damaged = {int(pages.pfns[k]) for k in pages.bad} - unreadable
        unequal = compare_pages(
            pages.address, address_of(self._other), addressof(pages.index), pages.count, pages.page_size,
            address_of(self._results),
        )  # fmt: skip
        comparison.equal += pages.count - unequal
        if unequal or damaged or unreadable:
            self._judge(first, unreadable, damaged)

    def _judge(self, first: int, unreadable: set[int], damaged: set[int]) -> None:
        """Look at each page of a batch that is not all equal."""
        pages, comparison = self._pages, self._comparison
        for k in range(pages.count):
            pfn, result = int(pages.pfns[k]), self._results[k]
            if pfn in unreadable or pfn in damaged:
                # What was compared was not the page.
                comparison.equal -= result == _EQUAL
                if pfn in unreadable:
                    self._note_unreadable(pfn)
                    at = pages.index[k] * pages.page_size
                    comparison.swallowed += (
                        self._dump.page_size is None and pfn not in damaged
                        and not any(self._other[at : at + pages.page_size])
                    )  # fmt: skip
                    continue
                if self._dump.incomplete or self._dump.shrunk():
                    # Described, and never written, or no longer there.
                    comparison.unwritten += 1
                else:
                    self._wrong(pfn, "can't be read from the dump")
            elif pfn in self._registers and self._differs_by_registers(k):
                comparison.equal += result != _EQUAL
            elif result == _FILLER and self._classes[pfn - first] & self._droppable:
                comparison.filler += 1
            elif result != _EQUAL and self._was_not_written(k):
                comparison.unwritten += 1
            elif result != _EQUAL:
                self._wrong(pfn, "differs")

    def _differs_by_registers(self, k: int) -> bool:
        """Whether page ``k`` of a batch is the source's but for registers, which the source has elsewhere."""
        mine, other = self._both(k)
        return patched(mine, self._registers[int(self._pages.pfns[k])]) == other

    def _was_not_written(self, k: int) -> bool:
        """Whether a torn dump ends within page ``k`` of a batch, or has the text for pages that can't be read there."""
        mine, other = self._both(k)
        start, end = self._torn.get(int(self._pages.pfns[k]), (0, 0))
        if start < end and mine[start:end] == other[start:end]:
            return True
        text = MARK * (self._pages.page_size // len(MARK))
        return self._dump.page_size is None and self._dump.incomplete and other == text

    def _both(self, k: int) -> tuple[memoryview, memoryview]:
        """Page ``k`` of a batch, the source's and the dump's."""
        size, at = self._pages.page_size, self._pages.index[k] * self._pages.page_size
        return self._pages.raw[at : at + size], self._other[at : at + size]

    def _wrong(self, pfn: int, how: str) -> None:
        if self._comparison.different < _NAMED:
            self._comparison.notes.append(f"the page at {pfn * self._pages.page_size:#x} {how}")
        self._comparison.different += 1

    def finish(self) -> None:
        """Sum up what is missing."""
        comparison = self._comparison
        rules = self._classifier.rules if self._classifier is not None else []
        missing, excused = tally(self._missing, rules, 31), tally(self._excused, rules, 31)
        missing = {name: count - excused[name] for name, count in missing.items()} | {"zero": self._zero}
        comparison.missing = {name: count for name, count in missing.items() if count}
        comparison.lost = sum(count for _, count in self._lost)
        comparison.notes += map(str, comparison.places)
        if (lacking := comparison.account(self._pages.page_size)["unaccounted"]) != 0:
            comparison.notes.append(f"the account of memory does not add up: {lacking} bytes are not accounted for")


def _block(first: int, bits: bytearray) -> Bitmap:
    """A bitmap that has the bits of one block."""
    found = Bitmap()
    found.skip(first // BLOCK)
    found.append(bits)
    return found


def _registers(source: Source) -> Patches:
    """Where in memory a dump may have registers that the source has in its notes alone: s390x knows such dumps."""
    if source.machine != "s390x":
        return {}

    notes = parse_notes(source.notes)
    return register_pages(notes, lambda address, size: read_bytes(source, address, size), source.end())
