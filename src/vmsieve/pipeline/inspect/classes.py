"""Pages counted by class, and the size of a dump of each level."""

from __future__ import annotations

import ctypes

from vmsieve.filters.histogram import tally
from vmsieve.filters.loops.classify import count_pages
from vmsieve.filters.rules import rules
from vmsieve.formats.bitmap import BLOCK, address_of, count_ones, cut_bits
from vmsieve.formats.codecs import codec
from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.dump.batches import PageBatch
from vmsieve.pipeline.dump.packing import PackedPages
from vmsieve.pipeline.dump.pool import ordered
from vmsieve.pipeline.dump.scan import needs_struct_pages, open_classifier, scan, walk_blocks
from vmsieve.pipeline.inspect.blocks import classify_block, gatherer_of, mark_zeros
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vmsieve.filters.classify import Classifier
    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.filters.rules import Rule
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.dump.batches import Gatherer
    from vmsieve.pipeline.inspect.cells import Cells
    from vmsieve.pipeline.process.progress import Progress

_SAMPLES = 256  # batches of 1 MiB, spread over the dump, that are packed to estimate sizes
_CODEC = "zstd"
_DESCRIPTOR = 24  # size of a page descriptor (page_desc_t)
_PACKED_ZEROS = 32  # estimated size of a packed zero page


@record
class ClassCounts:
    """Page frames by class."""

    page_size: int
    total: int = 0  # page frames from 0 to the highest
    existing: int = 0  # page frames that the machine had
    stored: int = 0  # page frames that the input holds
    nonzero: dict[int, int] = field(default_factory=dict)  # histogram of the classes of pages with content
    zero: dict[int, int] = field(default_factory=dict)  # the same of zero pages
    packed: dict[int, tuple[int, int]] = field(default_factory=dict)  # by class: pages sampled, their packed bytes
    rules: list[Rule] = field(default_factory=list)  # the rules that class bits stand for
    always: bool = True  # dumps of levels 0 and 1 omit pages of rules with levels 0
    notes: list[str] = field(default_factory=list)  # sentences on remarks
    weaker: bool = False  # some classes could not be recognised
    unreadable: int = 0  # stored page frames that can't be read; counted nowhere else

    def pages(self, level: int = 31) -> dict[str, int]:
        """Count pages by rule name as makedumpfile does at ``level``; ``"kept"``: pages whose data is kept."""
        nonzero, zero = self._tally(self.nonzero.items(), level), self._tally(self.zero.items(), level)
        counts = {rule.name: 0 for rule in rules()}
        counts |= {name: nonzero[name] + zero[name] for name in nonzero}
        if level & 1:
            counts["zero"] = zero["kept"]
            counts["kept"] = nonzero["kept"]
        return counts

    def _tally(self, histogram: Iterable[tuple[int, int]], level: int) -> dict[str, int]:
        return tally(histogram, self.rules if self.always or level & ~1 else [], level)

    def level(self, level: int) -> dict[str, int]:
        """Return the pages, zero pages included, and the estimated size in bytes of a dump of this level."""
        counts = self.pages(level)
        pages = counts["kept"] + (counts["zero"] if level & 1 else 0)
        data = sum(count * self._packed_size(which, level) for which, count in self.nonzero.items())
        if not level & 1:
            data += self._tally(self.zero.items(), level)["kept"] * _PACKED_ZEROS
        bitmaps = 2 * -(-self.total // (8 * self.page_size)) * self.page_size
        size = 2 * self.page_size + bitmaps + _DESCRIPTOR * pages + round(data)
        return {"level": level, "pages": pages, "bytes": size}

    def _packed_size(self, which: int, level: int) -> float:
        """Return the mean packed size of a page of class ``which``; 0 if ``level`` drops it."""
        if self._tally([(which, 1)], level)["kept"] == 0:
            return 0.0
        sampled, size = self.packed.get(which, (0, 0))
        return size / sampled if sampled else float(self.page_size)


def count_classes(
    source: Source, knowledge: Knowledge, progress: Progress, cells: Cells | None = None, threads: int = 1
) -> ClassCounts:
    """Classify every page for all levels at once, and read every page to find the zero pages.

    ``cells``: cells of a map, filled on the way.
    """
    doubts = scan(source, knowledge, 31, Silent(), threads=threads).doubts
    counts = ClassCounts(knowledge.page_size, knowledge.max_pfn(source.end()))
    classifier = open_classifier(knowledge, 31, counts.notes, thorough=True, doubts=doubts)
    counts.rules = classifier.rules if classifier is not None else []
    counts.weaker = classifier is None
    counts.always = knowledge.info is None or needs_struct_pages(0, knowledge.info)
    counter = _Counter(source, counts, classifier, cells)
    blocks = walk_blocks("Counting pages", counts.total, counts.page_size, progress, source)
    counter.run(threads, blocks)
    progress.close()
    counter.finish()
    if classifier is not None:
        classifier.conclude()
        counts.weaker |= classifier.weaker
        counts.notes += classifier.notes
    return counts


class _Block:
    """A block of page frames, and the class of each."""

    def __init__(self, first: int, exists: bytearray, stored: bytearray) -> None:
        self.first, self.exists, self.stored = first, exists, stored
        self.classes = bytearray(BLOCK)


class _Measured(PageBatch):
    """A batch of pages of one block: which are zero pages and, if it is sampled, the packed sizes."""

    def __init__(self, source: Source, page_size: int) -> None:
        super().__init__(page_size, mapped=True)
        self._source = source
        self.zeros = bytearray(self.room)
        packer = codec(_CODEC)
        self.packs = PackedPages(packer, packer.default_level, self.room, page_size)
        self.begun: list[_Block] = []  # blocks since the previous batch; the pages are from the last one
        self.sampled = False
        self.unreadable = self.lowest = 0  # unreadable pages, and the first page frame of the batch

    def work(self) -> None:
        """Measure the pages."""
        self.unreadable = 0
        self.use(self._source, self._measure)

    def _measure(self) -> None:
        if self.bad:
            self.unreadable, self.lowest = len(self.bad), self.pfns[0]
            self.leave_out_bad()
        mark_zeros(self, self.zeros)
        if self.sampled:
            self.packs.pack(self, self.count, drop_zero=False)


class _Counter:
    """Counts pages, in ascending order."""

    def __init__(self, source: Source, counts: ClassCounts, classifier: Classifier | None, cells: Cells | None) -> None:
        self._source, self._counts, self._classifier, self._cells = source, counts, classifier, cells
        self._table = (ctypes.c_uint64 * (4 * 256))()
        self._batches = 0
        self._begun: list[_Block] = []
        self._gatherer: Gatherer | None = None

    def run(self, threads: int, firsts: Iterator[int]) -> None:
        """Classify, read and count the pages of the blocks of the page frames ``firsts``."""

        def claim(pages: _Measured) -> bool:
            while self._gatherer is None or not self._gatherer.claim(pages):
                first = next(firsts, None)
                if first is None:
                    return False
                self._begin(first)
            pages.begun, self._begun = self._begun, []
            pages.sampled = self._batches % max(1, self._counts.total // (pages.room * _SAMPLES)) == 0
            self._batches += 1
            return True

        def make() -> _Measured:
            return _Measured(self._source, self._counts.page_size)

        block: _Block | None = None
        for pages in ordered(threads, make, claim, _Measured.work, self._counts.notes.append):
            for block in pages.begun:
                self._count_block(block)
            assert block is not None
            self._count(pages, block)
        for block in self._begun:
            self._count_block(block)

    def _begin(self, first: int) -> None:
        """Classify a block; its pages are claimed next."""
        bits = self._source.memory_bits(first, BLOCK, self._counts.page_size)
        for one in bits:
            cut_bits(one, self._counts.total - first)
        block = _Block(first, *bits)
        classify_block(self._classifier, first, block.classes)
        self._begun.append(block)
        self._gatherer = gatherer_of(first, block.stored, self._source, zeros=True)

    def _count_block(self, block: _Block) -> None:
        self._counts.stored += count_ones(block.stored)
        self._counts.existing += count_ones(block.exists)
        if self._cells is not None:
            self._cells.block(block.first, block.exists, block.stored)

    def _count(self, pages: _Measured, block: _Block) -> None:
        if pages.unreadable:
            self._counts.unreadable += pages.unreadable
            near = pages.lowest * pages.page_size
            self._counts.notes.append(f"{pages.unreadable} pages near {near:#x} are unreadable")
        if self._cells is not None:
            self._cells.pages(block.first, block.classes, ctypes.addressof(pages.pfns), pages.zeros, pages.count)
        count_pages(
            address_of(block.classes), block.first, ctypes.addressof(pages.pfns), address_of(pages.zeros),
            ctypes.addressof(pages.packs.sizes) if pages.sampled else 0, pages.count, ctypes.addressof(self._table),
        )  # fmt: skip

    def finish(self) -> None:
        """Copy the counters of the loop into the result."""
        nonzero, zero, sampled, size = (self._table[at : at + 256] for at in range(0, 1024, 256))
        self._counts.nonzero = {which: count for which, count in enumerate(nonzero) if count}
        self._counts.zero = {which: count for which, count in enumerate(zero) if count}
        self._counts.packed = {which: (n, size[which]) for which, n in enumerate(sampled) if n}
