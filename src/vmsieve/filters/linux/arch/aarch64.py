"""aarch64: page tables of 2 to 5 levels for pages of 4, 16 and 64 KiB; kernel image and linear map by arithmetic.

Tables: Arm Architecture Reference Manual, "The AArch64 Virtual Memory System Architecture", VMSAv8-64 descriptors;
``arch/arm64/include/asm/pgtable-hwdef.h``. Addresses: ``arch/arm64/include/asm/memory.h`` and
Documentation/arch/arm64/memory.rst. Exports: ``arch/arm64/kernel/vmcore_info.c`` (before v6.9 crash_core.c).

``kimage_voffset`` gives the address of the kernel image, ``PHYS_OFFSET`` that of the linear map. The start of the
linear map changed with Linux commits 14c127c957c1 ("arm64: mm: Flip kernel VA space"), v5.4, and f4693c2716b3 ("arm64:
mm: extend linear region for 52-bit VA configurations"), v5.11. The page tables, which map it too, decide.
"""

from __future__ import annotations

from vmsieve.filters.linux.arch import Arch, image_offsets, page_shift, tables_not_found
from vmsieve.filters.linux.tables import (
    MEMORY,
    NONSENSE,
    NOTHING,
    TABLE,
    Linear,
    RadixTables,
    TableTranslator,
    find_linear,
    levels_of,
)
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.memory import PhysicalMemory, Translator
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

_WORD: Final = (1 << 64) - 1
_VALID: Final = 1
_TABLE: Final = 2  # at level 0: a page; above: a table, else a block
_VA_BITS: Final = range(36, 53)
#: Set in kernel pointers; neither tags (KASAN, MTE) nor authentication codes change it.
_KERNEL_BIT: Final = 1 << 55
_TOP_BYTE: Final = 0xFF << 56


class Arm64Tables(RadixTables):
    """Page tables."""

    def __init__(
        self, memory: PhysicalMemory, root: int, page_shift: int, va_bits: int, root_bits: int | None = None
    ) -> None:
        super().__init__(memory, root, page_shift, va_bits, root_bits)
        # Physical addresses of 52 bits. Pages of 64 KiB (LPA): the highest bits are below the page number, and zero in
        # other kernels. Smaller pages (LPA2): they replace the shareability, only if virtual addresses have 52 bits
        # too: Kconfig's ARM64_PA_BITS_52 needs pages of 64 KiB or ARM64_VA_BITS_52, and a processor without LPA2 has 48
        # bits of both.
        self._lpa2 = page_shift < 16 and va_bits > 48
        self._low = (1 << (50 if self._lpa2 else 48)) - (1 << page_shift)

    def decode(self, entry: int, level: int, index: int) -> tuple[int, int]:  # noqa: ARG002
        """See :class:`PageTables`. Blocks exist at the two levels above pages."""
        if not entry & _VALID:
            return NOTHING, 0
        paddr = entry & self._low
        if self._lpa2:
            paddr |= (entry & 0x300) << 42
        elif self.page_shift == 16:
            paddr |= (entry & 0xF000) << 36
        if entry & _TABLE:
            return TABLE if level else MEMORY, paddr
        return MEMORY if level in (1, 2) else NONSENSE, paddr


class Arm64Translator(TableTranslator):
    """Translates pointers with tags and authentication codes.

    ``pac_mask``: bits of a pointer that authentication codes use (KERNELPACMASK). ``phys_base``: PHYS_OFFSET, as in
    makedumpfile and crash.
    """

    def __init__(self, tables: Arm64Tables, linear: Linear | None, pac_mask: int, phys_base: int) -> None:
        super().__init__(tables, linear, phys_base)
        self._ones = _TOP_BYTE | pac_mask

    def is_kernel(self, vaddr: int) -> bool:
        return 0 <= vaddr <= _WORD and super().is_kernel(vaddr | _TOP_BYTE)

    def translate(self, vaddr: int) -> tuple[int, int]:
        return super().translate(vaddr | self._ones if vaddr & _KERNEL_BIT else vaddr)


def _va_bits(info: VmcoreInfo) -> Iterator[tuple[int, int, str]]:
    """Yield possible numbers of virtual address bits, actual and configured, and the keys that they come from.

    A kernel configured for 52 bits uses 48 or 47 if the processor has no more. TCR_EL1_T1SZ has the actual number since
    v5.9: Linux commit bbdbc11804ff ("arm64/crash_core: Export TCR_EL1.T1SZ in vmcoreinfo").
    """
    planned, idle = info.number("VA_BITS"), info.number("TCR_EL1_T1SZ")
    if planned not in _VA_BITS:
        planned = None
    if idle is not None and 64 - idle in _VA_BITS:
        key = "NUMBER(TCR_EL1_T1SZ)" + (", NUMBER(VA_BITS)" if planned else "")
        yield 64 - idle, max(planned or 0, 64 - idle), key
    # 47 bits: 16 KiB pages without LPA2. The root table of v5.0 to v5.3 may be sized for the 52 bits of user space.
    for bits in dict.fromkeys((planned or 48, 48, 47)):
        yield bits, planned or bits, "NUMBER(VA_BITS)" if planned else "the default"
        yield bits, 52, "NUMBER(VA_BITS)" if planned else "the default"


def _find_tables(memory: PhysicalMemory, info: VmcoreInfo, shift: int) -> tuple[Arm64Tables, int, int, list[str]]:
    """Return page tables that map themselves, their physical address, the configured address bits, and notes."""
    root = info.need("SYMBOL", "swapper_pg_dir")
    for offset, origin in image_offsets(memory, info, "kimage_voffset", root):
        paddr = root - offset & _WORD
        for bits, planned, key in _va_bits(info):
            # The configured bits size the root table only if the number of levels is the configured one.
            same = levels_of(bits, shift) == levels_of(planned, shift)
            tables = Arm64Tables(memory, paddr, shift, bits, planned if same else None)
            if not tables.maps(root, paddr):
                continue
            return tables, paddr, planned, [
                f"page tables of {tables.levels} levels for {bits} bits of address ({key}) and pages of"
                f" {1 << shift - 10} KiB at physical address {paddr:#x}, from SYMBOL(swapper_pg_dir) and {origin}"
            ]  # fmt: skip
    raise tables_not_found(root)


def _linear_ranges(tables: Arm64Tables, planned: int) -> Iterator[tuple[int, int]]:
    """Yield possible linear maps: in the lower half of the address space since v5.4, in the upper half before."""
    actual = ((1 << 64) - tables.start).bit_length() - 1
    # The lower half for the smallest number of bits that the kernel supports (VA_BITS_MIN).
    end = (1 << 64) - (1 << min(planned, 47 if tables.page_shift == 14 and planned > 48 else 48) - 1)
    for bits in dict.fromkeys((planned, actual, actual - 1, 48, 47)):
        yield (1 << 64) - (1 << bits), 1 << 64 if bits < actual else end


def _open(memory: PhysicalMemory, info: VmcoreInfo) -> Translator:
    """Find the page tables, and verify the linear map with them."""
    shift = page_shift(memory, info, 4096)
    tables, known, planned, notes = _find_tables(memory, info, shift)
    phys_offset = info.number_unsigned("PHYS_OFFSET")
    linear = None
    if phys_offset is not None:
        linear = find_linear(tables, _linear_ranges(tables, planned), phys_offset, known, memory.source.end())
    pac_mask = (info.number_unsigned("KERNELPACMASK") or 0) & tables.start
    signed = (phys_offset or 0) - (1 << 64 if (phys_offset or 0) >> 63 else 0)
    translator = Arm64Translator(tables, linear, pac_mask, signed)
    translator.flat_first_pfn = signed >> shift
    if linear:
        notes.append(f"the linear map at {linear.start:#x}, by NUMBER(PHYS_OFFSET)")
    else:
        notes.append("the linear map by page tables alone: they do not confirm NUMBER(PHYS_OFFSET)")
    if pac_mask:
        notes.append(f"NUMBER(KERNELPACMASK) {pac_mask:#x} is left out of addresses")
    translator.notes = notes
    return translator


def _section_size_bits(info: VmcoreInfo) -> int:
    """arch/arm64/include/asm/sparsemem.h: 30 before v5.12.

    Linux commit f0b13ee23241 ("arm64/sparsemem: reduce SECTION_SIZE_BITS"); exported since v5.13.
    """
    if info.version >= (5, 12):
        return 29 if info.page_size == 1 << 16 else 27
    return 30


def _max_physmem_bits(info: VmcoreInfo) -> int:
    """48, or 52 by configuration since v4.16: the number of section roots decides. Exported since v5.9."""
    size, roots = info.size("mem_section"), info.length("mem_section")
    if size and roots and roots * ((info.page_size or 4096) // size) >= 1 << 52 - _section_size_bits(info):
        return 52
    return 48


ARCH: Final = Arch(
    name="aarch64",
    aliases=("arm64",),
    section_size_bits=_section_size_bits,
    max_physmem_bits=_max_physmem_bits,
    open=_open,
)
