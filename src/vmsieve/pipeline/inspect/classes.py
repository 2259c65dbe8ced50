"""How many pages are of which class, and what each dump level would keep."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from vmsieve.filters.histogram import tally
from vmsieve.filters.loops.classify import count_pages
from vmsieve.filters.rules import rules
from vmsieve.formats.bitmap import BLOCK, Bitmap, address_of, cut_bits
from vmsieve.formats.codecs import codec, codec_number
from vmsieve.formats.loops.bits import count_bits
from vmsieve.formats.loops.pack import pack_pages
from vmsieve.formats.loops.zero import zero_pages
from vmsieve.formats.slim.records import field, record
from vmsieve.pipeline.dump.batches import Gatherer, PageBatch
from vmsieve.pipeline.dump.scan import blocks_with_memory, needs_struct_pages, open_classifier, scan
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.filters.classify import Classifier
    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.filters.rules import Rule
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.inspect.cells import Cells
    from vmsieve.pipeline.process.progress import Progress

__all__ = ["ClassCounts", "count_classes"]

_SAMPLES = 256  # megabytes of pages, spread over the dump, that are packed to learn how well they pack
_CODEC = "zstd"
_DESCRIPTOR = 24  # bytes a page costs in a kdump-compressed file besides its data


@record
class ClassCounts:
    """Page frames by class.

    Attributes:
        page_size: Bytes.
        total: Page frames from 0 to the highest.
        existing: Those that the machine had.
        stored: Those that the input holds.
        nonzero, zero: Histograms of the classes of pages with content and of zero pages.
        packed: By class: pages sampled, and bytes they packed into.
        rules: The rules that class bits stand for.
        always: Dumps of level 0 and 1 leave out poisoned and offline pages.
        notes: Sentences on what was odd.
        weaker: The classes are not all there are.
        unreadable: Stored page frames that could not be read; they are counted nowhere else.
    """

    page_size: int
    total: int = 0
    existing: int = 0
    stored: int = 0
    nonzero: dict[int, int] = field(default_factory=dict)
    zero: dict[int, int] = field(default_factory=dict)
    packed: dict[int, tuple[int, int]] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    always: bool = True
    notes: list[str] = field(default_factory=list)
    weaker: bool = False
    unreadable: int = 0

    def pages(self, level: int = 31) -> dict[str, int]:
        """Pages by rule name as makedumpfile counts them at ``level``, ``"kept"`` being those whose data is kept."""
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
        """Pages that a dump of this level holds, zero pages among them, and its estimated size in bytes."""
        counts = self.pages(level)
        pages = counts["kept"] + (counts["zero"] if level & 1 else 0)
        data = sum(count * self._packed_size(which, level) for which, count in self.nonzero.items())
        if not level & 1:
            data += self._tally(self.zero.items(), level)["kept"] * 32
        bitmaps = 2 * -(-self.total // (8 * self.page_size)) * self.page_size
        size = 2 * self.page_size + bitmaps + _DESCRIPTOR * pages + round(data)
        return {"level": level, "pages": pages, "bytes": size}

    def _packed_size(self, which: int, level: int) -> float:
        """Mean packed size of a kept page of class ``which``; 0 if ``level`` drops it."""
        if self._tally([(which, 1)], level)["kept"] == 0:
            return 0.0
        sampled, size = self.packed.get(which, (0, 0))
        return size / sampled if sampled else float(self.page_size)


def count_classes(source: Source, knowledge: Knowledge, progress: Progress, cells: Cells | None = None) -> ClassCounts:
    """Classify every page for all levels at once, and read every page to see which are zero.

    ``cells``: of a map, to be filled on the way.
    """
    doubts = scan(source, knowledge, 31, Silent()).doubts
    class_counts = ClassCounts(knowledge.page_size, knowledge.max_pfn(source.end()))
    classifier = open_classifier(knowledge, 31, class_counts.notes, thorough=True, doubts=doubts)
    class_counts.rules = classifier.rules if classifier is not None else []
    class_counts.weaker = classifier is None
    class_counts.always = knowledge.info is None or needs_struct_pages(0, knowledge.info)
    counter = _Counter(source, class_counts, classifier, cells)
    progress.step("Counting pages", class_counts.total, knowledge.page_size)
    done = 0
    for first in blocks_with_memory(class_counts.total, class_counts.page_size, source):
        counter.count_block(first)
        progress.advance(min(first + BLOCK, class_counts.total) - done)
        done = min(first + BLOCK, class_counts.total)
    progress.close()
    counter.finish()
    if classifier is not None:
        classifier.conclude()
        class_counts.weaker |= classifier.weaker
        class_counts.notes += classifier.notes
    return class_counts


class _Counter:
    """Counts one block of page frames after the other."""

    def __init__(
        self, source: Source, class_counts: ClassCounts, classifier: Classifier | None, cells: Cells | None
    ) -> None:
        self._source, self._counts, self._classifier, self._cells = source, class_counts, classifier, cells
        self._pages = PageBatch(class_counts.page_size, mapped=True)
        self._classes = bytearray(BLOCK)
        self._zeros = bytearray(self._pages.room)
        self._table = (ctypes.c_uint64 * (4 * 256))()
        self._sizes = (ctypes.c_uint32 * self._pages.room)()
        self._flags = (ctypes.c_uint32 * self._pages.room)()
        self._out = bytearray(len(self._pages.raw) + class_counts.page_size)
        self._which = codec_number(_CODEC)
        packer = codec(_CODEC)
        self._state = packer.open_compressor(packer.default_level, class_counts.page_size)
        self._chunks = 0
        self._every = max(1, class_counts.total // (self._pages.room * _SAMPLES))

    def count_block(self, first: int) -> None:
        """Classify, read and count the page frames from ``first`` on."""
        class_counts = self._counts
        exists, stored = self._source.memory_bits(first, BLOCK, class_counts.page_size)
        cut_bits(exists, class_counts.total - first)
        cut_bits(stored, class_counts.total - first)
        wanted = Bitmap()
        wanted.skip(first // BLOCK)
        wanted.append(stored)
        class_counts.stored += wanted.count()
        class_counts.existing += count_bits(address_of(exists), len(exists))
        self._classes[:] = bytes(BLOCK)
        if self._classifier is not None:
            for pfn, classes, count in self._classifier.classify(first, first + BLOCK):
                self._classes[pfn - first : pfn - first + count] = classes[:count]
        if self._cells is not None:
            self._cells.block(first, exists, stored)
        gatherer = Gatherer(wanted, wanted, self._source)
        while gatherer.claim(self._pages):
            self._count(first)

    def _count(self, first: int) -> None:
        pages = self._pages
        sampled = self._chunks % self._every == 0
        pages.use(self._source, lambda: self._look_at(sampled))
        self._chunks += 1
        if self._cells is not None:
            self._cells.pages(first, self._classes, ctypes.addressof(pages.pfns), self._zeros, pages.count)
        count_pages(
            address_of(self._classes), first, ctypes.addressof(pages.pfns), address_of(self._zeros),
            ctypes.addressof(self._sizes) if sampled else 0, pages.count, ctypes.addressof(self._table),
        )  # fmt: skip

    def _look_at(self, sampled: bool) -> None:
        """Find the zero pages, and what the pages pack into."""
        pages = self._pages
        if pages.bad:
            self._counts.unreadable += len(pages.bad)
            self._counts.notes.append(
                f"{len(pages.bad)} pages near {pages.pfns[0] * pages.page_size:#x} are unreadable"
            )
            pages.leave_out_bad()
        index, raw = ctypes.addressof(pages.index), pages.address
        zero_pages(raw, index, pages.count, pages.page_size, address_of(self._zeros))
        if sampled:
            pack_pages(
                self._which, self._state.address, pages.count, raw, index, pages.page_size, 0, 0,
                ctypes.addressof(self._sizes), ctypes.addressof(self._flags), address_of(self._out),
            )  # fmt: skip

    def finish(self) -> None:
        """Move the counts to where they are asked for."""
        nonzero, zero, sampled, size = (self._table[at : at + 256] for at in range(0, 1024, 256))
        self._counts.nonzero = {which: count for which, count in enumerate(nonzero) if count}
        self._counts.zero = {which: count for which, count in enumerate(zero) if count}
        self._counts.packed = {which: (n, size[which]) for which, n in enumerate(sampled) if n}
