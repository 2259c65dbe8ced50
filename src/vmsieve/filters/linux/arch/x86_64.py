"""x86_64: page tables of 4 or 5 levels, and the kernel's own map.

Tables: Intel SDM volume 3, 4.5 "4-level paging and 5-level paging". Addresses: Documentation/arch/x86/x86_64/mm.rst.
Exports: arch/x86/kernel/vmcore_info_64.c (before v6.9 machine_kexec_64.c).
"""

from __future__ import annotations

import struct

from vmsieve.filters.linux.arch import HEADERS, Arch, tables_not_found
from vmsieve.filters.linux.tables import MEMORY, NONSENSE, NOTHING, TABLE, Linear, RadixTables, TableTranslator
from vmsieve.formats.errors import KernelError, ReadError
from vmsieve.formats.notes import each_note
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.memory import PhysicalMemory, Translator
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

#: __START_KERNEL_map, arch/x86/include/asm/page_64_types.h.
KERNEL_MAP: Final = 0xFFFFFFFF80000000
#: KERNEL_IMAGE_SIZE with KASLR, same header: the kernel image lies within. Modules follow.
_IMAGE_SIZE: Final = 1 << 30

_PRESENT: Final = 1
_LARGE: Final = 1 << 7
#: Address bits of an entry: 12 to 51.
_ADDRESS: Final = (1 << 52) - (1 << 12)
_WORD: Final = (1 << 64) - 1
#: Notes that are searched for registers; a dump has one or more a processor.
_NOTES: Final = 32
#: Offset of the control registers in QEMU's notes, and CR4's bit for 5 levels.
_CONTROL: Final = 8 + 18 * 8 + 10 * 24
_LA57: Final = 1 << 12
#: Most bytes of a kernel image.
_SPAN_MOST: Final = 128 << 20

#: Symbols of the root table, newest first (arch/x86/kernel/head_64.S). init_level4_pgt was renamed in v4.13.
_ROOTS: Final = ("init_top_pgt", "init_level4_pgt", "swapper_pg_dir")


class X86Tables(RadixTables):
    """Page tables. ``ignored``: bits to clear in an entry's address, such as the memory encryption bit (sme_mask)."""

    def __init__(self, memory: PhysicalMemory, root: int, levels: int, ignored: int = 0) -> None:
        super().__init__(memory, root, 12, levels * 9 + 12)
        self._mask = _ADDRESS & ~ignored
        # Users' half of the canonical addresses is translated too.
        self._lower_end = 1 << levels * 9 + 11
        self.start = _WORD + 1 - self._lower_end

    def decode(self, entry: int, level: int, index: int) -> tuple[int, int]:  # noqa: ARG002
        if not entry & _PRESENT:
            return NOTHING, 0
        if level and not entry & _LARGE:
            return TABLE, entry & self._mask
        # A page of 1 GiB, 2 MiB or 4 KiB. At higher levels the bit is reserved.
        return MEMORY if level <= 2 else NONSENSE, entry & self._mask

    def translate(self, vaddr: int) -> tuple[int, int]:
        if not (self.start <= vaddr <= _WORD or 0 <= vaddr < self._lower_end):
            raise KernelError("not a canonical address", offset=vaddr)
        return self._look_up(vaddr)


class X86Translator(TableTranslator):
    """The kernel's own map by arithmetic, everything else by its page tables."""

    def translate(self, vaddr: int) -> tuple[int, int]:
        paddr, room = super().translate(vaddr)
        if paddr < 0:
            raise KernelError("an address of the kernel image is not in memory", offset=vaddr)
        return paddr, room

    def linear(self) -> list[tuple[int, int]]:
        # Arithmetic translates the kernel image alone.
        return []


def _levels(info: VmcoreInfo) -> int:
    return 5 if info.number("pgtable_l5_enabled") else 4


def _max_physmem_bits(info: VmcoreInfo) -> int:
    """Follow arch/x86/include/asm/sparsemem.h through the years."""
    if _levels(info) == 5:
        return 52
    if info.version >= (2, 6, 31) or info.version == (0, 0, 0):
        return 46
    return 44 if info.version >= (2, 6, 26) else 40


def _candidates(memory: PhysicalMemory, info: VmcoreInfo) -> dict[int, str]:
    """Return values that phys_base may have, most trusted first, and the origin of each."""
    found = {}
    number = info.number("phys_base")
    if number is not None:
        # Signed: a kernel may be loaded below its link-time address.
        found[number - (1 << 64) if number >= 1 << 63 else number] = "NUMBER(phys_base)"
    for piece in memory.source.virtual[:HEADERS]:
        if piece.vaddr >= KERNEL_MAP:
            found.setdefault(piece.paddr - (piece.vaddr - KERNEL_MAP), "the dump's headers")
    found.setdefault(0, "its default")
    return found


def _open(memory: PhysicalMemory, info: VmcoreInfo) -> Translator:
    """Find the page tables: right ones map themselves to where they are."""
    name, root = next(((name, at) for name in _ROOTS for at in [info.symbol(name)] if at), (None, 0))
    if name is None:
        raise KernelError("VMCOREINFO does not name the page tables", expected="SYMBOL(init_top_pgt)")
    ignored = (info.number_unsigned("sme_mask") or 0) & _ADDRESS
    levels = _levels(info)
    for phys_base, origin in _candidates(memory, info).items():
        paddr = (root - KERNEL_MAP + phys_base) & _WORD
        tables = X86Tables(memory, paddr, levels, ignored)
        if not tables.maps(root, paddr):
            continue
        size = min(max(info.number("KERNEL_IMAGE_SIZE") or _IMAGE_SIZE, 0), _IMAGE_SIZE)
        linear = Linear(KERNEL_MAP, KERNEL_MAP + size, phys_base - KERNEL_MAP)
        translator = X86Translator(tables, linear, phys_base)
        translator.notes = [
            f"page tables of {levels} levels at physical address {paddr:#x}, from SYMBOL({name})",
            f"phys_base {phys_base:#x} from {origin}",
        ]
        if ignored:
            translator.notes.append(f"NUMBER(sme_mask) {ignored:#x} is cleared in page table entries")
        return translator
    raise tables_not_found(root)


def _virtual(memory: PhysicalMemory, roots: dict[str, int], text: int) -> int | None:
    """Find the kernel image in the page tables, which map it in pieces of 2 MiB as a rule, and themselves with it."""
    for root in (roots[name] for name in _ROOTS if name in roots):
        for levels in (4, 5):
            tables = X86Tables(memory, root, levels)
            for vaddr in range(KERNEL_MAP, KERNEL_MAP + _IMAGE_SIZE, 2 << 20):
                try:
                    shift = vaddr - tables.translate(vaddr)[0]
                    if tables.translate(root + shift)[0] == root and tables.translate(text + shift)[0] == text:
                        return shift
                except (KernelError, ReadError):
                    continue
    return None


def _image(memory: PhysicalMemory) -> tuple[int, int] | None:
    """Find the kernel image by the page tables that a processor used: QEMU's notes have CR3 (``QEMUCPUState``)."""
    order = memory.byte_order
    for _, note in zip(range(_NOTES), each_note(memory.source.notes, order)):
        if note.name != b"QEMU" or note.size < _CONTROL + 5 * 8:
            continue
        _, _, _, cr3, cr4 = struct.unpack_from("<5Q", memory.source.notes, note.offset + _CONTROL)
        # With KPTI, user space's top table follows the kernel's and maps little of the kernel.
        for root in dict.fromkeys((cr3 & _ADDRESS & ~0x1000, cr3 & _ADDRESS)):
            tables = X86Tables(memory, root, 5 if cr4 & _LA57 else 4)
            found = []
            for vaddr in range(KERNEL_MAP, KERNEL_MAP + _IMAGE_SIZE, 2 << 20):
                with suppress(KernelError, ReadError):
                    found.append(tables.translate(vaddr)[0])
            if len(found) > 1 and max(found) - min(found) < _SPAN_MOST:
                return min(found), max(found) + (2 << 20)
    return None


ARCH: Final = Arch(
    name="x86_64",
    aliases=("amd64", "x86-64"),
    section_size_bits=lambda _: 27,
    max_physmem_bits=_max_physmem_bits,
    open=_open,
    roots=_ROOTS,
    virtual=_virtual,
    image=_image,
)
