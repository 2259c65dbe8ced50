"""loongarch64: direct-mapped windows for all physical memory, and page tables of 2 to 4 levels.

Windows: LoongArch Reference Manual, volume 1, 5.2.1 "Direct Mapped Address Translation Mode";
``arch/loongarch/include/asm/addrspace.h``. Tables: ``arch/loongarch/include/asm/{pgtable,pgtable-bits}.h``. The kernel
image is in a window; page tables map vmalloc memory and the virtual memory map.

The kernel does not export the number of levels, so it is counted: table entries are addresses in a window, and entries
without memory lead to a chain of empty tables of the same depth.
"""

from __future__ import annotations

from vmsieve.filters.linux.arch import Arch, page_shift
from vmsieve.filters.linux.tables import MEMORY, NONSENSE, NOTHING, TABLE, RadixTables, TableTranslator
from vmsieve.formats.errors import KernelError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.memory import PhysicalMemory, Translator
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

#: XKPRANGE: windows, selected by the highest bits; XKVRANGE: mapped by page tables.
_WINDOWS: Final = 0x8000000000000000
_MAPPED: Final = 0xC000000000000000
#: Bits of a physical address (DMW_PABITS).
_PHYSICAL: Final = (1 << 48) - 1
_PRESENT: Final = 1 << 7
_HUGE: Final = 1 << 6  # at level 0 this bit means "global"
_LARGE: Final = _HUGE | _PRESENT
_MOST_LEVELS: Final = 4
#: Entries of the top table to follow when levels are counted.
_TRIED: Final = 16


class LoongTables(RadixTables):
    """Page tables."""

    def __init__(self, memory: PhysicalMemory, root: int, page_shift: int, levels: int) -> None:
        super().__init__(memory, root, page_shift, page_shift + levels * (page_shift - 3))
        # Address bits above those that the tables translate are ignored.
        self.start = _MAPPED

    def decode(self, entry: int, level: int, index: int) -> tuple[int, int]:  # noqa: ARG002
        paddr = entry & _PHYSICAL & -(1 << self.page_shift)
        if not level or entry & _HUGE:
            return MEMORY if entry & _PRESENT else NOTHING, paddr
        if not entry:
            return NOTHING, 0
        return TABLE if _is_table(entry, self.page_shift) else NONSENSE, paddr


def _is_table(entry: int, page_shift: int) -> bool:
    return _WINDOWS <= entry < _MAPPED and not entry & (1 << page_shift) - 1


def _depth(memory: PhysicalMemory, root: int, page_shift: int) -> int:
    """Number of levels of the page tables at physical address ``root``."""
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


class LoongTranslator(TableTranslator):
    """Windows by arithmetic, everything else by page tables."""

    def is_kernel(self, vaddr: int) -> bool:
        return _WINDOWS <= vaddr < 1 << 64

    def translate(self, vaddr: int) -> tuple[int, int]:
        if _WINDOWS <= vaddr < _MAPPED:
            paddr = vaddr & _PHYSICAL
            return paddr, _PHYSICAL + 1 - paddr
        return super().translate(vaddr)


def _open(memory: PhysicalMemory, info: VmcoreInfo) -> Translator:
    """Find the page tables."""
    shift = page_shift(memory, info, 1 << 14)
    symbol = info.need("SYMBOL", "swapper_pg_dir")
    if not _is_table(symbol, shift):
        raise KernelError("SYMBOL(swapper_pg_dir) is not in a window of physical memory", found=symbol)
    root = symbol & _PHYSICAL
    levels = _depth(memory, root, shift)
    translator = LoongTranslator(LoongTables(memory, root, shift, levels), None)
    translator.notes = [
        f"page tables of {levels} levels (as found) for pages of {1 << shift - 10} KiB at physical address {root:#x},"
        f" from SYMBOL(swapper_pg_dir)",
        f"windows of physical memory from {_WINDOWS:#x} on",
    ]
    return translator


ARCH: Final = Arch(
    name="loongarch64",
    aliases=("loongarch", "loong64"),
    section_size_bits=lambda _: 29,
    max_physmem_bits=lambda _: 48,
    open=_open,
)
