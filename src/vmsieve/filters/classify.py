"""The scan of the struct pages: the class of every page frame, and so which of them a dump level keeps.

Why a page was dropped: its class has bits of :attr:`Classifier.rules`, and :meth:`Classifier.sieve` clears pages with
any of the bits in :attr:`Classifier.drop`. A rule is a file of :mod:`vmsieve.filters.rules`; the loop in
:mod:`vmsieve.filters.loops.classify` applies them all; :mod:`vmsieve.pipeline.dump.scan` runs this scan, and again
until :mod:`vmsieve.filters.plausibility` accepts its result.
"""

from __future__ import annotations

import ctypes
import sys

from vmsieve.filters.doubts import Doubts
from vmsieve.filters.histogram import Histogram, dropping
from vmsieve.filters.linux.page_layout import PageLayout
from vmsieve.filters.loops import parameters as at
from vmsieve.filters.loops.classify import apply_classes, classify_pages
from vmsieve.filters.parameters import Parameters
from vmsieve.filters.rules import RuleOff, struct_page_rules
from vmsieve.filters.spans import Spans
from vmsieve.filters.struct_page_memory import StructPageMemory
from vmsieve.formats.bitmap import BLOCK, address_of
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.mapping import Window, anonymous
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.memmap import MemMap
    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
    from vmsieve.filters.rules import Rule
    from vmsieve.filters.spans import Span
    from vmsieve.filters.stored import StoredStructPages

    #: First page frame of a run, a buffer of classes (valid until the next run), and how many of its bytes count.
    Classified = tuple[int, bytearray, int]

_BYTES: Final = 1 << 20  # of struct pages that one call classifies
_MOST_MAPPED: Final = 4  # pieces of memory; more are read, as each takes two system calls to map
_RETRY: Final = 64  # struct pages skipped together if one of them is unreadable
_NOISE: Final = 8  # one struct page in this many may contradict others
_ENOUGH: Final = 1 << 14  # page frames among which there is a slab page

_FOREIGN: Final = "struct pages can't be those of this kernel"


class Classifier:
    """Classifies page frames of one kernel for one dump level, or for all of them.

    Attributes:
        rules: The rules of struct pages; bit *i* of a page's class is rule *i*.
        drop: The class bits that drop a page at the dump level.
        off: Rules that can't be applied to this kernel, and why. Rules for pages that the kernel does not have are not
            in it.
        notes: Remarks on other limits of the scan.
        unread: Page frames kept because their struct pages could not be read or were not believed.
        weaker: Less is dropped than the level asks for.
        struct_page_memory: Physical memory of the struct pages that were read.
        at_once: Struct pages that are believed, or not, together.
        seen: Struct pages that were classified.
        spans: Where the struct pages are.
    """

    def __init__(
        self, memory: VirtualMemory, memmap: MemMap, info: VmcoreInfo, level: int, *, thorough: bool = False,
        doubts: Doubts | None = None,
    ) -> None:  # fmt: skip
        """Prepare for dump level ``level``; KernelError if something that every rule needs is missing.

        ``thorough``: classes serve all levels, which takes longer. ``doubts``: what an earlier scan raised.
        """
        self._memory = memory
        self._memmap = memmap
        self.rules = struct_page_rules()
        self.drop = dropping(self.rules, level)
        self.off: dict[str, str] = {}
        self.notes: list[str] = []
        self.unread = 0
        self.page_size = info.page_size or memory.physical.source.page_size or 4096
        self._layout = PageLayout(info, memmap.struct_page_size)
        self._doubts = doubts if doubts is not None else Doubts()
        self.struct_page_memory = StructPageMemory(self._doubts.contested)
        self.parameters = Parameters()
        self._set_parameters(thorough, info)
        self.notes += dict.fromkeys(text for levels, text in self._layout.notes if levels & level)
        # A rule that drops at every level matters at each level that reads struct pages.
        off = [rule for rule in self.rules if rule.name in self.off]
        self.weaker = bool(self.notes) or any(rule.levels & level or (level & ~1 and not rule.levels) for rule in off)
        # Struct pages are mapped to the window, or else copied to the buffer; neither takes memory before it is used.
        self._window, self._buffer = Window(_BYTES), memoryview(anonymous(_BYTES))
        self._buffer_address = address_of(self._buffer)
        self.at_once = _BYTES // self._layout.size
        self._stored: StoredStructPages | None = None
        self.spans = Spans(memory, memmap, self._layout, self.parameters, self._applicable, self.page_size)
        self.seen = 0

    def _set_parameters(self, thorough: bool, info: VmcoreInfo) -> None:
        parameters = self.parameters
        parameters.set_layout(self._layout, swap=self._memory.physical.byte_order != sys.byteorder)
        self._applicable = self._prepare_rules()
        parameters[at.THOROUGH] = int(thorough)
        parameters[at.ACTIVE] = self._applicable if thorough else self._applicable & self.drop
        # All flags are known only after every rule has asked for its own.
        parameters[at.KNOWN_FLAGS] = self._layout.flags
        looks_for_blocks = parameters[at.ACTIVE] & parameters[at.FREE_BIT]
        self._counted: list[int] | None = None
        if looks_for_blocks and not thorough and not self._doubts.verify:
            from vmsieve.filters.linux.zones import free_blocks

            self._counted = free_blocks(self._memory, info)
        parameters[at.VERIFY] = int(self._counted is None)

    def _prepare_rules(self) -> int:
        """Set the rules' parameters; returns the class bits of the rules that can be applied."""
        applicable = 0
        for i, rule in enumerate(self.rules):
            try:
                if rule.name in self._doubts.off:
                    raise RuleOff(self._doubts.off[rule.name])
                words = rule.prepare(self._layout)
            except RuleOff as off:
                if off.reason is not None:
                    self.off[rule.name] = off.reason
                continue
            applicable |= 1 << i
            self.parameters.set_rule(i, rule, words)
        return applicable

    @property
    def conflicts(self) -> int:
        """Pages that rules match, but whose struct page is in memory that is mapped twice."""
        return self.parameters[at.CONFLICTS]

    @property
    def blocks_differ(self) -> bool:
        """True if the free blocks found are not those that the kernel counted."""
        found = self.parameters.free_blocks
        return self._counted is not None and found[1 : len(self._counted)] != self._counted[1:]

    @property
    def slabs_unknown(self) -> str | None:
        """Why slab pages are not recognised, if a rule that is applied depends on that; else None."""
        active = self.parameters[at.ACTIVE]
        if not any(rule.needs_slab_test and active >> i & 1 for i, rule in enumerate(self.rules)):
            return None
        if self.parameters[at.SLABS_ON_LRU]:
            return "pages are marked as slab pages and as page cache"
        if not self.parameters[at.SLABS] and self.seen >= _ENOUGH:
            return "no slab page was found, so they can't be distinguished from others"
        return None

    @property
    def blocks_read(self) -> set[int]:
        """Numbers of the 4 KiB blocks of physical memory that the kernel's tables, variables and log were read from."""
        return self._memory.physical.blocks

    def struct_page(self, pfn: int) -> dict[str, int]:
        """Return the fields of a page frame's struct page that rules look at; empty if it has no struct page."""
        for run in self._memmap.runs(pfn, pfn + 1):
            page = self._memory.read(run.vaddr, self._layout.size)
            return self._layout.fields(page, self._memory.physical.byte_order)
        return {}

    def rule_that_drops(self, pfn: int) -> Rule | None:
        """Return the rule that drops a page frame; None if it is kept. Not within a scan: the loop's state is reset."""
        # The block or compound page that it is part of may begin far before it.
        for start in (pfn // BLOCK * BLOCK, 0):
            self.struct_page_memory = StructPageMemory(self._doubts.contested)
            self.parameters.reset_state()
            for first, classes, count in self.classify(start, pfn + 1):
                if first <= pfn < first + count and (hits := classes[pfn - first] & self.drop):
                    return self.rules[(hits & -hits).bit_length() - 1]
        return None

    def sieve(self, first_pfn: int, kept: bytearray, histogram: Histogram, found: bytearray | None = None) -> None:
        """Clear the bits of dropped page frames in ``kept``, whose first bit is ``first_pfn``.

        ``histogram`` counts the page frames that were set and have a class, 0 included. ``found``: a byte for each page
        frame, set to its class.
        """
        address, classes = address_of(kept), bytearray(self.at_once)
        for span in self._believed(first_pfn, first_pfn + len(kept) * 8):
            done = 0
            while done < span.count:
                done += self._sieve_stored(span, done, first_pfn, address, histogram, classes, found)
                for pfn, part, count in self._classify_next(span, done, classes):
                    apply_classes(address_of(part), count, address, pfn - first_pfn, self.drop, histogram.address)
                    if found is not None:
                        found[pfn - first_pfn : pfn - first_pfn + count] = part[:count]
                done += self.at_once

    def _sieve_stored(
        self, span: Span, done: int, first_pfn: int, kept: int, histogram: Histogram, classes: bytearray,
        found: bytearray | None,
    ) -> int:  # fmt: skip
        """Sieve the rest of ``span``, behind ``done`` page frames, if a file stores its struct pages as they are.

        Returns for how many page frames; the next part is to be looked at by itself. ``kept``: address of the bitmap.
        """
        where = self.find_stored(span, done)
        if where is None:
            return 0
        paddr, bit = span.paddr + done * self._layout.size, span.first_pfn + done - first_pfn
        out, stride = (address_of(classes), 0) if found is None else (address_of(found) + bit, 1)
        if self._stored is None:
            # Imported here: a crash kernel maps its input.
            from vmsieve.filters.stored import StoredStructPages

            self._stored = StoredStructPages(self._buffer_address, self.at_once)
        done = self._stored.sieve(
            where,
            self.parameters,
            (span.first_pfn + done, span.count - done),
            out,
            stride,
            (kept, bit),
            self.drop,
            histogram,
        )
        if done:
            self.struct_page_memory.note(0, [(paddr, done * self._layout.size)])
        self.seen += done
        return done

    def classify(self, first_pfn: int, end_pfn: int) -> Iterator[Classified]:
        """Classify the page frames ``first_pfn .. end_pfn`` that have a struct page; others have no class: keep them.

        Calls go through memory in ascending order.
        """
        classes = bytearray(self.at_once)
        for span in self._believed(first_pfn, end_pfn):
            for part in range(0, span.count, self.at_once):
                yield from self._classify_next(span, part, classes)

    def _believed(self, first_pfn: int, end_pfn: int) -> Iterator[Span]:
        """Yield the plausible struct pages, and set the parameters for them."""
        for span in self.spans.believed(first_pfn, end_pfn, self.disbelieve):
            self.parameters[at.BASE] = self.spans.base(span)
            yield span

    def disbelieve(self, count: int) -> None:
        """Keep ``count`` page frames whose struct pages are not plausible."""
        self._give_up(count, f"{_FOREIGN}: they describe their own memory as free")

    def find_stored(self, span: Span, done: int) -> tuple[int, int] | None:
        """Find the struct pages of ``span`` behind ``done`` page frames in a file; None if they are to be marked."""
        paddr, size = span.paddr + done * self._layout.size, (span.count - done) * self._layout.size
        if span.paddr < 0 or not self.struct_page_memory.is_new(paddr, size):
            return None
        return self._memory.physical.source.find_stored(paddr, size)

    def _classify_next(self, span: Span, done: int, classes: bytearray) -> Iterator[Classified]:
        """Classify the next part of a span, behind ``done`` page frames; nothing at its end."""
        if done < span.count:
            count, vaddr = min(self.at_once, span.count - done), span.vaddr + done * self._layout.size
            yield from self._classify_part(span.first_pfn + done, count, vaddr, classes)

    def _classify_part(self, pfn: int, count: int, vaddr: int, classes: bytearray) -> Iterator[Classified]:
        pieces = self._memory.pieces(vaddr, count * self._layout.size)
        try:
            address = self._load(vaddr, count, pieces)
        except VmsieveError as error:
            if count > _RETRY:
                yield from self._classify_rest(pfn, count, vaddr, classes)
            else:
                self._give_up(count, f"struct pages can't be read ({error})")
            return
        pieces = pieces or []
        parameters, before = self.parameters, self.parameters[at.CONTRADICTIONS]
        marks = self.struct_page_memory.note(vaddr % 4096, pieces)
        if marks is not None:
            parameters[at.MARKS], parameters[at.PHASE] = address_of(marks), vaddr % 4096
        self._call_loop(pieces, address, pfn, count, classes)
        if parameters[at.CONTRADICTIONS] - before > count // _NOISE:
            # A damaged struct page contradicts a few others. This many are not struct pages.
            classes[:count] = bytes(count)
            self._give_up(count, f"{_FOREIGN}: they contradict each other")
        if marks is not None:
            parameters[at.MARKS] = 0
            contested = min(marks.count(at.CONTESTED) * 4096 // self._layout.size, count)
            if contested:
                self._give_up(contested, f"{_FOREIGN}: their own memory is not the kernel's, or is mapped twice")
        self.seen += count
        if parameters[at.FOREIGN_TAILS]:
            # Damage to one page of struct pages makes that page suspect, more make all of them.
            if parameters[at.FOREIGN_TAILS] > 1 or len(pieces) > 1:
                self.struct_page_memory.foreign += [(paddr, paddr + length) for paddr, length in pieces]
            parameters[at.FOREIGN_TAILS] = parameters[at.LAST_FOREIGN] = 0
        yield pfn, classes, count

    def _load(self, vaddr: int, count: int, pieces: list[tuple[int, int]] | None) -> int:
        """Map or read ``count`` struct pages; returns their address. ``pieces``: None if some can't be translated."""
        size, source = count * self._layout.size, self._memory.physical.source
        if pieces is None:
            self._memory.read_into(vaddr, self._buffer[:size])  # raises the error
            return self._buffer_address
        worthwhile = count > _RETRY and len(pieces) <= _MOST_MAPPED
        if worthwhile and self._window.map(source, pieces) and self._window.prefault(size):
            return self._window.address
        self._memory.read_pieces(pieces, self._buffer[:size])
        return self._buffer_address

    def _call_loop(self, pieces: list[tuple[int, int]], address: int, pfn: int, count: int, classes: bytearray) -> None:
        """Classify ``count`` struct pages at ``address``; read and classify them again if the mapped input failed."""
        before = bytes(self.parameters.words)
        out = address_of(classes)
        classify_pages(self.parameters.address, address, pfn, count, 0, out)
        if address == self._buffer_address or not self._window.lost():
            return
        ctypes.memmove(self.parameters.address, before, len(before))
        try:
            self._memory.read_pieces(pieces, self._buffer[: count * self._layout.size])
        except VmsieveError as error:
            classes[:count] = bytes(count)
            self._give_up(count, f"struct pages can't be read ({error})")
        else:
            classify_pages(self.parameters.address, self._buffer_address, pfn, count, 0, out)

    def _classify_rest(self, pfn: int, count: int, vaddr: int, classes: bytearray) -> Iterator[Classified]:
        """Classify what can be read of ``count`` struct pages, in small parts.

        If much of that is noise, the next scan believes none of it: in small parts, noise passes more easily.
        """
        step = self._layout.size
        parts = [(part, min(_RETRY, count - part), vaddr + part * step) for part in range(0, count, _RETRY)]
        contradictions, seen = self.parameters[at.CONTRADICTIONS], self.seen
        for part, size, start in parts:
            yield from self._classify_part(pfn + part, size, start, classes)
        if self.parameters[at.CONTRADICTIONS] - contradictions > (self.seen - seen) // _NOISE:
            for _, size, start in parts:
                pieces = self._memory.pieces(start, size * step)
                self.struct_page_memory.foreign += [(paddr, paddr + length) for paddr, length in pieces or []]

    def conclude(self) -> None:
        """Note the memory that the finished scan rejected as struct pages."""
        count = self.parameters[at.CONTRADICTIONS]
        if count:
            self.notes.append(f"at {count} places struct pages contradict each other; page frames there are kept")
            self.weaker = True

    def _give_up(self, count: int, reason: str) -> None:
        """Keep ``count`` page frames, because of ``reason``; the first reason is noted."""
        if not self.unread:
            self.notes.append(f"{reason}; their page frames are kept")
        self.unread += count
        self.weaker = True
