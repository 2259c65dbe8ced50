"""Is a dump what it claims to be: every page in it equal to the source's, and nothing missing but what was left out."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from vmsieve.filters.histogram import Histogram, dropping, tally
from vmsieve.filters.kernels.classify import count_missing
from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, Bitmap, address_of
from vmsieve.formats.errors import FormatError
from vmsieve.formats.inputs._s390_registers import parse_notes
from vmsieve.formats.kernels.bits import and_bits, count_bits
from vmsieve.formats.kernels.compare import compare_pages
from vmsieve.formats.os_info import read_bytes
from vmsieve.formats.outputs._registers import patched, register_pages
from vmsieve.formats.records import field, record
from vmsieve.pipeline.pages import Gatherer, Pages
from vmsieve.pipeline.scan import blocks_with_memory, open_classifier

if TYPE_CHECKING:
    from vmsieve.filters.classify import Classifier
    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import Source
    from vmsieve.formats.outputs._registers import Patches
    from vmsieve.pipeline.progress import Progress

__all__ = ["Verdict", "verify"]

_NAMED = 8  # pages told one by one
_EQUAL, _FILLER = 0, 1  # what compare_pages says of a page; anything else: different


@record
class Verdict:
    """What comparing a dump with its source showed.

    Attributes:
        level: The dump's level, if it tells one.
        equal: Pages in both with the same content.
        different: Pages in both with other content, and those of the dump that can't be read.
        extra: Pages of the dump that the source does not have.
        missing: Pages of the source that the dump lacks, by class.
        lost: Of these, pages that no level may leave out, or that the dump's level does not.
        unwritten: Pages that an incomplete dump describes and does not hold, or not whole.
        filler: Pages of a droppable class that are zeros in the dump: an ELF core fills short gaps so.
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
    notes: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """No page is wrong or lost."""
        return not (self.different or self.extra or self.lost or self.unwritten)


def verify(source: Source, knowledge: Knowledge, dump: Source, progress: Progress) -> Verdict:
    """Compare ``dump`` with ``source``, whose kernel is ``knowledge``.

    Raises:
        FormatError: They have pages of different sizes.
    """
    if dump.page_size not in (None, knowledge.page_size):
        raise FormatError(
            "the two have pages of different sizes", file=dump.file.name,
            expected=knowledge.page_size, found=dump.page_size,
        )  # fmt: skip
    verdict = Verdict(dump.dump_level)
    classifier = open_classifier(knowledge, 31, verdict.notes, thorough=True)
    check = _Check(source, dump, knowledge.page_size, classifier, verdict)
    end = max(knowledge.max_pfn(source.end()), -(-dump.end() // knowledge.page_size))
    progress.step("Comparing pages", end, knowledge.page_size)
    done = 0
    for first in blocks_with_memory(end, knowledge.page_size, source, dump):
        check.block(first)
        progress.advance(min(first + BLOCK, end) - done)
        done = min(first + BLOCK, end)
    progress.close()
    check.finish()
    return verdict


class _Check:
    """Compares one block of page frames after the other."""

    def __init__(
        self, source: Source, dump: Source, page_size: int, classifier: Classifier | None, verdict: Verdict
    ) -> None:
        self._source, self._dump, self._verdict = source, dump, verdict
        self._classifier = classifier
        self._pages = Pages(page_size)
        self._other = memoryview(bytearray(len(self._pages.raw)))
        self._results = bytearray(self._pages.room)
        self._classes = bytearray(BLOCK)
        self._missing = Histogram()
        self._registers = _registers(source)
        rules = classifier.rules if classifier is not None else []
        self._droppable = dropping(rules, 31)

    def block(self, first: int) -> None:
        """Compare the page frames from ``first`` on."""
        size = self._pages.page_size
        _, there = self._source.memory_bits(first, BLOCK, size)
        _, here = self._dump.memory_bits(first, BLOCK, size)
        self._classes[:] = bytes(BLOCK)
        if self._classifier is not None:
            for pfn, classes, count in self._classifier.classify(first, first + BLOCK):
                self._classes[pfn - first : pfn - first + count] = classes[:count]
        both = bytearray(BLOCK_BYTES)
        and_bits(address_of(here), address_of(there), BLOCK_BYTES, address_of(both))
        self._verdict.extra += count_bits(address_of(here), BLOCK_BYTES) - count_bits(address_of(both), BLOCK_BYTES)
        count_missing(address_of(self._classes), address_of(there), address_of(both), BLOCK, self._missing.address)
        common = Bitmap()
        common.skip(first // BLOCK)
        common.append(both)
        gatherer = Gatherer(common, common, self._source, self._dump)
        while gatherer.claim(self._pages):
            self._compare(first)

    def _compare(self, first: int) -> None:
        pages, verdict = self._pages, self._verdict
        pages.read(self._source)
        unreadable = {int(pages.pfns[k]) for k in pages.bad}
        mine = pages.raw
        try:
            pages.raw = self._other
            pages.read(self._dump)
        finally:
            pages.raw = mine
        damaged = {int(pages.pfns[k]) for k in pages.bad} - unreadable
        unequal = compare_pages(
            address_of(mine), address_of(self._other), ctypes.addressof(pages.index), pages.count, pages.page_size,
            address_of(self._results),
        )  # fmt: skip
        verdict.equal += pages.count - unequal
        if unequal or damaged or unreadable:
            self._judge(first, unreadable, damaged)

    def _judge(self, first: int, unreadable: set[int], damaged: set[int]) -> None:
        """Look at each page of a batch that is not all equal."""
        pages, verdict = self._pages, self._verdict
        for k in range(pages.count):
            pfn, result = int(pages.pfns[k]), self._results[k]
            if pfn in unreadable or pfn in damaged:
                # What was compared was not the page.
                verdict.equal -= result == _EQUAL
                if pfn in unreadable:
                    verdict.notes.append(f"the source's page at {pfn * pages.page_size:#x} can't be read")
                    continue
                if self._dump.incomplete:
                    # Described, and never written.
                    verdict.unwritten += 1
                else:
                    self._wrong(pfn, "can't be read from the dump")
            elif pfn in self._registers and self._differs_by_registers(k):
                verdict.equal += result != _EQUAL
            elif result == _FILLER and self._classes[pfn - first] & self._droppable:
                verdict.filler += 1
            elif result != _EQUAL:
                self._wrong(pfn, "differs")

    def _differs_by_registers(self, k: int) -> bool:
        """Whether page ``k`` of a batch is the source's but for registers, which the source has elsewhere."""
        size, at = self._pages.page_size, self._pages.index[k] * self._pages.page_size
        mine, other = self._pages.raw[at : at + size], self._other[at : at + size]
        return patched(mine, self._registers[int(self._pages.pfns[k])]) == other

    def _wrong(self, pfn: int, how: str) -> None:
        if self._verdict.different < _NAMED:
            self._verdict.notes.append(f"the page at {pfn * self._pages.page_size:#x} {how}")
        self._verdict.different += 1

    def finish(self) -> None:
        """Sum up what is missing."""
        verdict = self._verdict
        rules = self._classifier.rules if self._classifier is not None else []
        verdict.missing = {name: count for name, count in tally(self._missing, rules, 31).items() if count}
        allowed = verdict.level if self._dump.page_size is not None else 31  # an ELF core does not tell its level
        verdict.lost = tally(self._missing, rules, allowed)["kept"]


def _registers(source: Source) -> Patches:
    """Where in memory a dump may have registers that the source has in its notes alone: s390x knows such dumps."""
    if source.machine != "s390x":
        return {}

    notes = parse_notes(source.notes)
    return register_pages(notes, lambda address, size: read_bytes(source, address, size), source.end())
