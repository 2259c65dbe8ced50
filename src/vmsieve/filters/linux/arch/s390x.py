"""s390x: linear maps, and page tables of three to five levels for the rest.

Tables: z/Architecture Principles of Operation, "Dynamic Address Translation"; ``arch/s390/include/asm/pgtable.h``.
Linear maps: :mod:`vmsieve.formats.s390_mappings`. Struct pages are in virtual memory that page tables map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.filters.linux.arch import Arch, Translator, tables_not_found
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.layouts import lowcore
from vmsieve.formats.s390_mappings import in_linear, linear_maps
from vmsieve.formats.slim.cache import cached

if TYPE_CHECKING:
    from vmsieve.filters.linux.memory import PhysicalMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
    from vmsieve.formats.inputs import VirtualRange

# Entries of region and segment tables.
_INVALID: Final = 0x20
_LARGE: Final = 0x400  # of a region-third table: 2 GiB, of a segment table: 1 MiB
_TYPE_SHIFT: Final = 2  # what kind of table the entry is in: 3 region-first ... 1 region-third, 0 segment
_OFFSET_SHIFT: Final = 6  # the first quarter of the table that the entry leads to which exists,
_LENGTH: Final = 3  # and the last
_TABLE: Final = ~0xFFF
_PAGE_TABLE: Final = ~0x7FF
# Entries of page tables: invalid, and a bit that is always 0.
_NO_PAGE: Final = 0xC00


class S390Tables:
    """Walks page tables.

    Args:
        memory: Where they are.
        root: Physical address of the top table, whose entries have its kind.

    Raises:
        ReadError: The top table is not in the dump.
    """

    def __init__(self, memory: PhysicalMemory, root: int) -> None:
        self._memory = memory
        self._root = root
        self._top = memory.u64(root) >> _TYPE_SHIFT & 3
        #: Levels of tables.
        self.levels = self._top + 2
        #: One above the highest address that is translated.
        self.end = 1 << min(31 + 11 * self._top, 64)
        # Walks of neighbours, such as of struct pages, differ in the last level only.
        self._segment = cached(self._walk, 256)

    def translate(self, vaddr: int) -> tuple[int, int]:
        """See :meth:`Translator.translate`."""
        if not 0 <= vaddr < self.end:
            raise KernelError("not an address of the kernel", offset=vaddr)
        size, paddr = self._segment(vaddr >> 20)
        if size:
            at = vaddr & (size - 1)
            return paddr + at, size - at
        entry = self._memory.u64(paddr + (vaddr >> 12 & 0xFF) * 8)
        if entry & _NO_PAGE:
            raise KernelError("no memory behind a virtual address", offset=vaddr)
        at = vaddr & 0xFFF
        return (entry & _TABLE) + at, 0x1000 - at

    def _walk(self, block: int) -> tuple[int, int]:
        """Return size and physical address of the page that maps a 1 MiB block, or 0 and that of its page table."""
        vaddr, table, first, last = block << 20, self._root, 0, 3
        for level in range(self._top, -1, -1):
            shift = 20 + 11 * level
            index = vaddr >> shift & 0x7FF
            if not first <= index >> 9 <= last:
                raise KernelError("no memory behind a virtual address", offset=vaddr)
            entry = self._memory.u64(table + index * 8)
            if entry & _INVALID:
                raise KernelError("no memory behind a virtual address", offset=vaddr)
            large = entry & _LARGE and level <= 1
            if entry >> _TYPE_SHIFT & 3 != level:
                raise KernelError("a page table entry makes no sense", offset=vaddr, found=entry)
            if large:
                return 1 << shift, entry & -(1 << shift)
            table, first, last = entry & _TABLE, entry >> _OFFSET_SHIFT & 3, entry & _LENGTH
        return 0, entry & _PAGE_TABLE


class S390Translator(Translator):
    """Linear maps by arithmetic, everything else by page tables."""

    def __init__(self, tables: S390Tables, linear: tuple[VirtualRange, ...]) -> None:
        super().__init__(page_offset=linear[-1].vaddr)
        self._tables = tables
        self._linear = linear

    def is_kernel(self, vaddr: int) -> bool:
        """See :class:`Translator`. The kernel has an address space of its own."""
        return lowcore.SIZE <= vaddr < self._tables.end

    def translate(self, vaddr: int) -> tuple[int, int]:
        return in_linear(self._linear, vaddr) or self._tables.translate(vaddr)


def _max_physmem_bits(info: VmcoreInfo) -> int:
    """arch/s390/include/asm/sparsemem.h: 46 since v3.3. Kernels that have it configurable export it."""
    return 42 if (0, 0, 0) < info.version < (3, 3) else 46


def _open(memory: PhysicalMemory, info: VmcoreInfo) -> Translator:
    """Find the page tables: right ones map themselves to where they are."""
    root = info.need("SYMBOL", "swapper_pg_dir")
    for origin, linear in linear_maps(memory.source, info.text):
        place = in_linear(linear, root)
        try:
            tables = S390Tables(memory, place[0]) if place else None
            if place is None or tables is None or tables.translate(root)[0] != place[0]:
                continue
        except (KernelError, ReadError):
            continue
        translator = S390Translator(tables, linear)
        translator.notes = [
            f"page tables of {tables.levels} levels at physical address {place[0]:#x}, from SYMBOL(swapper_pg_dir)",
            f"the kernel's own memory by {origin}",
        ]
        return translator
    raise tables_not_found(root, "VMCOREINFO and os_info say")


ARCH: Final = Arch(
    name="s390x",
    aliases=("s390",),
    section_size_bits=lambda _: 28,
    max_physmem_bits=_max_physmem_bits,
    open=_open,
)
