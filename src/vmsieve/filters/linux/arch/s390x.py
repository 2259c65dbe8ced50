"""s390x: linear maps, and page tables of three to five levels for the rest.

Tables: z/Architecture Principles of Operation, "Dynamic Address Translation"; ``arch/s390/include/asm/pgtable.h``.
Linear maps: :mod:`vmsieve.formats.s390_mappings`. Struct pages are in virtual memory that page tables map.
"""

from __future__ import annotations

from vmsieve.filters.linux.arch import Arch, tables_not_found
from vmsieve.filters.linux.memory import Translator
from vmsieve.filters.linux.tables import MEMORY, NONSENSE, NOTHING, TABLE, PageTables
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.layouts import lowcore
from vmsieve.formats.s390_mappings import in_linear, linear_maps
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.memory import Leaf, PhysicalMemory
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


class S390Tables(PageTables):
    """Page tables of pages, segments, and up to three levels of regions. The top table's entries have its kind."""

    def __init__(self, memory: PhysicalMemory, root: int) -> None:
        bits = (8, 11, 11, 11, 11)[: 2 + (memory.u64(root) >> _TYPE_SHIFT & 3)]
        super().__init__(memory, root, 12, bits)
        self.end = 1 << 12 + sum(bits)

    def load(self, table: int, level: int, index: int) -> int:
        if level == self.levels - 1:
            return super().load(table, level, index)
        if level == 0:
            return super().load(table & _PAGE_TABLE, level, index)
        first, last = table >> _OFFSET_SHIFT & 3, table & _LENGTH
        return super().load(table & _TABLE, level, index) if first <= index >> 9 <= last else _INVALID

    def extent(self, table: int, level: int) -> tuple[int, int, int]:
        if level == self.levels - 1:
            return super().extent(table, level)
        if level == 0:
            return table & _PAGE_TABLE, 0, 1 << 8
        first, last = table >> _OFFSET_SHIFT & 3, table & _LENGTH
        return (table & _TABLE) + (first << 12), first << 9, max(last - first + 1, 0) << 9

    def decode(self, entry: int, level: int, index: int) -> tuple[int, int]:  # noqa: ARG002
        if entry & (_INVALID if level else _NO_PAGE):
            return NOTHING, 0
        if level == 0:
            return MEMORY, entry
        if entry >> _TYPE_SHIFT & 3 != level - 1:
            return NONSENSE, 0
        # The low bits of the entry say which quarters of the table exist: see load().
        return MEMORY if entry & _LARGE and level <= 2 else TABLE, entry


class S390Translator(Translator):
    """Linear maps by arithmetic, everything else by page tables."""

    def __init__(self, tables: S390Tables, linear: tuple[VirtualRange, ...]) -> None:
        super().__init__()
        self._tables = tables
        self._linear = linear

    def is_kernel(self, vaddr: int) -> bool:
        # The kernel has an address space of its own.
        return lowcore.SIZE <= vaddr < self._tables.end

    def translate(self, vaddr: int) -> tuple[int, int]:
        return in_linear(self._linear, vaddr) or self._tables.translate(vaddr)

    def table_pages(self) -> Iterator[tuple[int, int]]:
        return self._tables.table_pages()

    def leaves(self, start: int, end: int) -> Iterator[Leaf]:
        return self._tables.leaves(start, end)

    def linear(self) -> list[tuple[int, int]]:
        # The others have the kernel image and lowcores, and may have no known end.
        identity = self._linear[-1]
        return [(identity.vaddr, identity.vaddr + identity.size)]


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
        except (KernelError, ReadError):
            continue
        if place is None or tables is None or not tables.maps(root, place[0]):
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
