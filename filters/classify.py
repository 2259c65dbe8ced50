"""The one scan of the struct pages: which page frames a dump level keeps, and how many are of which class."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

from vmsieve.filters.kernels import classify as k
from vmsieve.filters.pages import NOWHERE, PageLayout
from vmsieve.filters.rules import PARAMETERS, Rule, RuleOff, struct_page_rules
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.mapping import anonymous

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vmsieve.filters.kernel.memmap import MemMap
    from vmsieve.filters.kernel.memory import VirtualMemory
    from vmsieve.filters.kernel.vmcoreinfo import VmcoreInfo

__all__ = ["Classifier", "Histogram", "dropping", "tally"]

_BYTES = 1 << 20  # of struct pages that are classified at a time
_RETRY = 64  # struct pages that are given up together when they can't be read
_WITNESSED = 32768  # struct pages that are believed together: 2 MiB of them, mapped by one entry as a rule
_HUGETLB = {"": 0, "type": 1, "flag": 2, "dtor": 3}


class Histogram:
    """How many page frames have which class: 256 counters."""

    def __init__(self) -> None:
        self._words = (ctypes.c_uint64 * 256)()

    @property
    def address(self) -> int:
        """Of the counters, for kernels."""
        return ctypes.addressof(self._words)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Each class that occurs, with its count."""
        return ((which, count) for which, count in enumerate(self._words) if count)


def dropping(rules: list[Rule], level: int) -> int:
    """The class bits that drop a page at dump level ``level``."""
    return sum(1 << i for i, rule in enumerate(rules) if rule.levels & level or not rule.levels)


def tally(histogram: Iterable[tuple[int, int]], rules: list[Rule], level: int) -> dict[str, int]:
    """Pages dropped at ``level`` by rule name, each counted for the first rule that drops it; and ``"kept"``.

    ``histogram``: pairs of a class and how many pages have it.
    """
    counts = {rule.name: 0 for rule in rules}
    counts["kept"] = 0
    drop = dropping(rules, level)
    for which, count in histogram:
        hits = which & drop
        name = rules[(hits & -hits).bit_length() - 1].name if hits else "kept"
        counts[name] += count
    return counts


class Classifier:
    """Classifies page frames of one kernel for one dump level, or for all of them.

    Attributes:
        rules: The rules of struct pages; bit *i* of a page's class is rule *i*.
        off: Rules that can't be applied to this kernel and why; those that the kernel has no pages for are left out.
        notes: Sentences on what else limits the scan.
        unread: Page frames kept because their struct pages could not be read or believed.
        weaker: Something that the level asks for was not done.
    """

    def __init__(
        self, memory: VirtualMemory, memmap: MemMap, info: VmcoreInfo, level: int, *, thorough: bool = False
    ) -> None:
        """Prepare for dump level ``level``; ``thorough``: the classes serve all levels at once, more slowly.

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
        self._page_size = info.page_size or memory.physical.source.page_size or 4096
        self._layout = PageLayout(info, memmap.struct_page_size)
        self._prepare(memory, thorough)
        self.notes += dict.fromkeys(text for levels, text in self._layout.notes if levels & level)
        # Rules of no level matter at all that look for what a page is.
        asked = [
            rule.levels & level or (level & ~1 and not rule.levels) for rule in self.rules if rule.name in self.off
        ]
        self.weaker = bool(self.notes) or any(asked)
        # Where struct pages are mapped, or else copied to; neither takes room before it is used.
        self._mapped, self._pages = (memoryview(anonymous(_BYTES)) for _ in range(2))
        self._at_once = _BYTES // self._layout.size
        self._believed: int | None = None  # physical address that follows the last struct pages that were believed
        self._window, self._address = address_of(self._mapped), address_of(self._pages)

    def _set(self, offset: int, value: int) -> None:
        self._words[offset // 8] = value

    def _prepare(self, memory: VirtualMemory, thorough: bool) -> None:
        layout, order = self._layout, self._layout.order
        private = layout.offset_private
        fields = {
            k.SIZE: layout.size,
            k.SWAP: int(memory.physical.byte_order != sys.byteorder),
            k.FLAGS: layout.offset_flags,
            k.MAPPING: layout.offset_mapping,
            k.KIND: layout.offset_kind,
            k.PRIVATE: layout.offset_flags if private is None else private,
            k.HEAD: NOWHERE if layout.offset_head is None else layout.offset_head,
            k.HEAD_MASK: layout.head_mask,
            k.SLAB_TYPE: layout.slab_type,
            k.SLAB_MASK: layout.slab_mask,
            k.SLAB_FLAG: layout.slab_flag,
            k.THOROUGH: int(thorough),
        }
        if order is not None and layout.head_mask:
            fields |= {
                k.ORDER_AT: order.offset,
                k.ORDER_WIDTH: order.width,
                k.HUGETLB_HOW: _HUGETLB[order.hugetlb],
                k.HUGETLB_VALUE: order.value,
                k.HUGETLB_AT: order.dtor_offset,
                k.HUGETLB_MASK: order.type_mask,
            }
        for offset, value in fields.items():
            self._set(offset, value)
        self._known = self._prepare_rules()
        self._set(k.ACTIVE, self._known if thorough else self._known & self.drop)

    def _prepare_rules(self) -> int:
        """Store the rules' parameters; returns the bits of those that can be applied."""
        active = 0
        for i, rule in enumerate(self.rules):
            try:
                parameters = rule.prepare(self._layout)
            except RuleOff as off:
                if off.reason is not None:
                    self.off[rule.name] = off.reason
                continue
            active |= 1 << i
            start = k.RULES_AT // 8 + i * PARAMETERS
            for at, parameter in enumerate(parameters):
                self._words[start + at] = parameter
            if rule.name == "hwpoison":
                self._set(k.POISON, parameters[0])
                self._set(k.POISON_BIT, 1 << i)
        return active

    def classify(self, first_pfn: int, end_pfn: int) -> Iterator[tuple[int, bytearray, int]]:
        """Classes of the page frames ``first_pfn .. end_pfn`` that have a struct page, a run at a time.

        Calls go through memory in ascending order. Yields the first page frame of a run, a buffer of classes (valid
        until the next step) and how many of its bytes count. Page frames that no run covers have no class: keep them.
        """
        classes = bytearray(self._at_once)
        out = address_of(classes)
        for run in self._memmap.runs(first_pfn, end_pfn):
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
            pfn = self._memory.translate(vaddr)[0] // self._page_size
            run = next(self._memmap.runs(pfn, pfn + 1), None)
            if run is None:
                return True
            page = bytearray(self._memory.read(run.vaddr, layout.size))
        except VmsieveError:
            return True  # said when its turn comes
        if layout.offset_head is not None:
            head = page[layout.offset_head : layout.offset_head + 8]
            if int.from_bytes(head, "little" if self._memory.physical.byte_order == "little" else "big") & 1:
                return False
        words, which = type(self._words).from_buffer_copy(self._words), bytearray(1)
        for offset, value in ((k.ACTIVE, self._known), (k.BLOCK_END, 0), (k.COMPOUND_END, 0)):
            words[offset // 8] = value
        k.classify_pages(ctypes.addressof(words), address_of(page), pfn, 1, 0, address_of(which))
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
        address, size = self._window, self._layout.size
        if count <= _RETRY or not self._memory.map_at(address, vaddr, count * size):
            address = self._address
            try:
                self._memory.read_into(vaddr, self._pages[: count * size])
            except VmsieveError as error:
                if count > _RETRY:
                    for at in range(0, count, _RETRY):
                        yield from self._piece(pfn + at, min(_RETRY, count - at), vaddr + at * size, classes, out)
                    return
                self._give_up(count, f"struct pages can't be read ({error})")
                return
        k.classify_pages(self._parameters, address, pfn, count, 0, out)
        yield pfn, classes, count

    def _give_up(self, count: int, reason: str) -> None:
        """Keep page frames that can't be judged."""
        if not self.unread:
            self.notes.append(f"{reason}; their page frames are kept")
        self.unread += count
        self.weaker = True

    def sieve(self, first_pfn: int, kept: bytearray, histogram: Histogram, readable: bytearray | None = None) -> None:
        """Clear the bits of dropped page frames in ``kept``, whose first bit is ``first_pfn``.

        ``histogram`` counts the page frames that were set and have a class, 0 included. ``readable``: a bitmap in which
        only what every level drops is cleared; right if the classifier is thorough.
        """
        address, scrap = address_of(kept), Histogram()
        always = dropping(self.rules, 0)
        end_pfn = first_pfn + len(kept) * 8
        for pfn, classes, count in self.classify(first_pfn, end_pfn):
            k.apply_classes(address_of(classes), count, address, pfn - first_pfn, self.drop, histogram.address)
            if readable is not None:
                k.apply_classes(
                    address_of(classes), count, address_of(readable), pfn - first_pfn, always, scrap.address
                )
