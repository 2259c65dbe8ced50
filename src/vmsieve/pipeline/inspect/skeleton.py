"""Skeletons: the smallest dump that is classified like the original and holds no user data.

The pages that classification needs are recorded while the dump is classified. Of those, a skeleton stores the pages
of class 0, the kernel's own. All other pages are only described, so that ranges, holes and page frames are the same,
with one bit of their content: zero or not.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from itertools import compress

from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.histogram import Histogram
from vmsieve.filters.linux.identity import HOST_FIELDS, host_field_ranges
from vmsieve.filters.linux.printk import kernel_log
from vmsieve.filters.loops.classify import apply_classes
from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, Bitmap, address_of, count_ones, cut_bits, set_bits
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.inputs import open_source
from vmsieve.formats.notes import build_note
from vmsieve.formats.outputs import Description
from vmsieve.formats.outputs._skeleton import MISSING, OTHER, OWN, ZERO, skeleton_format
from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.systems import open_system
from vmsieve.pipeline.dump.batches import PageBatch
from vmsieve.pipeline.dump.copy import CopyJob, copy_pages
from vmsieve.pipeline.dump.output import DumpOutput
from vmsieve.pipeline.dump.scan import Scan, blocks_with_memory, open_classifier, scan, walk_blocks
from vmsieve.pipeline.dump.watch import Watched
from vmsieve.pipeline.inspect.blocks import batches_of, keep_common, mark_zeros
from vmsieve.pipeline.inspect.skeleton_pages import PageKinds, PatchedSource, expanded
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.dump.plan import Plan
    from vmsieve.pipeline.process.progress import Progress

_LEVEL: Final = 31
#: Kind of a page by 1 (to be stored) + 2 (zero) + 4 (unreadable).
_KINDS: Final = OTHER + OWN + ZERO + OWN + MISSING * 252


@record
class Skeleton:
    """Result of making a skeleton; counts are in page frames."""

    page_size: int = 0  # in bytes
    existing: int = 0  # of the machine
    stored: int = 0  # in the input
    own: int = 0  # in the skeleton
    zero: int = 0  # of zeros
    unreadable: int = 0  # unreadable in the input
    withheld: int = 0  # read by classification and not stored: not known to be the kernel's own
    bytes_out: int = 0  # size of the skeleton
    notes: list[str] = field(default_factory=list)  # sentences on remarks
    weaker: bool = False  # the skeleton lacks something that the original shows
    incomplete: bool = False  # the input is incomplete, and so is the skeleton

    @property
    def left_out(self) -> int:
        """Pages that are only described."""
        return self.stored - self.own - self.zero - self.unreadable


def make_skeleton(
    plan: Plan, progress: Progress, vmcoreinfo: bytes | None = None, *, with_log: bool = False
) -> Skeleton:
    """Make a skeleton of ``plan.input``; the plan's level, format and codec are ignored.

    ``vmcoreinfo``: text to use instead of the dump's. ``with_log``: store the kernel's log too.
    """
    with ExitStack() as stack:
        source = stack.enter_context(closing(open_system(plan.input, plan.select)))
        maker = _Maker(source, vmcoreinfo, progress, with_log=with_log)
        form = skeleton_format(maker.kinds)
        target = stack.enter_context(DumpOutput(plan, form))
        maker.choose_pages()
        writer = form.writer(maker.description(), target.place)
        writer.begin()
        progress.step("Copying pages", maker.chosen.kept.count(), maker.result.page_size)
        copy_pages(CopyJob(maker.blanked(), maker.chosen, maker.result.page_size, writer, progress, maker.result.notes))
        progress.close()
        writer.end(complete=not source.incomplete)
        target.place.finish()
        target.finish()
        maker.result.bytes_out = target.size()
        if plan.output != "-" and not source.incomplete:
            maker.compare(plan.output)
        return maker.result


class _Maker:
    """Chooses the pages of a skeleton."""

    def __init__(self, source: Source, vmcoreinfo: bytes | None, progress: Progress, *, with_log: bool) -> None:
        self._source, self._progress, self._with_log = source, progress, with_log
        found = gather_knowledge(source, vmcoreinfo)
        self._text = self._whole_text(found)
        # VMCOREINFO is complete now: no search adds pages to the record of what is read.
        self._watched = Watched(source)
        self._knowledge = knowledge = gather_knowledge(self._watched, self._text, origins=())
        self._host: list[tuple[int, int]] = []
        if knowledge.memory is not None and knowledge.info is not None:
            self._host = host_field_ranges(knowledge.memory, knowledge.info)
        self.kinds = PageKinds()  # of each page that the dump holds
        self.result = Skeleton(
            knowledge.page_size, notes=source.remarks + found.notes + knowledge.notes, incomplete=source.incomplete
        )
        #: Page frames that exist, and those that the skeleton holds.
        self.chosen = Scan(knowledge.max_pfn(source.end()))
        self._class_0 = Bitmap()
        self._pages = PageBatch(knowledge.page_size, mapped=True)
        self._zeros = bytearray(self._pages.room)

    def _whole_text(self, found: Knowledge) -> bytes | None:
        """Return VMCOREINFO with the missing keys that were found elsewhere in the dump."""
        if found.info is None:
            return self._source.vmcoreinfo
        open_classifier(found, _LEVEL, [])
        if self._with_log:
            self._read_log(found)
        added = "".join(f"{key}={found.info.value(key)}\n" for key in found.info.origins)
        return added.encode() + found.info.text  # of two lines with one key, the first counts

    def choose_pages(self) -> None:
        """Classify all pages, then read each one."""
        if self._with_log and (problem := self._read_log(self._knowledge)) is not None:
            self.result.notes.append(problem)
        self._classify()
        spans = self._watched.read_spans(self._knowledge.page_size)
        end, page_size = self.chosen.max_pfn, self._knowledge.page_size
        for first in walk_blocks("Looking at pages", end, page_size, self._progress, self._source):
            self._choose(first, spans)
        result, kinds = self.result, self.kinds
        result.existing, result.stored = self.chosen.exists.count(), self.chosen.stored.count()
        result.own, result.zero, result.unreadable = map(kinds.count, (OWN, ZERO, MISSING))
        if result.withheld:
            result.weaker = True
            result.notes.append(
                f"{result.withheld} pages that were read are left out: they are not known to be the kernel's own"
            )

    @staticmethod
    def _read_log(knowledge: Knowledge) -> str | None:
        """Read the kernel's log; return why it is incomplete, or None."""
        if knowledge.memory is None or knowledge.info is None:
            return None
        try:
            for _ in kernel_log(knowledge.memory, knowledge.info):
                pass
        except VmsieveError as error:
            return f"the kernel log is not whole: {error}"
        return None

    def _classify(self) -> None:
        """Find the pages that are the kernel's own by their struct pages."""
        scan(self._watched, self._knowledge, _LEVEL, Silent())  # records all reads, those of the self-check too
        # Doubts would turn rules off; here a page that any rule calls a user's stays out, right or wrong.
        classifier = open_classifier(self._knowledge, _LEVEL, self.result.notes)
        if classifier is None:
            self.result.weaker = True
            return
        page_size, histogram = self._knowledge.page_size, Histogram()
        max_pfn = self._knowledge.max_pfn(self._source.end())
        for first in blocks_with_memory(max_pfn, page_size, self._source):
            bits = bytearray(BLOCK_BYTES)
            for pfn, classes, count in classifier.classify(first, first + BLOCK):
                set_bits(bits, pfn - first, pfn - first + count)
                apply_classes(
                    address_of(classes), count, address_of(bits), pfn - first, classifier.drop, histogram.address
                )
            cut_bits(bits, max_pfn - first)
            self._class_0.put(first // BLOCK, bits)
        classifier.conclude()
        self.result.notes += classifier.notes
        self.result.weaker |= classifier.weaker

    def _choose(self, first: int, spans: list[tuple[int, int]]) -> None:
        """Choose among the page frames of the block at ``first``."""
        number = first // BLOCK
        exists, stored = self._source.memory_bits(first, BLOCK, self._knowledge.page_size)
        for bitmap, bits in ((self.chosen.exists, exists), (self.chosen.stored, stored)):
            cut_bits(bits, self.chosen.max_pfn - first)
            bitmap.put(number, bits)
        own = bytearray(BLOCK_BYTES)
        for start, end in spans:
            low, high = max(start, first), min(end, first + BLOCK)
            if low < high:
                set_bits(own, low - first, high - first)
        keep_common(own, stored)
        read = count_ones(own)
        keep_common(own, bytearray(self._class_0[number]) if number < len(self._class_0) else bytearray(BLOCK_BYTES))
        self.result.withheld += read - count_ones(own)
        found = self._contents(first, stored, own)
        self.chosen.kept.put(number, own)
        present = bytes(compress(expanded(own), expanded(stored)))
        total = int.from_bytes(present, "little") + (int.from_bytes(found, "little") << 1)
        self.kinds.append(total.to_bytes(len(present), "little").translate(_KINDS))

    def _contents(self, first: int, stored: bytearray, own: bytearray) -> bytes:
        """Return a byte for each stored page of a block: 1 zero, 2 unreadable (also cleared in ``own``), 0 other."""
        pages, found = self._pages, bytearray()
        for _ in batches_of(first, stored, pages, self._source):
            pages.use(self._source, lambda: mark_zeros(pages, self._zeros))
            for k in pages.bad:
                self._zeros[k] = 2
                bit = int(pages.pfns[k]) - first
                own[bit >> 3] &= ~(1 << (bit & 7))
            found += self._zeros[: pages.count]
        return bytes(found)

    def description(self) -> Description:
        """Describe the skeleton to the writer, without the machine's name and registers."""
        source, knowledge = self._source, self._knowledge
        names = list(knowledge.identity.utsname)
        for number in HOST_FIELDS:
            names[number] = ""
        note = b"" if self._text is None else build_note(b"VMCOREINFO", 0, self._text, source.byte_order)
        at = note.find(self._text) if self._text else -1
        return Description(
            machine=source.machine or names[4],
            byte_order=source.byte_order,
            page_size=knowledge.page_size,
            max_pfn=self.chosen.max_pfn,
            exists=self.chosen.exists,
            kept=self.chosen.stored,
            notes=note,
            vmcoreinfo=(at, len(self._text)) if self._text and at >= 0 else None,
            utsname=names,
            crash_time=knowledge.identity.crash_time or 0,
            phys_base=knowledge.phys_base,
            dump_level=source.dump_level,
        )

    def blanked(self) -> Source:
        """Return the dump with the machine's name overwritten by zeros."""
        knowledge, patches = self._knowledge, dict[int, list[tuple[int, bytes]]]()
        if knowledge.memory is None:
            return self._source
        for vaddr, size in self._host:
            for at in range(vaddr, vaddr + size):  # it may lie on two pages
                pfn, offset = divmod(knowledge.memory.translate(at)[0], knowledge.page_size)
                patches.setdefault(pfn, []).append((offset, b"\0"))
        return PatchedSource(self._source, knowledge.page_size, patches)

    def compare(self, path: str) -> None:
        """Classify the skeleton, and note any difference from the original."""
        with closing(open_source(path)) as made:
            known = gather_knowledge(made)
            mine = scan(self._source, self._knowledge, _LEVEL, self._progress)
            other = scan(made, known, _LEVEL, self._progress)
            self._progress.close()
        if (
            known.problem != self._knowledge.problem
            or mine.counts != other.counts
            or any(list(one) != list(two) for one, two in ((mine.exists, other.exists), (mine.kept, other.kept)))
        ):
            self.result.weaker = True
            self.result.notes.append("the skeleton is not classified like the dump it was made of")
