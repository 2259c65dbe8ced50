"""First pass: every page frame of the dump, block by block, into what exists and what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmsieve.filters.check import Doubts
from vmsieve.filters.classify import Classifier
from vmsieve.filters.histogram import Histogram, tally
from vmsieve.formats.bitmap import BLOCK, Bitmap, address_of, cut_bits
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.kernels.bits import bridge_gaps
from vmsieve.formats.records import field, record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.kernel.vmcoreinfo import VmcoreInfo
    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.progress import Progress

__all__ = ["Scan", "blocks_with_memory", "looks_at_struct_pages", "open_classifier", "scan"]


#: Looks at all struct pages, each with more doubts than the one before. A damaged kernel takes a few.
_ROUNDS = 16


@record
class Scan:
    """What the first pass found.

    Attributes:
        max_pfn: One above the highest page frame.
        exists: Page frames that the machine had.
        stored: Page frames that the input holds.
        kept: Page frames that go into the output.
        counts: Pages dropped, by rule name.
        bridged: Dropped page frames that go into the output all the same, to fill short gaps.
        weaker: Less was dropped than the level asks for.
        notes: Sentences on why, and on what else was odd.
        doubts: What it does not rely on.
    """

    max_pfn: int
    exists: Bitmap = field(default_factory=Bitmap)
    stored: Bitmap = field(default_factory=Bitmap)
    kept: Bitmap = field(default_factory=Bitmap)
    counts: dict[str, int] = field(default_factory=dict)
    bridged: int = 0
    weaker: bool = False
    notes: list[str] = field(default_factory=list)
    doubts: Doubts | None = None


def open_classifier(
    knowledge: Knowledge, level: int, notes: list[str], *, thorough: bool = False, doubts: Doubts | None = None
) -> Classifier | None:
    """A classifier for the kernel, or None when every page has to be kept; says why in ``notes``.

    ``thorough``, ``doubts``: see :class:`Classifier`.
    """
    if knowledge.memory is None or knowledge.memmap is None or knowledge.info is None:
        if level & ~1:
            notes.append(f"every page is kept: {knowledge.problem}")
        return None
    if not looks_at_struct_pages(level, knowledge.info):
        return None
    try:
        classifier = Classifier(
            knowledge.memory, knowledge.memmap, knowledge.info, level, thorough=thorough, doubts=doubts
        )
    except VmsieveError as error:
        notes.append(f"every page is kept: {error}")
        return None
    wanted = [rule.name for rule in classifier.rules if rule.levels & level or not rule.levels]
    notes.extend(classifier.off[name] for name in wanted if name in classifier.off)
    if (told := knowledge.info.missing()) is not None:
        notes.append(told)
    return classifier


def looks_at_struct_pages(level: int, info: VmcoreInfo) -> bool:
    """Whether a dump of this level leaves out anything by its struct page: poisoned and offline pages, if not more.

    As with makedumpfile, levels 0 and 1 do so where the kernel knows poisoned pages: offline ones alone are left in.
    """
    return bool(level & ~1) or info.number("PG_hwpoison") is not None


def scan(source: Source, knowledge: Knowledge, level: int, progress: Progress, bridge: int = 0) -> Scan:
    """Look at every page frame once, and at every struct page once.

    A level that needs no struct page (0, 1) still drops what is dropped always: poisoned and offline pages, but see
    :func:`looks_at_struct_pages`. ``bridge``:
    fewer dropped pages than that in a row are kept, unless reading them could do harm.
    """
    doubts = Doubts()
    for _ in range(_ROUNDS):
        result, classifier = _scan_once(source, knowledge, level, progress, bridge, doubts)
        if classifier is None:
            result.weaker = bool(level & ~1)
            return result
        if not doubts.raised_by(classifier, result.stored, result.kept):
            break
        knowledge.uncut |= doubts.uncut
    else:
        knowledge.memmap, knowledge.problem = None, "each look at its struct pages finds more that can't be"
        return scan(source, knowledge, level, progress, bridge)
    classifier.conclude()
    result.doubts = doubts
    result.weaker = classifier.weaker or (bool(level & ~1) and bool(knowledge.memmap and knowledge.memmap.damaged))
    result.notes += classifier.notes
    return result


def _scan_once(
    source: Source, knowledge: Knowledge, level: int, progress: Progress, bridge: int, doubts: Doubts
) -> tuple[Scan, Classifier | None]:
    max_pfn = knowledge.max_pfn(source.end())
    result, histogram = Scan(max_pfn), Histogram()
    classifier = open_classifier(knowledge, level, result.notes, thorough=bridge > 0, doubts=doubts)
    progress.step("Classifying pages", max_pfn, knowledge.page_size)
    done = 0
    for first in blocks_with_memory(max_pfn, knowledge.page_size, source):
        for bitmap in (result.exists, result.stored, result.kept):
            bitmap.skip(first // BLOCK - len(bitmap))
        exists, stored = source.memory_bits(first, BLOCK, knowledge.page_size)
        cut_bits(exists, max_pfn - first)
        cut_bits(stored, max_pfn - first)
        result.exists.append(exists)
        result.stored.append(stored)
        kept, readable = stored, bytearray(stored) if bridge else None
        if classifier is not None:
            classifier.sieve(first, kept, histogram, readable)
        if readable is not None:
            result.bridged += bridge_gaps(address_of(kept), address_of(readable), BLOCK, bridge)
        result.kept.append(kept)
        progress.advance(min(first + BLOCK, max_pfn) - done)
        done = min(first + BLOCK, max_pfn)
    if classifier is not None:
        result.counts = tally(histogram, classifier.rules, level)
        del result.counts["kept"]
    return result, classifier


def blocks_with_memory(max_pfn: int, page_size: int, *sources: Source) -> Iterator[int]:
    """First page frames of the blocks where any source may have memory, ascending: holes can be millions of blocks."""
    first = 0
    while first < max_pfn:
        pfn = min(source.next_memory(first * page_size) for source in sources) // page_size
        if pfn >= max_pfn:
            return
        first = pfn // BLOCK * BLOCK
        yield first
        first += BLOCK
