"""riscv64: page tables of 3 to 5 levels (Sv39, Sv48, Sv57); linear map by arithmetic.

Tables: The RISC-V Instruction Set Manual, volume II, "Supervisor-Level ISA"; ``arch/riscv/include/asm/pgtable-64.h``.
Addresses: ``arch/riscv/include/asm/page.h`` and Documentation/arch/riscv/vm-layout.rst. Exports:
``arch/riscv/kernel/vmcore_info.c`` (before v6.9 crash_core.c).
"""

from __future__ import annotations

from vmsieve.filters.linux.arch import Arch, image_offsets, tables_not_found
from vmsieve.filters.linux.tables import (
    MEMORY,
    NONSENSE,
    NOTHING,
    TABLE,
    RadixTables,
    TableTranslator,
    find_linear,
)
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.memory import PhysicalMemory, Translator
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

_WORD: Final = (1 << 64) - 1
_SHIFT: Final = 12
#: Virtual address bits of the modes Sv39, Sv48 and Sv57.
_VA_BITS: Final = (39, 48, 57)
_VALID: Final = 1
_READ: Final = 2
_WRITE: Final = 4
_LEAF: Final = 0xE  # readable, writable or executable
_FRAME_SHIFT: Final = 10
_FRAME: Final = (1 << 44) - 1
#: Svnapot: 16 equal entries map 64 KiB; the low four bits of the frame number are 8 instead of address bits.
_NAPOT: Final = 1 << 63
#: KERNEL_LINK_ADDR since v5.13: Linux commit 2bfc6cd81bd1 ("riscv: Move kernel mapping outside of linear mapping").
_LINK_ADDRESS: Final = (1 << 64) - (2 << 30)
#: Default load offset: the kernel follows 2 MiB of firmware.
_FIRMWARE: Final = 2 << 20


class RiscvTables(RadixTables):
    """Page tables."""

    def __init__(self, memory: PhysicalMemory, root: int, va_bits: int) -> None:
        super().__init__(memory, root, _SHIFT, va_bits)
        # The highest translated bit is the sign; the other half is user space.
        self.start = (1 << 64) - (1 << va_bits - 1)

    def decode(self, entry: int, level: int, index: int) -> tuple[int, int]:
        if not entry & _VALID:
            return NOTHING, 0
        frame = entry >> _FRAME_SHIFT & _FRAME
        if not entry & _LEAF:
            return TABLE if level else NONSENSE, frame << _SHIFT
        if entry & (_READ | _WRITE) == _WRITE:
            return NONSENSE, 0
        if entry & _NAPOT and not level and frame & 15 == 8:
            frame = frame & ~15 | index & 15
        return MEMORY, frame << _SHIFT


def _image_offsets(memory: PhysicalMemory, info: VmcoreInfo, root: int) -> Iterator[tuple[int, str]]:
    yield from image_offsets(memory, info, "va_kernel_pa_offset", root)
    base = info.number_unsigned("phys_ram_base")
    if base is not None:
        link = info.number_unsigned("KERNEL_LINK_ADDR") or _LINK_ADDRESS
        start = link + ((info.kernel_offset or 0) & _WORD)
        for inside in (0, _FIRMWARE):
            yield start - base - inside & _WORD, "NUMBER(phys_ram_base)"


def _find_tables(memory: PhysicalMemory, info: VmcoreInfo) -> tuple[RiscvTables, int, list[str]]:
    """Return page tables that map themselves, their physical address, and notes."""
    root = info.need("SYMBOL", "swapper_pg_dir")
    told = info.number("VA_BITS")
    for offset, origin in _image_offsets(memory, info, root):
        paddr = root - offset & _WORD
        for bits in (told,) if told in _VA_BITS else _VA_BITS:
            tables = RiscvTables(memory, paddr, bits)
            if tables.maps(root, paddr):
                key = "NUMBER(VA_BITS)" if told in _VA_BITS else "as found"
                return tables, paddr, [
                    f"page tables of {tables.levels} levels, Sv{bits} ({key}), at physical address {paddr:#x},"
                    f" from SYMBOL(swapper_pg_dir) and {origin}"
                ]  # fmt: skip
    raise tables_not_found(root)


def _open(memory: PhysicalMemory, info: VmcoreInfo) -> Translator:
    """Find the page tables, and verify the linear map with them."""
    tables, known, notes = _find_tables(memory, info)
    base, start = info.number_unsigned("phys_ram_base"), info.number_unsigned("PAGE_OFFSET")
    linear = None
    if base is not None and start is not None and start >= tables.start:
        # The linear map has half of the kernel's address space (KERN_VIRT_SIZE).
        size = (1 << 64) - tables.start >> 1
        linear = find_linear(tables, [(start, min(start + size, 1 << 64))], base, known, memory.source.end())
    translator = TableTranslator(tables, linear, base)
    translator.flat_first_pfn = (base or 0) >> _SHIFT
    if linear:
        notes.append(f"the linear map at {linear.start:#x}, by NUMBER(PAGE_OFFSET) and NUMBER(phys_ram_base)")
    else:
        notes.append("the linear map by page tables alone: they do not confirm NUMBER(phys_ram_base)")
    translator.notes = notes
    return translator


ARCH: Final = Arch(
    name="riscv64",
    aliases=("riscv",),
    section_size_bits=lambda _: 27,
    max_physmem_bits=lambda _: 56,
    open=_open,
)
