"""loongarch64: all physical memory through windows of the address space, and page tables of 2 to 4 levels for the rest.

Windows: LoongArch Reference Manual, volume 1, 5.2.1 "Direct Mapped Address Translation Mode";
``arch/loongarch/include/asm/addrspace.h``. Tables: ``arch/loongarch/include/asm/{pgtable,pgtable-bits}.h``. The kernel
image lies in a window; tables have vmalloc memory and the virtual memory map.

Nothing tells how many levels there are. The tables themselves do: entries above the last level are addresses in a
window, and where nothing is mapped they lead to tables of nothing, as many as there are levels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.filters.linux.arch import Arch
from vmsieve.filters.linux.tables import MEMORY, NONSENSE, NOTHING, TABLE, RadixTables, RadixTranslator
from vmsieve.formats.errors import KernelError

if TYPE_CHECKING:
    from vmsieve.filters.linux.arch import Translator
    from vmsieve.filters.linux.memory import PhysicalMemory
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

__all__ = ["ARCH", "LoongTables"]

#: XKPRANGE: windows, the highest bits say which; and XKVRANGE, which page tables map.
_WINDOWS: Final = 0x8000000000000000
_MAPPED: Final = 0xC000000000000000
_CACHED: Final = 0x9000000000000000
#: Bits of a physical address (DMW_PABITS).
_PHYSICAL: Final = (1 << 48) - 1
_PRESENT: Final = 1 << 7
_HUGE: Final = 1 << 6  # above the last level; there it means "global"
_LARGE: Final = _HUGE | _PRESENT
_PAGE_SHIFTS: Final = (12, 14, 16)
_MOST_LEVELS: Final = 4
#: Tables below the top one that are tried to learn the number of levels.
_TRIED: Final = 16


class LoongTables(RadixTables):
    """Page tables. Args as :class:`RadixTables`; ``levels`` of them."""

    def __init__(self, memory: PhysicalMemory, root: int, page_shift: int, levels: int) -> None:
        super().__init__(memory, root, page_shift, page_shift + levels * (page_shift - 3))
        # Processors with more bits of address than the tables take have the higher ones ignored.
        self.start = _MAPPED

    def decode(self, entry: int, level: int, index: int) -> tuple[int, int]:  # noqa: ARG002
        """See :class:`RadixTables`."""
        paddr = entry & _PHYSICAL & -(1 << self.page_shift)
        if not level or entry & _HUGE:
            return MEMORY if entry & _PRESENT else NOTHING, paddr
        if not entry:
            return NOTHING, 0
        return TABLE if _is_table(entry, self.page_shift) else NONSENSE, paddr


def _is_table(entry: int, page_shift: int) -> bool:
    return _WINDOWS <= entry < _MAPPED and not entry & (1 << page_shift) - 1


def _depth(memory: PhysicalMemory, root: int, page_shift: int) -> int:
    """Levels of the tables that begin at physical address ``root``.

    Raises:
        KernelError: They are no page tables of this machine.
        ReadError: They are not in the dump.
    """
    size = 1 << page_shift
    data = memory.read(root, size)
    entries = {memory.number(data[at : at + 8]) for at in range(0, size, 8)}
    deepest = 1
    for entry in sorted(entry for entry in entries if _is_table(entry, page_shift))[:_TRIED]:
        levels, below = 1, entry
        while _is_table(below, page_shift) and levels <= _MOST_LEVELS:
            levels += 1
            below = memory.u64(below & _PHYSICAL)
        deepest = max(deepest, levels)
    odd = [entry for entry in entries if entry and not _is_table(entry, page_shift) and entry & _LARGE != _LARGE]
    if odd or not 2 <= deepest <= _MOST_LEVELS:
        raise KernelError("SYMBOL(swapper_pg_dir) leads to no page tables", offset=root)
    return deepest


class LoongTranslator(RadixTranslator):
    """Windows by arithmetic, everything else by page tables."""

    def is_kernel(self, vaddr: int) -> bool:
        """See :class:`Translator`: windows too."""
        return _WINDOWS <= vaddr < 1 << 64

    def translate(self, vaddr: int) -> tuple[int, int]:
        """See :class:`Translator`."""
        if _WINDOWS <= vaddr < _MAPPED:
            paddr = vaddr & _PHYSICAL
            return paddr, _PHYSICAL + 1 - paddr
        return super().translate(vaddr)


def _open(memory: PhysicalMemory, info: VmcoreInfo) -> Translator:
    """Find the page tables."""
    size = info.page_size or memory.source.page_size or 1 << 14
    shift = size.bit_length() - 1
    if shift not in _PAGE_SHIFTS:
        raise KernelError("not a page size of this machine", expected="4, 16 or 64 KiB", found=size)
    symbol = info.need("SYMBOL", "swapper_pg_dir")
    if not _is_table(symbol, shift):
        raise KernelError("SYMBOL(swapper_pg_dir) is not in a window of physical memory", found=symbol)
    root = symbol & _PHYSICAL
    levels = _depth(memory, root, shift)
    translator = LoongTranslator(LoongTables(memory, root, shift, levels), None, None)
    translator.page_offset = _CACHED
    translator.notes = [
        f"page tables of {levels} levels (as found) for pages of {size >> 10} KiB at physical address {root:#x},"
        f" from SYMBOL(swapper_pg_dir)",
        f"windows of physical memory from {_WINDOWS:#x} on",
    ]
    return translator


def _section_size_bits(_: VmcoreInfo) -> int:
    return 29


def _max_physmem_bits(_: VmcoreInfo) -> int:
    return 48


ARCH: Final = Arch(
    name="loongarch64",
    aliases=("loongarch", "loong64"),
    section_size_bits=_section_size_bits,
    max_physmem_bits=_max_physmem_bits,
    open=_open,
)
