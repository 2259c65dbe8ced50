"""Page tables of 64-bit entries, walked level by level, and linear maps.

The meaning of an entry is up to the architecture (:mod:`vmsieve.filters.linux.arch`). Most kernels also have a *linear
map*: all physical memory at one offset, which needs no walk. The page tables map it, too, and thus confirm the offset.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod

from vmsieve.filters.linux.memory import Leaf, Translator
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.slim.cache import cached
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vmsieve.filters.linux.memory import PhysicalMemory

#: Kinds of page table entries.
NOTHING, TABLE, MEMORY, NONSENSE = range(4)

_END: Final = 1 << 64
_ENTRY: Final = 8
_TABLES_MOST: Final = 1 << 17
#: Tables read by one search for leaves.
_SEARCHED_MOST: Final = 1 << 12


class PageTables(ABC):
    """Walks page tables.

    Args:
        root: Physical address of the top table.
        page_shift: log2 of the size of a page.
        bits: Bits of a virtual address that index the table of each level, the last table first.

    Attributes:
        levels: Number of levels.
        start: Lowest address translated.
        end: One above the highest address translated.
    """

    def __init__(self, memory: PhysicalMemory, root: int, page_shift: int, bits: Sequence[int]) -> None:
        self._memory = memory
        self._root = root
        self.page_shift = page_shift
        self._bits = bits
        self._shifts = [page_shift + sum(bits[:level]) for level in range(len(bits))]
        self.levels = len(bits)
        self.start, self.end = 0, _END
        #: Byte order of an entry, as of :mod:`struct`.
        self.entry_order = ">" if memory.byte_order == "big" else "<"
        # Walks of adjacent addresses, as of struct pages, differ in the last level only.
        self._block = cached(self._walk, 256)

    @abstractmethod
    def decode(self, entry: int, level: int, index: int) -> tuple[int, int]:
        """Return kind (:data:`NOTHING`, :data:`TABLE`, :data:`MEMORY`, :data:`NONSENSE`) and address of an entry.

        ``level``: 0 for entries of pages, which never lead to tables; one more for each level above. Address bits below
        the size that an entry of its level maps are ignored. ``index``: of the entry in its table.
        """

    def load(self, table: int, level: int, index: int) -> int:  # noqa: ARG002
        """Read an entry of the table at ``table``: the root, or what :meth:`decode` returned."""
        return self._memory.u64(table + index * 8)

    def translate(self, vaddr: int) -> tuple[int, int]:
        if not self.start <= vaddr < self.end:
            raise KernelError("not an address of the kernel", offset=vaddr)
        return self._look_up(vaddr)

    def _look_up(self, vaddr: int) -> tuple[int, int]:
        size, paddr = self._block(vaddr >> self._shifts[1])
        if not size:
            size, (_, paddr) = 1 << self.page_shift, self._entry(paddr, vaddr, 0)
        at = vaddr & size - 1
        return (paddr & -size) + at, size - at

    def _walk(self, block: int) -> tuple[int, int]:
        """Return size and address of the page that maps a block; or 0 and the address of the block's level-0 table."""
        vaddr, table = block << self._shifts[1], self._root
        for level in range(self.levels - 1, 0, -1):
            kind, table = self._entry(table, vaddr, level)
            if kind == MEMORY:
                return 1 << self._shifts[level], table
        return 0, table

    def _entry(self, table: int, vaddr: int, level: int) -> tuple[int, int]:
        index = vaddr >> self._shifts[level] & (1 << self._bits[level]) - 1
        entry = self.load(table, level, index)
        kind, paddr = self.decode(entry, level, index)
        if kind == NOTHING:
            raise KernelError("no memory behind a virtual address", offset=vaddr)
        if kind == NONSENSE:
            raise KernelError("a page table entry makes no sense", offset=vaddr, found=entry)
        return kind, paddr

    def table_pages(self) -> Iterator[tuple[int, int]]:
        """See :meth:`Translator.table_pages`: at most :data:`_TABLES_MOST`. Tables of pages are not read."""
        waiting = [(self._root, self.levels - 1)]
        for _ in range(_TABLES_MOST):
            if not waiting:
                return
            table, level = waiting.pop()
            start, first, count = self.extent(table, level)
            yield start, start + count * _ENTRY
            if level == 0:
                continue
            try:
                entries = struct.unpack(f"{self.entry_order}{count}Q", self._memory.read(start, count * _ENTRY))
            except (KernelError, ReadError):
                continue
            # Users' half of a top table, if it has one, is not the kernel's.
            top = level == self.levels - 1
            least = self.start >> self._shifts[level] & (1 << self._bits[level]) - 1 if top else 0
            for index, entry in enumerate(entries, first):
                if entry and index >= least:
                    kind, below = self.decode(entry, level, index)
                    if kind == TABLE:
                        waiting.append((below, level - 1))

    def leaves(self, start: int, end: int) -> Iterator[Leaf]:
        """See :meth:`Translator.leaves`: those of at most :data:`_SEARCHED_MOST` tables."""
        top = self.levels - 1
        # Address bits above those that index the top table are the same in all of the kernel's addresses.
        base = self.start & -(1 << self._shifts[top] + self._bits[top])
        waiting: list[tuple[int, int, int] | Leaf] = [(self._root, top, base)]
        left = _SEARCHED_MOST
        while waiting and left:
            one = waiting.pop()
            if isinstance(one, Leaf):
                yield one
                continue
            left -= 1
            with suppress(KernelError, ReadError):
                waiting += reversed(self._table_entries(*one, start, end))

    def _table_entries(
        self, table: int, level: int, vaddr: int, start: int, end: int
    ) -> list[tuple[int, int, int] | Leaf]:
        """What the table for addresses from ``vaddr`` on has for ``start .. end``: pages, and tables likewise."""
        size = 1 << self._shifts[level]
        place, first, count = self.extent(table, level)
        low, high = max((start - vaddr) // size, first), min(-((vaddr - end) // size), first + count)
        found: list[tuple[int, int, int] | Leaf] = []
        if low >= high:
            return found
        data = self._memory.read(place + (low - first) * _ENTRY, (high - low) * _ENTRY)
        for index, entry in enumerate(struct.unpack(f"{self.entry_order}{high - low}Q", data), low):
            if entry:
                kind, paddr = self.decode(entry, level, index)
                if kind == MEMORY:
                    found.append(Leaf(vaddr + index * size, paddr & -size, size))
                elif kind == TABLE:
                    found.append((paddr, level - 1, vaddr + index * size))
        return found

    def extent(self, table: int, level: int) -> tuple[int, int, int]:
        """Return the physical address of a table, the index of its first entry, and the number of its entries."""
        return table, 0, 1 << self._bits[level]

    def maps(self, vaddr: int, paddr: int) -> bool:
        """True if the tables translate ``vaddr`` to ``paddr``."""
        try:
            return self.translate(vaddr)[0] == paddr
        except (KernelError, ReadError):
            return False


def levels_of(va_bits: int, page_shift: int) -> int:
    """Number of levels of :class:`RadixTables` for ``va_bits`` bits of address."""
    return -(-(va_bits - page_shift) // (page_shift - 3))


class RadixTables(PageTables):
    """Page tables of one page each; the top table may be shorter.

    ``va_bits``: translated bits of a virtual address; those above are ones in the kernel's addresses. ``root_bits``:
    upper end of the top table's index, if not ``va_bits``.
    """

    def __init__(
        self, memory: PhysicalMemory, root: int, page_shift: int, va_bits: int, root_bits: int | None = None
    ) -> None:
        step, above = page_shift - 3, levels_of(va_bits, page_shift) - 1
        bits = [step] * above + [(root_bits or va_bits) - page_shift - step * above]
        super().__init__(memory, root, page_shift, bits)
        self.start = _END - (1 << va_bits)


@record(frozen=True)
class Linear:
    """A linear map of the virtual addresses ``start <= vaddr < end``. ``add``: physical minus virtual address."""

    start: int
    end: int
    add: int


def find_linear(
    tables: PageTables, places: Iterable[tuple[int, int]], origin: int, known: int, memory_end: int
) -> Linear | None:
    """Return the first of ``places`` (start, end) that the page tables confirm as the linear map.

    They have to map physical address ``known`` in it. ``origin``: physical address at its start, modulo 2**64; memory
    may begin above.
    """
    for start, end in places:
        vaddr = (known - origin + start) % _END
        if start <= vaddr < end and tables.maps(vaddr, known):
            add = known - vaddr
            return Linear(max(start, -add), min(memory_end - add, end), add)
    return None


class TableTranslator(Translator):
    """Translates the linear map, if confirmed, by arithmetic, all other addresses by page tables."""

    def __init__(self, tables: PageTables, linear: Linear | None, phys_base: int | None = None) -> None:
        super().__init__(phys_base)
        self.tables = tables
        self._from, self._to, self._add = (linear.start, linear.end, linear.add) if linear else (0, 0, 0)

    def is_kernel(self, vaddr: int) -> bool:
        return self.tables.start <= vaddr < _END

    def translate(self, vaddr: int) -> tuple[int, int]:
        if self._from <= vaddr < self._to:
            return vaddr + self._add, self._to - vaddr
        return self.tables.translate(vaddr)

    def table_pages(self) -> Iterator[tuple[int, int]]:
        return self.tables.table_pages()

    def leaves(self, start: int, end: int) -> Iterator[Leaf]:
        return self.tables.leaves(start, end)

    def linear(self) -> list[tuple[int, int]]:
        return [(self._from, self._to)] if self._from < self._to else []
