"""The one scan of the struct pages: which page frames a dump level keeps, and how many are of which class."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

from vmsieve.filters.plausibility import Doubts, Places, expected_blocks
from vmsieve.filters.histogram import Histogram, dropping
from vmsieve.filters.loops import classify as kernels
from vmsieve.filters.loops import struct_page as k
from vmsieve.filters.page_layout import PageLayout
from vmsieve.filters.parameters import parameters
from vmsieve.filters.rules import PARAMETERS, RuleOff, struct_page_rules
from vmsieve.formats.bitmap import BLOCK, address_of
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.mapping import Window, anonymous

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.memmap import MemMap
    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
    from vmsieve.filters.rules import Rule

__all__ = ["Classifier"]

_WORD = (1 << 64) - 1
_BYTES = 1 << 20  # of struct pages that are classified at a time
_MAPPED = 4  # pieces of memory, at most, that are mapped and not read: two calls more a piece
_RETRY = 64  # struct pages that are given up together when they can't be read
_NOISE = 8  # of so many struct pages, one may contradict others
_WITNESSED = 32768  # struct pages that are believed together: 2 MiB of them, mapped by one entry as a rule
_SOME = 1 << 14  # page frames among which there is a slab page


class Classifier:
    """Classifies page frames of one kernel for one dump level, or for all of them.

    Attributes:
        rules: The rules of struct pages; bit *i* of a page's class is rule *i*.
        off: Rules that can't be applied to this kernel and why; those that the kernel has no pages for are left out.
        notes: Sentences on what else limits the scan.
        unread: Page frames kept because their struct pages could not be read or believed.
        weaker: Something that the level asks for was not done.
        places: Where the struct pages are that were read.
        page_size: Bytes.
    """

    def __init__(
        self, memory: VirtualMemory, memmap: MemMap, info: VmcoreInfo, level: int, *, thorough: bool = False,
        doubts: Doubts | None = None,
    ) -> None:  # fmt: skip
        """Prepare for dump level ``level``.

        ``thorough``: the classes serve all levels at once, more slowly; ``doubts``: what an earlier scan raised.

        Raises:
            KernelError: What no rule can do without is missing.
        """
        self._memory = memory
        self._memmap = memmap
        self.rules = struct_page_rules()
        self.drop = dropping(self.rules, level)
        self.off: dict[str, str] = {}
        self.notes: list[str] = []
        self.unread = 0
        self._words = (ctypes.c_uint64 * k.WORDS)()
        self._parameters = ctypes.addressof(self._words)
        self.page_size = info.page_size or memory.physical.source.page_size or 4096
        self._layout = PageLayout(info, memmap.struct_page_size)
        self._doubts = doubts if doubts is not None else Doubts()
        self.places = Places(self._doubts.contested)
        self._prepare(memory, thorough)
        self._counted = None if thorough or self._doubts.verify or not self._free() else expected_blocks(memory, info)
        self._set(k.VERIFY, int(self._counted is None))
        self.notes += dict.fromkeys(text for levels, text in self._layout.notes if levels & level)
        # Rules of no level matter at all that look for what a page is.
        off = [rule for rule in self.rules if rule.name in self.off]
        asked = [rule.levels & level or (level & ~1 and not rule.levels) for rule in off]
        self.weaker = bool(self.notes) or any(asked)
        # Where struct pages are mapped, or else copied to; neither takes room before it is used.
        self._window, self._pages = Window(_BYTES), memoryview(anonymous(_BYTES))
        self._at_once = _BYTES // self._layout.size
        self._seen = 0
        self._believed: int | None = None  # physical address that follows the last struct pages that were believed
        self._address = address_of(self._pages)

    def _set(self, offset: int, value: int) -> None:
        self._words[offset // 8] = value

    def _prepare(self, memory: VirtualMemory, thorough: bool) -> None:
        fields = parameters(self._layout, swap=memory.physical.byte_order != sys.byteorder)
        self._set(k.THOROUGH, int(thorough))
        for offset, value in fields.items():
            self._set(offset, value)
        self._known = self._prepare_rules()
        self._set(k.ACTIVE, self._known if thorough else self._known & self.drop)
        self._set(k.FLAG_BITS, self._layout.flags)

    def _prepare_rules(self) -> int:
        """Store the rules' parameters; returns the bits of those that can be applied."""
        active = 0
        for i, rule in enumerate(self.rules):
            try:
                if rule.name in self._doubts.off:
                    raise RuleOff(self._doubts.off[rule.name])
                parameters = rule.prepare(self._layout)
            except RuleOff as off:
                if off.reason is not None:
                    self.off[rule.name] = off.reason
                continue
            active |= 1 << i
            start = k.RULES_AT // 8 + i * PARAMETERS
            for at, parameter in enumerate(parameters):
                self._words[start + at] = parameter
            if rule.broken:
                self._set(k.POISON, parameters[0])
                self._set(k.POISON_BIT, 1 << i)
            if rule.counted:
                self._set(k.FREE_BIT, 1 << i)
            if rule.reserved:
                self._set(k.STANDING, self._words[k.STANDING // 8] | 1 << i)
            if rule.lifeless:
                self._set(k.LIFELESS, self._words[k.LIFELESS // 8] | 1 << i)
        return active

    def _free(self) -> bool:
        """Whether blocks of free pages are looked for."""
        return bool(self._words[k.ACTIVE // 8] & self._words[k.FREE_BIT // 8])

    @property
    def conflicts(self) -> int:
        """Pages that would be dropped by struct pages that are in memory where others are too."""
        return self._words[k.CONFLICTS // 8]

    @property
    def blocks_differ(self) -> bool:
        """Whether other free blocks were found than the kernel counted."""
        return self._counted is not None and self.blocks[1 : len(self._counted)] != self._counted[1:]

    @property
    def blocks(self) -> list[int]:
        """Free blocks found, by order; those of one page are not counted."""
        return self._words[k.ORDERS_AT // 8 :]

    @property
    def slabs_unknown(self) -> str | None:
        """Why slab pages can't be told from others, if so and if it matters."""
        if not any(rule.unlike_slabs and self._words[k.ACTIVE // 8] >> i & 1 for i, rule in enumerate(self.rules)):
            return None
        if self._words[k.MIXED // 8]:
            return "pages are marked as slab pages and as page cache"
        if not self._words[k.SLABS // 8] and self._seen >= _SOME:
            return "no slab page was found, so they can't be told from others"
        return None

    @property
    def memory_read(self) -> set[int]:
        """Blocks of 4 KiB of physical memory that tell of the kernel."""
        return self._memory.physical.blocks

    def rule_that_drops(self, pfn: int) -> Rule:
        """The rule that a page is dropped by; ends the scan."""
        # What a page is part of may have begun long before.
        for start in (pfn // BLOCK * BLOCK, 0):
            self.places = Places(self._doubts.contested)
            self._forget()
            for first, classes, count in self.classify(start, pfn + 1):
                if first <= pfn < first + count and (hits := classes[pfn - first] & self.drop):
                    return self.rules[(hits & -hits).bit_length() - 1]
        raise AssertionError

    def _forget(self) -> None:
        for offset in (k.BLOCK_END, k.COMPOUND_END):
            self._set(offset, 0)

    def classify(self, first_pfn: int, end_pfn: int) -> Iterator[tuple[int, bytearray, int]]:
        """Classes of the page frames ``first_pfn .. end_pfn`` that have a struct page, a run at a time.

        Calls go through memory in ascending order. Yields the first page frame of a run, a buffer of classes (valid
        until the next step) and how many of its bytes count. Page frames that no run covers have no class: keep them.
        """
        classes = bytearray(self._at_once)
        out = address_of(classes)
        for run in self._memmap.runs(first_pfn, end_pfn):
            self._set(k.BASE, run.vaddr - run.first_pfn * self._layout.size & _WORD)
            for at in range(0, run.count, _WITNESSED):
                count = min(_WITNESSED, run.count - at)
                pfn, vaddr = run.first_pfn + at, run.vaddr + at * self._layout.size
                if self._believable(vaddr, count):
                    yield from self._stretch(pfn, count, vaddr, classes, out)
                else:
                    self._give_up(count, "struct pages can't be those of this kernel: they call their own memory free")

    def _believable(self, vaddr: int, count: int) -> bool:
        """Whether ``count`` struct pages from ``vaddr`` on are in memory that belongs to the kernel, by their own word.

        It does in any kernel. Where damaged page tables lead elsewhere, what is found there hardly says so twice.
        What goes on where the last ones ended, in physical memory too, is believed with them.
        """
        try:
            start, together = self._memory.translate(vaddr)
        except VmsieveError:
            start, together = -1, 0
        size = count * self._layout.size
        believed = start == self._believed
        believed = believed or all(self._is_kernels(at) for at in (vaddr, vaddr + size - self._layout.size))
        self._believed = start + size if believed and together >= size else None
        return believed

    def _is_kernels(self, vaddr: int) -> bool:
        layout = self._layout
        try:
            pfn = self._memory.translate(vaddr)[0] // self.page_size
            run = next(self._memmap.runs(pfn, pfn + 1), None)
            if run is None:
                return True
            page = bytearray(layout.size)
            self._memory.read_into(run.vaddr, memoryview(page))  # not noted as what tells of the kernel
        except VmsieveError:
            return True  # said when its turn comes
        if layout.offset_head is not None:
            head = page[layout.offset_head : layout.offset_head + 8]
            if int.from_bytes(head, "little" if self._memory.physical.byte_order == "little" else "big") & 1:
                return False
        words, which = type(self._words).from_buffer_copy(self._words), bytearray(1)
        for offset, value in ((k.ACTIVE, self._known), (k.BLOCK_END, 0), (k.COMPOUND_END, 0), (k.ALIASES, 0)):
            words[offset // 8] = value
        kernels.classify_pages(ctypes.addressof(words), address_of(page), pfn, 1, 0, address_of(which))
        return which[0] == 0

    def _stretch(
        self, pfn: int, count: int, vaddr: int, classes: bytearray, out: int
    ) -> Iterator[tuple[int, bytearray, int]]:
        step = self._at_once
        for at in range(0, count, step):
            yield from self._piece(pfn + at, min(step, count - at), vaddr + at * self._layout.size, classes, out)

    def _piece(
        self, pfn: int, count: int, vaddr: int, classes: bytearray, out: int
    ) -> Iterator[tuple[int, bytearray, int]]:
        address, size = self._window.address, self._layout.size
        pieces = self._memory.pieces(vaddr, count * size)
        few = pieces is not None and count > _RETRY and len(pieces) <= _MAPPED
        mapped = few and pieces is not None and self._window.map(self._memory.physical.source, pieces)
        if not mapped or not self._window.there(count * size):
            address = self._address
            try:
                if pieces is None:
                    self._memory.read_into(vaddr, self._pages[: count * size])  # says what is wrong
                else:
                    self._memory.read_pieces(pieces, self._pages[: count * size])
            except VmsieveError as error:
                if count > _RETRY:
                    doubts, seen = self._words[k.DOUBTS // 8], self._seen
                    for at in range(0, count, _RETRY):
                        yield from self._piece(pfn + at, min(_RETRY, count - at), vaddr + at * size, classes, out)
                    if self._words[k.DOUBTS // 8] - doubts > (self._seen - seen) // _NOISE:
                        self._distrust(vaddr, count)
                    return
                self._give_up(count, f"struct pages can't be read ({error})")
                return
        marks = self.places.enter(vaddr % 4096, pieces or [], k.ALIAS, k.CONTESTED)
        if marks is not None:
            self._set(k.ALIASES, address_of(marks))
            self._set(k.PHASE, vaddr % 4096)
        doubts = self._words[k.DOUBTS // 8]
        self._judge(pieces or [], address, pfn, count, classes, out)
        if self._words[k.DOUBTS // 8] - doubts > count // _NOISE:
            # One that is damaged contradicts a few; these are none.
            classes[:count] = bytes(count)
            self._give_up(count, "struct pages can't be those of this kernel: they contradict each other")
        if marks is not None:
            self._set(k.ALIASES, 0)
            if k.CONTESTED in marks:
                units = min(marks.count(k.CONTESTED) * 4096 // size, count)
                self._give_up(
                    units, "struct pages can't be those of this kernel: they disown their own memory, or share it"
                )
        self._seen += count
        if self._words[k.MISPLACED // 8]:
            self._misplaced(pieces or [])
        yield pfn, classes, count

    def _judge(
        self, pieces: list[tuple[int, int]], address: int, pfn: int, count: int, classes: bytearray, out: int
    ) -> None:
        """Classify ``count`` struct pages, which lie at ``address``; again if the input failed meanwhile."""
        before = bytes(self._words)
        kernels.classify_pages(self._parameters, address, pfn, count, 0, out)
        if address == self._address or not self._window.lost():
            return
        ctypes.memmove(self._parameters, before, len(before))
        try:
            self._memory.read_pieces(pieces, self._pages[: count * self._layout.size])
        except VmsieveError as error:
            classes[:count] = bytes(count)
            self._give_up(count, f"struct pages can't be read ({error})")
        else:
            kernels.classify_pages(self._parameters, self._address, pfn, count, 0, out)

    def _distrust(self, vaddr: int, count: int) -> None:
        """Next time, none of ``count`` struct pages is believed: most of them, in small pieces, were noise."""
        for at in range(0, count, _RETRY):
            pieces = self._memory.pieces(vaddr + at * self._layout.size, min(_RETRY, count - at) * self._layout.size)
            self.places.misplaced += [(paddr, paddr + length) for paddr, length in pieces or []]

    def _misplaced(self, pieces: list[tuple[int, int]]) -> None:
        """Of struct pages that speak of other pages all are suspect; of damaged ones, those of one page."""
        if self._words[k.MISPLACED // 8] > 1 or len(pieces) > 1:
            self.places.misplaced += [(paddr, paddr + length) for paddr, length in pieces]
        self._set(k.MISPLACED, 0)
        self._set(k.LAST_MISPLACED, 0)

    def conclude(self) -> None:
        """Say what was not believed in the course of the scan, which is over."""
        doubts = self._words[k.DOUBTS // 8]
        if doubts:
            self.notes.append(f"at {doubts} places struct pages contradict each other; page frames there are kept")
            self.weaker = True

    def _give_up(self, count: int, reason: str) -> None:
        """Keep page frames that can't be judged."""
        if not self.unread:
            self.notes.append(f"{reason}; their page frames are kept")
        self.unread += count
        self.weaker = True

    def sieve(self, first_pfn: int, kept: bytearray, histogram: Histogram, found: bytearray | None = None) -> None:
        """Clear the bits of dropped page frames in ``kept``, whose first bit is ``first_pfn``.

        ``histogram`` counts the page frames that were set and have a class, 0 included. ``found``: a byte for each page
        frame, set to its class.
        """
        address = address_of(kept)
        for pfn, classes, count in self.classify(first_pfn, first_pfn + len(kept) * 8):
            kernels.apply_classes(address_of(classes), count, address, pfn - first_pfn, self.drop, histogram.address)
            if found is not None:
                found[pfn - first_pfn : pfn - first_pfn + count] = classes[:count]
