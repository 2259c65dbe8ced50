"""First pass: bitmaps of the page frames that exist, are stored, and are kept, made block by block."""

from __future__ import annotations

from bisect import bisect_left

from vmsieve.filters.classify import Classifier
from vmsieve.filters.doubts import Doubts
from vmsieve.filters.histogram import Histogram, dropping, tally
from vmsieve.filters.loops.classify import apply_classes, count_missing
from vmsieve.filters.plausibility import doubt_scan
from vmsieve.formats.bitmap import BLOCK, Bitmap, address_of, count_ones, cut_bits
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.loops.bits import bridge_gaps
from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.dump.account import add_piece, partial_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.filters.linux.memmap import MemMap
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
    from vmsieve.formats.inputs import LeftOut, MemoryRange, Source
    from vmsieve.pipeline.dump.sieves import Block
    from vmsieve.pipeline.process.progress import Progress

#: Scans of all struct pages, each with more doubts than the previous one. A damaged kernel takes a few.
_ROUNDS = 16
_HIGHEST = 31  # dump level that leaves out most


@record
class Scan:
    """Result of the first pass."""

    max_pfn: int  # one above the highest page frame
    exists: Bitmap = field(default_factory=Bitmap)  # page frames of the machine
    stored: Bitmap = field(default_factory=Bitmap)  # page frames that the input holds
    kept: Bitmap = field(default_factory=Bitmap)  # page frames to write
    counts: dict[str, int] = field(default_factory=dict)  # pages dropped, by rule name
    uncovered: int = 0  # stored page frames without a struct page; they are kept
    left_out: list[LeftOut] = field(default_factory=list)  # stored memory left out unasked, with reasons
    bridged: int = 0  # dropped page frames that are written, to fill short gaps
    left_in: dict[str, int] = field(default_factory=dict)  # the same, by rule name
    weaker: bool = False  # less was dropped than the level asks for
    notes: list[str] = field(default_factory=list)  # remarks on why, and on other problems
    doubts: Doubts | None = None  # rules and memory that the classification does not rely on


def open_classifier(
    knowledge: Knowledge, level: int, notes: list[str], *, thorough: bool = False, doubts: Doubts | None = None
) -> Classifier | None:
    """Open a classifier (see there for ``thorough`` and ``doubts``); None, with a note, if every page is to be kept."""
    if knowledge.memory is None or knowledge.memmap is None or knowledge.info is None:
        if level & ~1:
            notes.append(f"every page is kept: {knowledge.problem}")
        return None
    if not needs_struct_pages(level, knowledge.info):
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
    if (missing := knowledge.info.missing()) is not None:
        notes.append(missing)
    return classifier


def needed_bits(knowledge: Knowledge, scanned: Scan, level: int) -> Callable[[int], bytes] | None:
    """A function that returns, for a block of ``scanned``, the pages that a dump of level 31 would have.

    None if a dump of ``level`` has no others, or if they can't be told. Blocks must ascend.
    """
    if level | 1 == _HIGHEST:
        return None
    classifier = open_classifier(knowledge, _HIGHEST, [], doubts=scanned.doubts)
    if classifier is None:
        return None
    uncounted = Histogram()

    def bits(number: int) -> bytes:
        kept = bytearray(scanned.kept[number])
        classifier.sieve(number * BLOCK, kept, uncounted)
        return bytes(kept)

    return bits


def needs_struct_pages(level: int, info: VmcoreInfo) -> bool:
    """True if a dump of this level drops pages by their struct page.

    Levels 0 and 1 drop pages of rules with ``levels`` 0 (poisoned, offline), but like makedumpfile only if the kernel
    has PG_hwpoison.
    """
    return bool(level & ~1) or info.number("PG_hwpoison") is not None


def scan(
    source: Source, knowledge: Knowledge, level: int, progress: Progress, bridge: int = 0, *, whole: bool = True,
    threads: int = 1,
) -> Scan:  # fmt: skip
    """Classify every page frame for a dump of ``level``; 0 and 1 drop pages, too, see :func:`needs_struct_pages`.

    ``bridge``: fewer dropped pages than this in a row are kept, unless every level drops them. ``whole``: count all
    memory; otherwise leave out what makedumpfile does, see :func:`_leave_out_as_makedumpfile`. ``threads`` classify;
    one, if gaps are bridged.
    """
    doubts = Doubts()
    for _ in range(_ROUNDS):
        one = _OneScan(source, knowledge, level, doubts, whole=whole)
        result, classifier = one.result, one.run(progress, bridge, threads)
        if classifier is None:
            result.weaker = bool(level & ~1)
            return result
        if not doubt_scan(doubts, classifier, result.stored, result.kept):
            break
        knowledge.end_uncertain |= doubts.end_uncertain
    else:
        knowledge.memmap, knowledge.problem = None, "each scan of its struct pages finds more impossible ones"
        return scan(source, knowledge, level, progress, bridge, whole=whole, threads=threads)
    classifier.conclude()
    result.doubts = doubts
    less = knowledge.ambiguous or bool(knowledge.memmap and knowledge.memmap.damaged)
    result.weaker = classifier.weaker or (bool(level & ~1) and less)
    result.notes += classifier.notes
    return result


class _OneScan:
    """A scan of all struct pages with the same doubts."""

    def __init__(self, source: Source, knowledge: Knowledge, level: int, doubts: Doubts, *, whole: bool) -> None:
        self._source, self._knowledge, self._level, self._doubts = source, knowledge, level, doubts
        self.result = Scan(knowledge.max_pfn(source.end()) if whole else knowledge.covered_end(source.end()))
        self._partial = [] if whole else _leave_out_as_makedumpfile(source, knowledge.page_size, self.result)
        self._histogram, self._left_in = Histogram(), Histogram()

    def run(self, progress: Progress, bridge: int, threads: int) -> Classifier | None:
        """Scan, and return the classifier if there is one."""
        result, knowledge, level = self.result, self._knowledge, self._level
        classifier = open_classifier(knowledge, level, result.notes, thorough=bridge > 0, doubts=self._doubts)
        firsts = blocks_with_memory(result.max_pfn, knowledge.page_size, self._source)
        if classifier is not None and self._source.will_read([]):
            # Imported here: /proc/vmcore is not read ahead.
            from vmsieve.pipeline.dump.ahead import announcing_struct_pages

            assert knowledge.memory is not None
            assert knowledge.memmap is not None
            firsts = announcing_struct_pages(firsts, knowledge.memory, knowledge.memmap)
        progress.step("Classifying pages", result.max_pfn, knowledge.page_size)
        if threads > 1 and classifier is not None and not bridge:
            from vmsieve.pipeline.dump.sieves import sieve_blocks

            blocks = sieve_blocks(classifier, firsts, self._bits, self._histogram, threads, result.notes.append)
        else:
            blocks = self._sieve(classifier, firsts, bridge)
        done = 0
        for first, exists, stored, kept in blocks:
            result.uncovered += _uncovered(stored, first, knowledge.memmap)
            for bitmap, bits in ((result.exists, exists), (result.stored, stored), (result.kept, kept)):
                bitmap.put(first // BLOCK, bits)
            done = _advance(progress, done, first, result.max_pfn)
        if classifier is not None:
            result.counts, result.left_in = (
                tally(found, classifier.rules, level) for found in (self._histogram, self._left_in)
            )
            del result.counts["kept"], result.left_in["kept"]
        return classifier

    def _bits(self, first: int) -> tuple[bytearray, bytearray]:
        """Bitmaps of the page frames of a block that exist, and of those that are stored."""
        both = self._source.memory_bits(first, BLOCK, self._knowledge.page_size)
        for bits in both:
            cut_bits(bits, self.result.max_pfn - first)
            _clear_bits(bits, first, self._partial)
        return both

    def _sieve(self, classifier: Classifier | None, firsts: Iterator[int], bridge: int) -> Iterator[Block]:
        """As :func:`vmsieve.pipeline.dump.sieves.sieve_blocks`, in one thread."""
        for first in firsts:
            exists, stored = self._bits(first)
            kept = bytearray(stored)
            if classifier is not None and bridge:
                found = _sieve_and_bridge(classifier, first, kept, self._histogram, self._left_in, bridge)
                self.result.bridged += found
            elif classifier is not None:
                classifier.sieve(first, kept, self._histogram)
            yield first, exists, stored, kept


def _sieve_and_bridge(
    classifier: Classifier, first: int, kept: bytearray, histogram: Histogram, left_in: Histogram, bridge: int
) -> int:
    """Sieve a block, then put back pages that fill short gaps; returns their number, ``left_in`` has it by class.

    Pages that every level drops are never put back: reading a poisoned page can crash the machine.
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


def _leave_out_as_makedumpfile(source: Source, page_size: int, result: Scan) -> list[int]:
    """Leave out memory above the last memory section and partly stored pages; returns the latter's page frames.

    Linux uses no page frame of which only a part is memory (``for_each_mem_pfn_range``, mm/memblock.c). The end of
    conventional memory on a PC (0x9fc00) is the usual case.
    """
    end = result.max_pfn * page_size
    above: list[LeftOut] = []

    def ranges() -> Iterator[MemoryRange]:
        for area in source.ranges():
            if area.stored_end > max(area.start, end):
                start = max(area.start, end)
                add_piece(above, start, area.stored_end, "it lies above the kernel's last memory section")
            yield area

    partial = [(start, start + size) for start, size in partial_pages(ranges(), page_size) if start < end]
    for start, stop in partial:
        add_piece(result.left_out, start, stop, "only a part of the page is stored")
    result.left_out += above
    return [start // page_size for start, _ in partial]


def _clear_bits(bits: bytearray, first: int, pfns: list[int]) -> None:
    """Clear the bits of ``pfns``, ascending, in the block that begins with page frame ``first``."""
    for pfn in pfns[bisect_left(pfns, first) : bisect_left(pfns, first + BLOCK)]:
        bits[pfn - first >> 3] &= ~(1 << (pfn & 7))


def _uncovered(stored: bytearray, first: int, memmap: MemMap | None) -> int:
    """Count the stored page frames of a block, from ``first`` on, that have no struct page."""
    if memmap is None:
        return 0
    found = count_ones(stored)
    for run in memmap.runs(first, first + BLOCK):
        low, high = run.first_pfn - first, run.first_pfn - first + run.count
        bits = stored[low // 8 : -(-high // 8)]
        cut_bits(bits, high - low // 8 * 8, low % 8)
        found -= count_ones(bits)
    return found


def blocks_with_memory(max_pfn: int, page_size: int, *sources: Source) -> Iterator[int]:
    """First page frames of the blocks where a source may have memory, ascending. Holes can be millions of blocks."""
    first = 0
    while first < max_pfn:
        at = first * page_size
        pfn = min((source.next_memory(at) for source in sources if source.end() > at), default=at) // page_size
        if not first <= pfn < max_pfn:
            return
        first = pfn // BLOCK * BLOCK
        yield first
        first += BLOCK


def walk_blocks(title: str, end_pfn: int, page_size: int, progress: Progress, *sources: Source) -> Iterator[int]:
    """Yield the first page frame of each block with memory below ``end_pfn``; ``progress`` follows."""
    progress.step(title, end_pfn, page_size)
    done = 0
    for first in blocks_with_memory(end_pfn, page_size, *sources):
        yield first
        done = _advance(progress, done, first, end_pfn)


def _advance(progress: Progress, done: int, first: int, end_pfn: int) -> int:
    """Report that the block of ``first`` is done; return what is done by now."""
    now = min(first + BLOCK, end_pfn)
    progress.advance(now - done)
    return now
