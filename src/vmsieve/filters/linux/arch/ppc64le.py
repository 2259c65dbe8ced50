"""ppc64le and big-endian ppc64: servers since POWER8 (Book3S), with the radix or the hash MMU.

The direct map begins at :data:`PAGE_OFFSET`. The MMU decides how other addresses are mapped:

* Radix (POWER9 and later): page tables map everything, including themselves, which identifies them.
* Hash: the processor's hash table maps everything. The kernel's own page tables cover vmalloc and IO memory only; the
  list ``vmemmap_list`` has the pieces of the virtual memory map, of ``mmu_psize_defs[mmu_vmemmap_psize]`` bytes each.
  Kernels with the radix MMU kept that list until v6.6 (Linux commit 368a0590d954, "powerpc/book3s64/vmemmap: switch
  radix to use a different vmemmap handling function").

Page table entries are big-endian in kernels of either byte order since v4.7 (5dc1ef858c12, "powerpc/mm: Use big endian
Linux page tables for book3s 64"). All kernel addresses begin with 0xc since v5.2 (0034d395f89d, "powerpc/mm/hash64: Map
all the kernel regions in the same 0xc range"). The vmalloc memory of earlier kernels with the hash MMU (0xd) is not
translated; it holds no struct pages.

Sources: ``arch/powerpc/include/asm/book3s/64/{pgtable,radix-4k,radix-64k,hash-4k,hash-64k}.h``. Exports:
``arch/powerpc/kexec/vmcore_info.c`` (before: ``core.c``).
"""

from __future__ import annotations

from bisect import bisect_right

from vmsieve.filters.linux.arch import Arch, tables_not_found
from vmsieve.filters.linux.tables import MEMORY, NONSENSE, NOTHING, TABLE, Linear, PageTables, TableTranslator
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.arrays import array
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.memory import PhysicalMemory, Translator
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

#: Start of the direct map, ``arch/powerpc/include/asm/page.h``.
PAGE_OFFSET: Final = 0xC << 60

_PRESENT: Final = 1 << 63
_LEAF: Final = 1 << 62  # _PAGE_PTE: memory, not a table
#: Address bits of an entry for memory (_PAGE_PA_MAX 53), and for a table.
_PAGE_ADDRESS: Final = (1 << 53) - 1
_TABLE_ADDRESS: Final = ((1 << 60) - 1) & ~0xFF
#: Radix MMU: number of index bits of the next table.
_INDEX_SIZE: Final = 0x1F

#: Index bits of the tables by page size, the last one first.
_RADIX: Final = {4096: (9, 9, 9, 13), 65536: (5, 9, 9, 13)}
_HASH: Final = {4096: (9, 7, 9, 9), 65536: (8, 10, 10, 8)}

#: Most pieces of the memory map (64 KiB each, for 64 TiB), and most page sizes of the MMU.
_MOST_PIECES: Final = 1 << 20
_MOST_SIZES: Final = 64
#: log2 of the size of a piece: 4 KiB to 16 GiB.
_SHIFTS: Final = range(12, 35)


class PpcTables(PageTables):
    """Page tables of the radix MMU, or those that the kernel keeps beside the hash MMU."""

    def __init__(self, memory: PhysicalMemory, root: int, page_size: int, *, radix: bool) -> None:
        bits = (_RADIX if radix else _HASH)[page_size]
        super().__init__(memory, root, page_size.bit_length() - 1, bits)
        self._radix = radix
        self.entry_order = ">"
        self.start, self.end = PAGE_OFFSET, PAGE_OFFSET + (1 << self.page_shift + sum(bits))

    def load(self, table: int, level: int, index: int) -> int:  # noqa: ARG002
        return int.from_bytes(self._memory.read(table + index * 8, 8), "big")

    def decode(self, entry: int, level: int, index: int) -> tuple[int, int]:  # noqa: ARG002
        if not entry:
            return NOTHING, 0
        top = level == self.levels - 1
        if level == 0 or (entry & _LEAF and not top):
            return MEMORY if entry & _PRESENT else NOTHING, entry & _PAGE_ADDRESS
        if entry & _LEAF or (self._radix and entry & (_PRESENT | _INDEX_SIZE) != _PRESENT | self._bits[level - 1]):
            return NONSENSE, 0
        return TABLE, entry & _TABLE_ADDRESS


class Backing:
    """The pieces of the virtual memory map, from ``vmemmap_list`` of a kernel with the hash MMU.

    Attributes:
        size: Bytes per piece.
        count: Number of pieces.
        notes: Remarks on damage.
    """

    def __init__(self, memory: PhysicalMemory, info: VmcoreInfo) -> None:
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
        """As :meth:`Translator.translate`; None if no piece contains the address."""
        i = bisect_right(self._starts, vaddr) - 1
        at = vaddr - self._starts[i] if i >= 0 else 0
        return (self._places[i] + at, self._sizes[i] - at) if i >= 0 and at < self._sizes[i] else None

    def _read(self, memory: PhysicalMemory, info: VmcoreInfo, found: dict[int, int]) -> None:
        """Follow the list, which is newest first."""
        size = info.need("SIZE", "vmemmap_backing")
        following, phys, virtual = (info.need("OFFSET", f"vmemmap_backing.{n}") for n in ("list", "phys", "virt_addr"))
        if not 24 <= size <= 4096 or max(following, phys, virtual) > size - 8:
            raise KernelError("SIZE or OFFSET of vmemmap_backing is implausible", found=size)
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


class PpcTranslator(TableTranslator):
    """The direct map by arithmetic, the virtual memory map by its list if there is one, the rest by page tables."""

    def __init__(self, tables: PpcTables, backing: Backing | None, memory_end: int) -> None:
        super().__init__(tables, Linear(PAGE_OFFSET, PAGE_OFFSET + memory_end, -PAGE_OFFSET))
        self._backing = backing

    def translate(self, vaddr: int) -> tuple[int, int]:
        found = self._backing.translate(vaddr) if self._backing is not None and vaddr >= self._to else None
        return found or super().translate(vaddr)


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
        raise KernelError("the size of a piece of the memory map is implausible", found=shift)
    return shift


def _max_physmem_bits(info: VmcoreInfo) -> int:
    """arch/powerpc/include/asm/{sparsemem.h,book3s/64/mmu.h} through the years; exported since v5.9."""
    if info.version >= (4, 20, 0) or info.version == (0, 0, 0):
        return 51 if info.page_size == 65536 else 46
    if info.version >= (4, 19, 0):
        return 47
    return 46 if info.version >= (3, 7, 0) else 44


def _open(memory: PhysicalMemory, info: VmcoreInfo) -> Translator:
    """Determine the MMU: the radix MMU's page tables map themselves to where they are."""
    page_size = info.page_size or memory.source.page_size
    if page_size not in _RADIX:
        raise KernelError("no kernel of this machine has pages of this size", expected="4096, 65536", found=page_size)
    root = info.need("SYMBOL", "swapper_pg_dir")
    place, told = _linear(root), info.number("RADIX_MMU")
    notes = [f"page tables at physical address {place:#x}, from SYMBOL(swapper_pg_dir)"]
    tables, backing = PpcTables(memory, place, page_size, radix=True), None
    radix = tables.maps(root, place)
    if radix:
        notes.append("radix MMU: the page tables map themselves")
    elif told == 1 or not info.symbol("vmemmap_list"):
        raise tables_not_found(root, "VMCOREINFO says")
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
    section_size_bits=lambda _: 24,
    max_physmem_bits=_max_physmem_bits,
    open=_open,
)
