"""Made-up ppc64 machines: page tables of the radix and the hash MMU, and vmemmap_list.

Written from the kernel's headers (``arch/powerpc/include/asm/book3s/64``), not from the code under test.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.build.kernel import PAGE, FakeSource, NoFile, virtual_memory
from tests.build.notes import ORDERS
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

if TYPE_CHECKING:
    from vmsieve.filters.linux.memory import VirtualMemory

MIB = 1 << 20
OFFSET = 0xC << 60
#: Physical addresses of the made-up kernel's data.
ROOT, VARIABLES, PIECES = 0x100000, 0x120000, 0x130000
#: Addresses of the virtual memory map since v5.2, and before; outside of memory.
VMEMMAP, OLD_VMEMMAP = 0xC00C << 48, 0xF << 60
#: Bytes that an entry covers and index bits of its table, top level first.
TABLES = {
    ("radix", 4): ((39, 13), (30, 9), (21, 9), (12, 9)),
    ("radix", 64): ((39, 13), (30, 9), (21, 9), (16, 5)),
    ("hash", 4): ((37, 9), (28, 9), (21, 7), (12, 9)),
    ("hash", 64): ((44, 8), (34, 10), (24, 10), (16, 8)),
}


class FakePpc:
    """A machine with 16 MiB of memory without holes.

    Args:
        mmu: ``"radix"`` or ``"hash"``.
        kib: Page size in KiB.
        order: Byte order of everything except page tables.
        told: Export NUMBER(RADIX_MMU).
    """

    def __init__(self, mmu: str = "radix", kib: int = 64, order: str = "little", *, told: bool = True) -> None:
        self.mmu, self.page, self.order = mmu, kib << 10, ORDERS[order]
        self.levels = TABLES[mmu, kib]
        name = "ppc64le" if order == "little" else "ppc64"
        self.source = FakeSource(file=NoFile(), machine=name, byte_order=order, page_size=self.page)
        for pfn in range(16 * MIB // PAGE):
            self.source.pages[pfn] = bytearray(PAGE)
        self._next_table = 0x140000
        self.keys = {
            "OSRELEASE": "6.12.0-test", "PAGESIZE": str(self.page), "SYMBOL(swapper_pg_dir)": f"{OFFSET + ROOT:x}",
            "SYMBOL(vmemmap_list)": f"{OFFSET + VARIABLES:x}",
            "SYMBOL(mmu_vmemmap_psize)": f"{OFFSET + VARIABLES + 8:x}",
            "SYMBOL(mmu_psize_defs)": f"{OFFSET + VARIABLES + 16:x}",
            "SIZE(vmemmap_backing)": "24", "OFFSET(vmemmap_backing.list)": "0", "OFFSET(vmemmap_backing.phys)": "8",
            "OFFSET(vmemmap_backing.virt_addr)": "16", "SIZE(mmu_psize_def)": "96", "OFFSET(mmu_psize_def.shift)": "0",
        }  # fmt: skip
        if told:
            self.keys["NUMBER(RADIX_MMU)"] = str(int(mmu == "radix"))
        if mmu == "radix":
            for at in range(0, 16 * MIB, 2 * MIB):
                self.map(OFFSET + at, at, 2 * MIB)

    def entry_address(self, vaddr: int, level: int) -> int:
        """Physical address of the entry for ``vaddr`` in its table of ``level`` (0: the top one); creates tables."""
        table = ROOT
        for above in range(level + 1):
            shift, bits = self.levels[above]
            at = table + (vaddr >> shift) % (1 << bits) * 8
            if above == level:
                return at
            entry = self.peek(at)
            if not entry:
                following = self.levels[above + 1][1]
                entry = self._next_table | 1 << 63 | (following if self.mmu == "radix" else 0)
                self._next_table += max(8 << following, PAGE)
                self.poke(at, entry)
            assert not entry >> 62 & 1, "a large page lies there"
            table = entry & 0x0FFFFFFFFFFFFF00
        raise AssertionError

    def map(self, vaddr: int, paddr: int, size: int) -> None:
        """Map a page of the size that an entry of some level covers. The bits below the address are protection."""
        level = next(i for i, (shift, _) in enumerate(self.levels) if 1 << shift == size)
        self.poke(self.entry_address(vaddr, level), paddr | 0xC0 << 56 | 0x18E)

    def add_pieces(self, pieces: list[tuple[int, int]], shift: int = 24, which: int = 5) -> None:
        """``vmemmap_list`` with pieces (virtual, physical address), the last one at its head."""
        at = 0
        for i, (virtual, physical) in enumerate(pieces):
            self.source.write(PIECES + 24 * i, struct.pack(self.order + "QQQ", at, physical, virtual))
            at = OFFSET + PIECES + 24 * i
        self.source.write(VARIABLES, struct.pack(self.order + "QI", at, which))
        self.source.write(VARIABLES + 16 + 96 * which, struct.pack(self.order + "I", shift))

    def peek(self, paddr: int) -> int:
        """The page table entry at a physical address."""
        out = bytearray(8)
        self.source.read_into(paddr, memoryview(out))
        return int.from_bytes(out, "big")

    def poke(self, paddr: int, value: int) -> None:
        """Store a page table entry."""
        self.source.write(paddr, value.to_bytes(8, "big"))

    def vmcoreinfo(self) -> bytes:
        """The machine's VMCOREINFO as text."""
        return "".join(f"{key}={value}\n" for key, value in self.keys.items()).encode()

    def memory(self) -> VirtualMemory:
        """The machine's memory as vmsieve's class."""
        return virtual_memory(self.source, VmcoreInfo(self.vmcoreinfo()))
