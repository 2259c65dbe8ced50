"""The memory map: runs of page frames whose struct pages are contiguous in virtual memory.

Three memory models (Documentation/mm/memory-model.rst, include/linux/mmzone.h, include/asm-generic/memory_model.h):

* ``flatmem``: one array for all page frames.
* ``sparsemem``: physical memory is divided into sections of ``1 << SECTION_SIZE_BITS`` bytes, each with its own array
  of struct pages. The sections are elements of one array.
* ``sparsemem-extreme``: the same with an array of *roots*, each a pointer to a page of sections; holes cost nothing.

A section has the address of its array *encoded*: minus the offset that its first struct page would have in one array
for all page frames, with flags in the low bits.
"""

from __future__ import annotations

import sys
from bisect import bisect_right

from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.arrays import array
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.arch import Arch
    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

_WORD = (1 << 64) - 1
# Flags in section_mem_map. The last came in v6.15; arrays are aligned to more than 64 bytes, so these bits are flags or
# 0 in every kernel.
_FLAGS = 0x3F
_PRESENT = 1
_HAS_MAP = 2

# No kernel exceeds these; they bound time and memory if a dump is damaged.
_MAX_ROOTS = 1 << 20
_MAX_SECTIONS = 1 << 22
_MAX_RUNS = 1 << 20
_MAX_NOTES = 20
_MAX_STRUCT_PAGE = 4096
_MOST_USUAL = 2  # bases with equally many sections; with more, none is right


@record(frozen=True)
class Run:
    """At least one page frame; their struct pages are contiguous from virtual address ``vaddr`` on."""

    first_pfn: int
    count: int
    vaddr: int


class MemMap:
    """The struct pages of a kernel.

    Attributes:
        model: ``"flatmem"``, ``"sparsemem"`` or ``"sparsemem-extreme"``.
        struct_page_size: Bytes.
        present: Number of sections with a plausible map; 1 in the flat model.
        absent: Number of sections without a map: holes, and memory that was removed.
        damaged: Number of unreadable or implausible sections, or roots of sections; their pages can't be classified.
        notes: Remarks, for reports.
    """

    def __init__(self, model: str, struct_page_size: int) -> None:
        self.model = model
        self.struct_page_size = struct_page_size
        self.present = 0
        self.absent = 0
        self.damaged = 0
        self.notes: list[str] = []
        # Parallel arrays, ascending: a list of runs would take five times the memory if nothing can be merged.
        self._first = array("Q")
        self._count = array("Q")
        self._vaddr = array("Q")

    @property
    def end_pfn(self) -> int:
        """One above the last page frame with a struct page; the kernel used no memory beyond."""
        return self._first[-1] + self._count[-1] if self._first else 0

    def runs(self, first_pfn: int = 0, end_pfn: int = 1 << 64) -> Iterator[Run]:
        """The runs among the page frames ``first_pfn <= pfn < end_pfn``, ascending and as long as possible."""
        for i in range(max(bisect_right(self._first, max(first_pfn, 0)) - 1, 0), len(self._first)):
            start, stop = self._first[i], self._first[i] + self._count[i]
            if start >= end_pfn:
                return
            low, high = max(start, first_pfn), min(stop, end_pfn)
            if low < high:
                yield Run(low, high - low, self._vaddr[i] + (low - start) * self.struct_page_size)

    def add(self, first_pfn: int, count: int, vaddr: int) -> None:
        """Append struct pages; ``first_pfn`` is above all present ones."""
        self.present += 1
        if self._first:
            last = self._count[-1]
            beside = first_pfn == self._first[-1] + last and vaddr == self._vaddr[-1] + last * self.struct_page_size
            if beside:
                self._count[-1] = last + count
                return
        if len(self._first) >= _MAX_RUNS:
            raise KernelError("the memory map has implausibly many runs", expected=_MAX_RUNS)
        self._first.append(first_pfn)
        self._count.append(count)
        self._vaddr.append(vaddr)

    def drop_displaced(self, pages: int) -> None:
        """Drop sections whose maps are off by less than one map from the base that most sections have.

        ``pages``: page frames per section. With CONFIG_SPARSEMEM_VMEMMAP struct pages form one virtual array, so all
        sections have one base; without, maps are allocated separately and their bases do not come so close.
        """
        size, weights = self.struct_page_size, dict[int, int]()
        bases = [vaddr - first * size & _WORD for first, vaddr in zip(self._first, self._vaddr)]
        for base, count in zip(bases, self._count):
            weights[base] = weights.get(base, 0) + count
        most = max(weights.values(), default=0)
        usual = [base for base, weight in weights.items() if weight == most]
        if len(weights) < 2 or len(usual) > _MOST_USUAL:
            return
        away = {base for base in weights for other in usual if 0 < _apart(base, other) < pages * size}
        for i in reversed(range(len(bases))):
            if bases[i] in away:
                self.skip(self._first[i] // pages, "its map is displaced from those of the others")
                del self._first[i], self._count[i], self._vaddr[i]

    def skip(self, section: int, reason: str) -> None:
        """Count a damaged section, with a remark for the first few."""
        self.damaged += 1
        if len(self.notes) < _MAX_NOTES:
            self.notes.append(f"memory section {section}: {reason}; its pages are kept")


class _Sections:
    """The kernel's memory sections: their geometry, and how they are read."""

    def __init__(
        self, memory: VirtualMemory, info: VmcoreInfo, arch: Arch, max_pfn: int, struct_page_size: int
    ) -> None:
        self.memory, self.max_pfn, self.struct_page_size = memory, max_pfn, struct_page_size
        page_size = info.page_size or memory.physical.source.page_size or 4096
        section_bits = _bits(info, "SECTION_SIZE_BITS", arch.section_size_bits(info))
        physical_bits = _bits(info, "MAX_PHYSMEM_BITS", arch.max_physmem_bits(info))
        size, offset = info.need("SIZE", "mem_section"), info.need("OFFSET", "mem_section.section_mem_map")
        # A power of two: the kernel finds a section in its root with a mask.
        if not 8 <= size <= 4096 or size & (size - 1) or not 0 <= offset <= size - 8 or offset % 8:
            raise KernelError("SIZE or OFFSET of mem_section is implausible", found=f"{size} and {offset}")
        if not page_size < 1 << section_bits <= 1 << physical_bits:
            raise KernelError(
                "SECTION_SIZE_BITS or MAX_PHYSMEM_BITS is implausible", found=f"{section_bits}, {physical_bits}"
            )
        self.size, self.offset = size, offset  # bytes, of struct mem_section and of its section_mem_map
        self.pages = (1 << section_bits) // page_size
        self.count = min(-(-max_pfn // self.pages), 1 << physical_bits - section_bits)
        self.per_root = page_size // size  # 0 without roots
        length = info.length("mem_section")
        if length is not None and length != -(-(1 << physical_bits - section_bits) // self.per_root):
            self.per_root = 0
            self.count = min(self.count, length)
        if self.count > (_MAX_ROOTS * self.per_root if self.per_root else _MAX_SECTIONS):
            raise KernelError("there are implausibly many memory sections", found=self.count)

    def decode(self, table: bytes, first: int, into: MemMap) -> None:
        """Add the sections in ``table``, an array of struct mem_section that begins with section ``first``."""
        words = _words(table, self.memory.physical.byte_order)
        at, step = self.offset // 8, self.size // 8
        for section, raw in enumerate(words[at::step], first):
            if section >= self.count:
                break
            # A map that outlived its memory has lost the "present" flag.
            if raw & (_PRESENT | _HAS_MAP) != _PRESENT | _HAS_MAP:
                into.absent += 1
                continue
            pfn = section * self.pages
            vaddr = ((raw & ~_FLAGS) + pfn * self.struct_page_size) & _WORD
            if not self.memory.translator.is_kernel(vaddr):
                into.skip(section, f"its map can't be at {vaddr:#x}")
                continue
            into.add(pfn, min(self.pages, self.max_pfn - pfn), vaddr)

    def collect_static(self, table: int, into: MemMap) -> None:
        """Add all sections of the array at ``table``."""
        chunk = 4096 // self.size
        for first in range(0, self.count, chunk):
            size = min(chunk, self.count - first) * self.size
            try:
                self.decode(self.memory.read(table + first * self.size, size), first, into)
            except (KernelError, ReadError) as error:
                into.skip(first, f"the array of sections is not readable from there on ({error})")

    def collect_roots(self, table: int, into: MemMap) -> None:
        """Add all sections of the roots at ``table``."""
        roots = _words(self.memory.read(table, -(-self.count // self.per_root) * 8), self.memory.physical.byte_order)
        visited = 0
        for number, root in enumerate(roots):
            first = number * self.per_root
            if root == 0:
                into.absent += min(self.per_root, self.count - first)
                continue
            visited += self.per_root
            if visited > _MAX_SECTIONS:
                raise KernelError("there are implausibly many memory sections", expected=_MAX_SECTIONS)
            try:
                if not self.memory.translator.is_kernel(root):
                    raise KernelError("not an address of the kernel", found=root)
                self.decode(self.memory.read(root, self.per_root * self.size), first, into)
            except (KernelError, ReadError) as error:
                into.skip(first, f"its root, which the following sections share, is not readable ({error})")


def open_memmap(memory: VirtualMemory, info: VmcoreInfo, arch: Arch, max_pfn: int) -> MemMap:
    """Find the struct pages of the page frames below ``max_pfn``."""
    size = info.need("SIZE", "page")
    if not 16 <= size <= _MAX_STRUCT_PAGE or size % 4:
        raise KernelError("SIZE(page) is implausible", found=size)
    if _is_discontigmem(info):
        raise KernelError("the memory model DISCONTIGMEM is not supported")
    sections = info.symbol("mem_section") and info.size("mem_section")
    if sections and info.offset("mem_section.section_mem_map") is not None:
        return _sparsemem(_Sections(memory, info, arch, max_pfn, size), info.need("SYMBOL", "mem_section"))
    symbol = info.symbol("mem_map")
    if symbol is None:
        expected = "SYMBOL(mem_section) or SYMBOL(mem_map)"
        raise KernelError("VMCOREINFO does not name the memory model", expected=expected)
    first = max(memory.translator.flat_first_pfn, 0)
    vaddr = memory.u64(symbol) + (first - memory.translator.flat_first_pfn) * size & _WORD
    if not memory.translator.is_kernel(vaddr):
        raise KernelError("mem_map is not an address of the kernel", found=vaddr)
    memmap = MemMap("flatmem", size)
    if first < max_pfn:
        memmap.add(first, max_pfn - first, vaddr)
    return memmap


def _is_discontigmem(info: VmcoreInfo) -> bool:
    """True if each node has a ``mem_map``; removed in v5.14."""
    nodes = info.symbol("node_data") or info.symbol("pgdat_list")
    return bool(nodes and info.size("pglist_data")) and all(
        info.offset(f"pglist_data.{name}") is not None
        for name in ("node_mem_map", "node_start_pfn", "node_spanned_pages")
    )


def _sparsemem(sections: _Sections, symbol: int) -> MemMap:
    if not sections.per_root:
        memmap = MemMap("sparsemem", sections.struct_page_size)
        sections.collect_static(symbol, memmap)
    else:
        # The kernel writes the address of the array; a tool that takes the symbol gets, since v4.15, that of the
        # *pointer* to it (Linux commit 83e3c48729d9, "mm/sparsemem: Allocate mem_section at runtime for
        # CONFIG_SPARSEMEM_EXTREME=y"). If the first reading has faults, the one with more sections is taken.
        memmap = _try_roots(sections, symbol)
        if memmap.damaged or not memmap.present:
            pointed = _try_roots(sections, None, symbol)
            if (pointed.present, -pointed.damaged) > (memmap.present, -memmap.damaged):
                memmap = pointed
    memmap.drop_displaced(sections.pages)
    if not memmap.end_pfn:
        raise KernelError("SYMBOL(mem_section) leads to no plausible memory section", offset=symbol)
    return memmap


def _try_roots(sections: _Sections, table: int | None, pointer: int = 0) -> MemMap:
    """Read the sections of the roots at ``table``, or at the address in ``pointer``; empty if unreadable."""
    memmap = MemMap("sparsemem-extreme", sections.struct_page_size)
    try:
        sections.collect_roots(sections.memory.u64(pointer) if table is None else table, memmap)
    except (KernelError, ReadError) as error:
        memmap.skip(0, str(error))
    return memmap


def _bits(info: VmcoreInfo, name: str, default: int) -> int:
    number = info.number(name)
    if number is None:
        return default
    if not 0 < number < 64:
        raise KernelError(f"NUMBER({name}) is implausible", found=number)
    return number


def _apart(one: int, other: int) -> int:
    """Distance of two virtual addresses."""
    return min(one - other & _WORD, other - one & _WORD)


def _words(data: bytes, byte_order: str) -> array[int]:
    words = array("Q")
    words.frombytes(data)
    if byte_order != sys.byteorder:
        words.byteswap()
    return words
