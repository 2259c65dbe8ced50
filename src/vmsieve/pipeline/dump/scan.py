"""First pass: every page frame of the dump, block by block, into what exists and what is kept."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from vmsieve.filters.classify import Classifier
from vmsieve.filters.doubts import Doubts
from vmsieve.filters.histogram import Histogram, dropping, tally
from vmsieve.filters.loops.classify import apply_classes, count_missing
from vmsieve.filters.plausibility import doubt_scan
from vmsieve.formats.bitmap import BLOCK, Bitmap, address_of, cut_bits
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.loops.bits import bridge_gaps, count_bits
from vmsieve.formats.slim.records import field, record
from vmsieve.pipeline.dump.account import beyond, partial_pages, taken_together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.filters.linux.memmap import MemMap
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
    from vmsieve.formats.inputs import LeftOut, Source
    from vmsieve.pipeline.process.progress import Progress

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
        uncovered: Page frames that the input holds and that no struct page covers: they are kept.
        left_out: Stored memory that nobody asked to leave out, and why it is.
        bridged: Dropped page frames that go into the output all the same, to fill short gaps.
        left_in: The same, by rule name.
        weaker: Less was dropped than the level asks for.
        notes: Sentences on why, and on what else was odd.
        doubts: What it does not rely on.
    """

    max_pfn: int
    exists: Bitmap = field(default_factory=Bitmap)
    stored: Bitmap = field(default_factory=Bitmap)
    kept: Bitmap = field(default_factory=Bitmap)
    counts: dict[str, int] = field(default_factory=dict)
    uncovered: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    bridged: int = 0
    left_in: dict[str, int] = field(default_factory=dict)
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


def scan(
    source: Source, knowledge: Knowledge, level: int, progress: Progress, bridge: int = 0, *, whole: bool = True
) -> Scan:
    """Look at every page frame once, and at every struct page once.

    A level that needs no struct page (0, 1) still drops what is dropped always: poisoned and offline pages, but see
    :func:`looks_at_struct_pages`. ``bridge``:
    fewer dropped pages than that in a row are kept, unless reading them could do harm. ``whole``: all memory counts;
    else what makedumpfile leaves out is left out, see :func:`_as_makedumpfile`.
    """
    doubts = Doubts()
    for _ in range(_ROUNDS):
        result, classifier = _scan_once(source, knowledge, level, progress, bridge, doubts, whole=whole)
        if classifier is None:
            result.weaker = bool(level & ~1)
            return result
        if not doubt_scan(doubts, classifier, result.stored, result.kept):
            break
        knowledge.end_uncertain |= doubts.end_uncertain
    else:
        knowledge.memmap, knowledge.problem = None, "each look at its struct pages finds more that can't be"
        return scan(source, knowledge, level, progress, bridge, whole=whole)
    classifier.conclude()
    result.doubts = doubts
    less = knowledge.ambiguous or bool(knowledge.memmap and knowledge.memmap.damaged)
    result.weaker = classifier.weaker or (bool(level & ~1) and less)
    result.notes += classifier.notes
    return result


def _scan_once(
    source: Source, knowledge: Knowledge, level: int, progress: Progress, bridge: int, doubts: Doubts, *, whole: bool
) -> tuple[Scan, Classifier | None]:
    max_pfn = knowledge.max_pfn(source.end()) if whole else knowledge.covered_end(source.end())
    result, histogram, left_in = Scan(max_pfn), Histogram(), Histogram()
    partial = [] if whole else _as_makedumpfile(source, knowledge.page_size, result)
    classifier = open_classifier(knowledge, level, result.notes, thorough=bridge > 0, doubts=doubts)
    progress.step("Classifying pages", max_pfn, knowledge.page_size)
    done = 0
    for first in blocks_with_memory(max_pfn, knowledge.page_size, source):
        for bitmap in (result.exists, result.stored, result.kept):
            bitmap.skip(first // BLOCK - len(bitmap))
        exists, stored = source.memory_bits(first, BLOCK, knowledge.page_size)
        for bits in (exists, stored):
            cut_bits(bits, max_pfn - first)
            _clear_bits(bits, first, partial)
        result.uncovered += _uncovered(stored, first, knowledge.memmap)
        result.exists.append(exists)
        result.stored.append(stored)
        if classifier is not None and bridge:
            result.bridged += _sieve_and_bridge(classifier, first, stored, histogram, left_in, bridge)
        elif classifier is not None:
            classifier.sieve(first, stored, histogram)
        result.kept.append(stored)
        progress.advance(min(first + BLOCK, max_pfn) - done)
        done = min(first + BLOCK, max_pfn)
    if classifier is not None:
        result.counts, result.left_in = (tally(found, classifier.rules, level) for found in (histogram, left_in))
        del result.counts["kept"], result.left_in["kept"]
    return result, classifier


def _sieve_and_bridge(
    classifier: Classifier, first: int, kept: bytearray, histogram: Histogram, left_in: Histogram, bridge: int
) -> int:
    """Sieve a block, then put back pages that fill short gaps; returns how many, ``left_in`` counts them by class.

    Pages that every level drops are not put back: reading them could do harm.
    """
    readable, classes, always = bytearray(kept), bytearray(BLOCK), dropping(classifier.rules, 0)
    uncounted = Histogram()
    classifier.sieve(first, kept, histogram, classes)
    apply_classes(address_of(classes), BLOCK, address_of(readable), 0, always, uncounted.address)
    before = bytearray(kept)
    bridged = bridge_gaps(address_of(kept), address_of(readable), BLOCK, bridge)
    if bridged:
        count_missing(address_of(classes), address_of(kept), address_of(before), BLOCK, left_in.address)
    return bridged


def _as_makedumpfile(source: Source, page_size: int, result: Scan) -> list[int]:
    """Leave out what makedumpfile does: memory above the last memory section, and pages that are stored in part.

    Linux uses no page frame that is memory only in part (``for_each_mem_pfn_range``, mm/memblock.c): the odd end of
    conventional memory on a PC (0x9fc00) is the usual case. Returns these page frames.
    """
    end = result.max_pfn * page_size
    partial = [(start, start + size) for start, size in partial_pages(source.ranges(), page_size) if start < end]
    result.left_out += taken_together(partial, "only a part of the page is stored")
    result.left_out += beyond(source.ranges(), end, "it lies above the kernel's last memory section")
    return [start // page_size for start, _ in partial]


def _clear_bits(bits: bytearray, first: int, pfns: list[int]) -> None:
    """Clear the bits of ``pfns``, ascending, in a block from page frame ``first`` on."""
    for pfn in pfns[bisect_left(pfns, first) : bisect_left(pfns, first + BLOCK)]:
        bits[pfn - first >> 3] &= ~(1 << (pfn & 7))


def _uncovered(stored: bytearray, first: int, memmap: MemMap | None) -> int:
    """How many of the page frames of a block, from ``first`` on, have no struct page."""
    if memmap is None:
        return 0
    found = count_bits(address_of(stored), len(stored))
    for run in memmap.runs(first, first + BLOCK):
        low, high = run.first_pfn - first, run.first_pfn - first + run.count
        bits = stored[low // 8 : -(-high // 8)]
        cut_bits(bits, high - low // 8 * 8, low % 8)
        found -= count_bits(address_of(bits), len(bits))
    return found


def blocks_with_memory(max_pfn: int, page_size: int, *sources: Source) -> Iterator[int]:
    """First page frames of the blocks where any source may have memory, ascending: holes can be millions of blocks."""
    first = 0
    while first < max_pfn:
        at = first * page_size
        pfn = min((source.next_memory(at) for source in sources if source.end() > at), default=at) // page_size
        if not first <= pfn < max_pfn:
            return
        first = pfn // BLOCK * BLOCK
        yield first
        first += BLOCK
