"""Page tables whose levels are alike: each table is a page of 64-bit entries, each level takes as many address bits.

What an entry means differs from machine to machine; architectures of :mod:`vmsieve.filters.linux.arch` say so. Beside
the tables such a machine's kernel has a *linear map*: all physical memory in one piece, which arithmetic can follow.
The tables map it too, and so tell whether what is thought of it is right.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from vmsieve.filters.linux.arch import Translator
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.remembered import remembered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.filters.linux.memory import PhysicalMemory

__all__ = [
    "MEMORY",
    "NONSENSE",
    "NOTHING",
    "TABLE",
    "Linear",
    "RadixTables",
    "RadixTranslator",
    "find_linear",
    "levels_of",
]

#: What an entry of a page table leads to.
NOTHING, TABLE, MEMORY, NONSENSE = range(4)

_END: Final = 1 << 64


def levels_of(va_bits: int, page_shift: int) -> int:
    """Levels of tables that ``va_bits`` bits of address take; the first may be shorter than the others."""
    return -(-(va_bits - page_shift) // (page_shift - 3))


class RadixTables(ABC):
    """Walks page tables.

    Args:
        memory: Where they are.
        root: Physical address of the top table.
        page_shift: A page, and a table, has ``1 << page_shift`` bytes.
        va_bits: Bits of a virtual address that are translated; those above are ones in the kernel's addresses.
        root_bits: Bits of the address that the top table's index ends at, where that is not ``va_bits``.
    """

    def __init__(
        self, memory: PhysicalMemory, root: int, page_shift: int, va_bits: int, root_bits: int | None = None
    ) -> None:
        self._memory = memory
        self._root = root
        self.page_shift = page_shift
        self._step = page_shift - 3
        self.levels = levels_of(va_bits, page_shift)
        #: The lowest address of the kernel's part of the address space.
        self.start = _END - (1 << va_bits)
        self._root_mask = (1 << (root_bits or va_bits) - self._shift_of(self.levels - 1)) - 1
        # Walks of neighbours, such as of struct pages, differ in the last level only.
        self._block = remembered(self._walk, 256)

    @abstractmethod
    def decode(self, entry: int, level: int, index: int) -> tuple[int, int]:
        """:data:`NOTHING`, a :data:`TABLE`, :data:`MEMORY` or :data:`NONSENSE`, whatever an entry leads to; and where.

        ``level``: 0 for the entries of pages, where there are no tables; one more for each table above. Address bits
        below what an entry of its level maps are ignored. ``index``: of the entry in its table.
        """

    def translate(self, vaddr: int) -> tuple[int, int]:
        """See :meth:`Translator.translate`."""
        if not self.start <= vaddr < _END:
            raise KernelError("not an address of the kernel", offset=vaddr)
        span = self.page_shift + self._step
        size, paddr = self._block(vaddr >> span)
        if size:
            at = vaddr & (size - 1)
            return paddr + at, size - at
        index = vaddr >> self.page_shift & (1 << self._step) - 1
        _, paddr = self._entry(paddr, index, vaddr, 0)
        at = vaddr & (1 << self.page_shift) - 1
        return paddr + at, (1 << self.page_shift) - at

    def _shift_of(self, level: int) -> int:
        return self.page_shift + level * self._step

    def _walk(self, block: int) -> tuple[int, int]:
        """For what one table of pages can map, number ``block`` of its kind: bytes mapped in one piece, and where to.

        0 and the physical address of the table where there is one.
        """
        vaddr = block << self.page_shift + self._step
        table, mask = self._root, self._root_mask
        for level in range(self.levels - 1, 0, -1):
            shift = self._shift_of(level)
            kind, paddr = self._entry(table, vaddr >> shift & mask, vaddr, level)
            if kind == MEMORY:
                return 1 << shift, paddr & -(1 << shift)
            table, mask = paddr, (1 << self._step) - 1
        return 0, table

    def _entry(self, table: int, index: int, vaddr: int, level: int) -> tuple[int, int]:
        entry = self._memory.u64(table + index * 8)
        kind, paddr = self.decode(entry, level, index)
        if kind == NOTHING:
            raise KernelError("no memory behind a virtual address", offset=vaddr)
        if kind == NONSENSE:
            raise KernelError("a page table entry makes no sense", offset=vaddr, found=entry)
        return kind, paddr

    def maps(self, vaddr: int, paddr: int) -> bool:
        """Do the tables lead from ``vaddr`` to ``paddr``?"""
        try:
            return self.translate(vaddr)[0] == paddr
        except (KernelError, ReadError):
            return False


@record(frozen=True)
class Linear:
    """A linear map.

    Attributes:
        start: Its first virtual address that physical memory may have.
        end: What follows the last one.
        add: What to add to get a physical address; may be negative.
    """

    start: int
    end: int
    add: int


def find_linear(
    tables: RadixTables, places: Iterable[tuple[int, int]], origin: int, known: int, memory_end: int
) -> Linear | None:
    """The linear map: the first of ``places`` that the page tables bear out.

    Args:
        tables: They must map physical address ``known`` in the linear map.
        places: Virtual addresses where the linear map may start and where it then ends.
        origin: Physical address of what it starts with; modulo 2**64, memory may begin above.
        known: A physical address of memory.
        memory_end: Where physical memory ends.
    """
    for start, end in places:
        vaddr = (known - origin + start) % _END
        if start <= vaddr < end and tables.maps(vaddr, known):
            add = known - vaddr
            return Linear(max(start, -add), min(memory_end - add, end), add)
    return None


class RadixTranslator(Translator):
    """The linear map by arithmetic if that is known to be right, everything else by page tables."""

    def __init__(self, tables: RadixTables, linear: Linear | None, phys_base: int | None) -> None:
        super().__init__(phys_base=phys_base, page_offset=linear.start if linear else None)
        self.tables = tables
        self._from, self._to, self._add = (linear.start, linear.end, linear.add) if linear else (0, 0, 0)

    def is_kernel(self, vaddr: int) -> bool:
        """See :class:`Translator`: what the page tables reach."""
        return self.tables.start <= vaddr < _END

    def translate(self, vaddr: int) -> tuple[int, int]:
        """See :class:`Translator`."""
        if self._from <= vaddr < self._to:
            return vaddr + self._add, self._to - vaddr
        return self.tables.translate(vaddr)
