"""ppc64le, and ppc64 of the other byte order: servers from POWER8 on (Book3S), with the radix or the hash MMU.

All memory is mapped by arithmetic from :data:`PAGE_OFFSET` on. Where the rest is, the MMU decides:

* Radix (POWER9 and later): page tables map everything, themselves included, by which they are recognised.
* Hash: the processor's hash table maps everything. The kernel's own page tables have vmalloc and IO memory only; the
  list ``vmemmap_list`` has the pieces of the virtual memory map, of ``mmu_psize_defs[mmu_vmemmap_psize]`` each.
  Kernels with the radix MMU kept that list too until v6.6 (Linux commit 368a0590d954, "powerpc/book3s64/vmemmap:
  switch radix to use a different vmemmap handling function").

Entries of page tables are big-endian in kernels of either byte order since v4.7 (5dc1ef858c12, "powerpc/mm: Use big
endian Linux page tables for book3s 64"). All of this lies at addresses that begin with 0xc since v5.2 (0034d395f89d,
"powerpc/mm/hash64: Map all the kernel regions in the same 0xc range"); of earlier kernels the hash MMU's vmalloc memory
(0xd) is not translated, which no struct page lies in.

Sources: ``arch/powerpc/include/asm/book3s/64/{pgtable,radix-4k,radix-64k,hash-4k,hash-64k}.h``; what the kernel
exports: ``arch/powerpc/kexec/vmcore_info.c`` (earlier ``core.c``).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from vmsieve.filters.linux.arch import Arch, Translator
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.cache import cached

if TYPE_CHECKING:
    from vmsieve.filters.linux.memory import PhysicalMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

#: Where the direct map of physical memory begins, ``arch/powerpc/include/asm/page.h``.
PAGE_OFFSET: Final = 0xC << 60

_PRESENT: Final = 1 << 63
_LEAF: Final = 1 << 62  # _PAGE_PTE: memory, not a table
#: Bits of an entry that are the address of memory (_PAGE_PA_MAX 53), and of a table.
_PAGE_ADDRESS: Final = (1 << 53) - 1
_TABLE_ADDRESS: Final = ((1 << 60) - 1) & ~0xFF
#: Of the radix MMU's entries: how many bits index the table that the entry leads to.
_INDEX_SIZE: Final = 0x1F

#: Index bits of the tables by page size, the last one first.
_RADIX: Final = {4096: (9, 9, 9, 13), 65536: (5, 9, 9, 13)}
_HASH: Final = {4096: (9, 7, 9, 9), 65536: (8, 10, 10, 8)}

#: What no kernel exceeds: pieces of the memory map (64 KiB each, of 64 TiB), sizes of pages that the MMU knows of.
_MOST_PIECES: Final = 1 << 20
_MOST_SIZES: Final = 64
#: Believable pieces of the memory map: 4 KiB to 16 GiB.
_SHIFTS: Final = range(12, 35)


class PpcTables:
    """Walks page tables.

    Args:
        memory: Where they are.
        root: Physical address of the top table.
        page_size: Bytes.
        radix: They are the radix MMU's; else the kernel's own beside the hash MMU.
    """

    def __init__(self, memory: PhysicalMemory, root: int, page_size: int, *, radix: bool) -> None:
        self._memory = memory
        self._root = root
        self._radix = radix
        bits = (_RADIX if radix else _HASH)[page_size]
        shift = page_size.bit_length() - 1
        # Of each table, the top one first: what an entry covers, and index bits.
        self._levels = [(shift + sum(bits[:i]), bits[i]) for i in range(len(bits))][::-1]
        self._end = 1 << sum(self._levels[0])
        self._page = page_size
        self._block_shift = self._levels[-2][0]
        # Walks of neighbours, such as of struct pages, differ in the last level only.
        self._block = cached(self._walk, 256)

    def translate(self, vaddr: int) -> tuple[int, int]:
        """See :meth:`Translator.translate`."""
        if vaddr >> 60 != PAGE_OFFSET >> 60 or vaddr - PAGE_OFFSET >= self._end:
            raise KernelError("not an address of the kernel", offset=vaddr)
        size, paddr = self._block(vaddr >> self._block_shift)
        if not size:
            shift, bits = self._levels[-1]
            entry = self._entry(paddr, vaddr, shift, bits)
            size, paddr = self._page, self._leaf(entry, vaddr, self._page)
        at = vaddr & (size - 1)
        return paddr + at, size - at

    def _walk(self, block: int) -> tuple[int, int]:
        """For block ``block`` of virtual memory, of what a last table maps: size and place of the page it is part of.

        Of a block that is mapped by the pages of a last table: 0, and where the table is.
        """
        vaddr, table = block << self._block_shift, self._root
        for level, (shift, bits) in enumerate(self._levels[:-1]):
            entry = self._entry(table, vaddr, shift, bits)
            if entry & _LEAF and level:
                return 1 << shift, self._leaf(entry, vaddr, 1 << shift)
            following = self._levels[level + 1][1]
            if entry & _LEAF or (self._radix and entry & (_PRESENT | _INDEX_SIZE) != _PRESENT | following):
                raise KernelError("a page table entry makes no sense", offset=vaddr, found=entry)
            table = entry & _TABLE_ADDRESS
        return 0, table

    def _entry(self, table: int, vaddr: int, shift: int, bits: int) -> int:
        at = table + (vaddr >> shift & (1 << bits) - 1) * 8
        entry = int.from_bytes(self._memory.read(at, 8), "big")
        if not entry:
            raise KernelError("no memory behind a virtual address", offset=vaddr)
        return entry

    def _leaf(self, entry: int, vaddr: int, size: int) -> int:
        if not entry & _PRESENT:
            raise KernelError("no memory behind a virtual address", offset=vaddr)
        return entry & _PAGE_ADDRESS & -size


class Backing:
    """The list of pieces of the virtual memory map that a kernel with the hash MMU keeps.

    Attributes:
        size: Bytes a piece.
        count: Pieces.
        notes: Sentences on what could not be read.
    """

    def __init__(self, memory: PhysicalMemory, info: VmcoreInfo) -> None:
        """Read ``vmemmap_list``.

        Raises:
            KernelError: VMCOREINFO does not tell enough, or the size of a piece is not believable.
            ReadError: What the list starts from is not in the dump.
        """
        self.notes: list[str] = []
        self.size = 1 << _piece_shift(memory, info)
        found: dict[int, int] = {}
        try:
            self._read(memory, info, found)
        except (KernelError, ReadError) as error:
            self.notes.append(f"vmemmap_list is damaged after {len(found)} pieces ({error})")
        self.count = len(found)
        # Pieces adjacent in virtual and in physical memory are merged: few remain.
        self._starts, self._places, self._sizes = array("Q"), array("Q"), array("Q")
        for start in sorted(found):
            self._add(start, found[start])

    def _add(self, start: int, place: int) -> None:
        if self._starts:
            size = self._sizes[-1]
            if (start, place) == (self._starts[-1] + size, self._places[-1] + size):
                self._sizes[-1] += self.size
                return
        self._starts.append(start)
        self._places.append(place)
        self._sizes.append(self.size)

    def translate(self, vaddr: int) -> tuple[int, int] | None:
        """As :meth:`Translator.translate`; None where no piece is."""
        i = bisect_right(self._starts, vaddr) - 1
        at = vaddr - self._starts[i] if i >= 0 else 0
        return (self._places[i] + at, self._sizes[i] - at) if i >= 0 and at < self._sizes[i] else None

    def _read(self, memory: PhysicalMemory, info: VmcoreInfo, found: dict[int, int]) -> None:
        """Follow the list; it is newest first."""
        size = info.need("SIZE", "vmemmap_backing")
        following, phys, virtual = (info.need("OFFSET", f"vmemmap_backing.{n}") for n in ("list", "phys", "virt_addr"))
        if not 24 <= size <= 4096 or max(following, phys, virtual) > size - 8:
            raise KernelError("SIZE or OFFSET of vmemmap_backing is not believable", found=size)
        at = _word(memory, info.need("SYMBOL", "vmemmap_list"), 8)
        for _ in range(_MOST_PIECES):
            if not at:
                return
            raw = memory.read(_linear(at), size)
            start, place, at = (memory.number(raw[offset : offset + 8]) for offset in (virtual, phys, following))
            if start < PAGE_OFFSET or (start | place) % self.size or place > _PAGE_ADDRESS:
                raise KernelError("a piece of the memory map can't be there", offset=start, found=place)
            found.setdefault(start, place)
        raise KernelError("the list is too long", expected=_MOST_PIECES)


class PpcTranslator(Translator):
    """The direct map by arithmetic, the memory map by its list if it has one, everything else by page tables."""

    def __init__(self, tables: PpcTables, backing: Backing | None, memory_end: int) -> None:
        super().__init__(page_offset=PAGE_OFFSET)
        self._tables = tables
        self._backing = backing
        self._linear_end = PAGE_OFFSET + memory_end

    def is_kernel(self, vaddr: int) -> bool:
        return PAGE_OFFSET <= vaddr < 1 << 64

    def translate(self, vaddr: int) -> tuple[int, int]:
        if PAGE_OFFSET <= vaddr < self._linear_end:
            return vaddr - PAGE_OFFSET, self._linear_end - vaddr
        found = self._backing.translate(vaddr) if self._backing is not None else None
        return found or self._tables.translate(vaddr)


def _linear(vaddr: int) -> int:
    """Physical address of an address in the direct map."""
    if vaddr >> 60 != PAGE_OFFSET >> 60:
        raise KernelError("not an address in the direct map", offset=vaddr)
    return vaddr - PAGE_OFFSET


def _word(memory: PhysicalMemory, vaddr: int, size: int) -> int:
    return memory.number(memory.read(_linear(vaddr), size))


def _piece_shift(memory: PhysicalMemory, info: VmcoreInfo) -> int:
    which = _word(memory, info.need("SYMBOL", "mmu_vmemmap_psize"), 4)
    size, offset = info.need("SIZE", "mmu_psize_def"), info.need("OFFSET", "mmu_psize_def.shift")
    if which >= _MOST_SIZES or not 4 <= size <= 4096 or offset > size - 4:
        raise KernelError("the size of a piece of the memory map is not known", found=f"{which} of {size} bytes")
    shift = _word(memory, info.need("SYMBOL", "mmu_psize_defs") + which * size + offset, 4)
    if shift not in _SHIFTS:
        raise KernelError("the size of a piece of the memory map is not believable", found=shift)
    return shift


def _section_size_bits(_: VmcoreInfo) -> int:
    return 24


def _max_physmem_bits(info: VmcoreInfo) -> int:
    """arch/powerpc/include/asm/{sparsemem.h,book3s/64/mmu.h} through the years; exported since v5.9."""
    if info.version >= (4, 20, 0) or info.version == (0, 0, 0):
        return 51 if info.page_size == 65536 else 46
    if info.version >= (4, 19, 0):
        return 47
    return 46 if info.version >= (3, 7, 0) else 44


def _maps_itself(tables: PpcTables, root: int) -> bool:
    try:
        return tables.translate(root)[0] == root - PAGE_OFFSET
    except (KernelError, ReadError):
        return False


def _open(memory: PhysicalMemory, info: VmcoreInfo) -> Translator:
    """Determine the MMU: the radix MMU's page tables map themselves to where they are."""
    page_size = info.page_size or memory.source.page_size
    if page_size not in _RADIX:
        raise KernelError("no kernel of this machine has pages of this size", expected="4096, 65536", found=page_size)
    root = info.need("SYMBOL", "swapper_pg_dir")
    place, told = _linear(root), info.number("RADIX_MMU")
    notes = [f"page tables at physical address {place:#x}, from SYMBOL(swapper_pg_dir)"]
    tables, backing = PpcTables(memory, place, page_size, radix=True), None
    radix = _maps_itself(tables, root)
    if radix:
        notes.append("radix MMU: the page tables map themselves")
    elif told == 1 or not info.symbol("vmemmap_list"):
        raise KernelError(
            "the page tables are not where VMCOREINFO says", expected="page tables that map themselves", found=root
        )
    else:
        tables, backing = PpcTables(memory, place, page_size, radix=False), Backing(memory, info)
        pieces = f"{backing.count} pieces of {backing.size} bytes"
        notes += [f"hash MMU: the memory map is in {pieces}, from SYMBOL(vmemmap_list)", *backing.notes]
    if told is not None:
        notes.append(f"NUMBER(RADIX_MMU)={told} {'agrees' if bool(told) == radix else 'says otherwise'}")
    translator = PpcTranslator(tables, backing, memory.source.end())
    translator.notes = notes
    return translator


ARCH: Final = Arch(
    name="ppc64le",
    aliases=("ppc64", "powerpc64le", "powerpc64"),
    section_size_bits=_section_size_bits,
    max_physmem_bits=_max_physmem_bits,
    open=_open,
)
