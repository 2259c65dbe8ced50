"""Made-up s390x machines: lowcores, an os_info page, page tables of three to five levels.

Written from the kernel's headers (``arch/s390/include/asm/{lowcore,os_info,pgtable}.h``), not from the code under test.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.build.kernel import PAGE, FakeSource, NoFile, virtual_memory
from tests.build.notes import vmcoreinfo as vmcoreinfo_note
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import ReadError

if TYPE_CHECKING:
    from vmsieve.filters.linux.memory import VirtualMemory

INVALID, LARGE = 0x20, 0x400
MIB = 1 << 20
#: Physical addresses of the made-up kernel's data.
ROOT, OS_INFO, NOTE, REIPL, VX = 0x900000, 0x910000, 0x920000, 0x930000, 0x940000
PREFIXES = (0x19C000, 0x19E000)
#: Since v6.10: virtual and physical address of its image.
IMAGE, IMAGE_PHYS, IDENTITY = 0x3FFE0000000, 0x800000, 0x10000000000


def cksm(data: bytes) -> int:
    """The CKSM instruction, word by word."""
    total = 0
    for at in range(0, len(data), 4):
        total += int.from_bytes(data[at : at + 4].ljust(4, b"\0"), "big")
        if total > 0xFFFFFFFF:
            total = total - 0x100000000 + 1
    return total


def os_info(entries: dict[int, tuple[int, int, int]], crash: tuple[int, int] = (0, 0), major: int = 1) -> bytes:
    """An os_info page; ``entries``: address or value, size and checksum by number."""
    page = bytearray(PAGE)
    struct.pack_into(">8sIHHQQ", page, 0, b"OSINFOSZ", 0, major, 1, *crash)
    for number, entry in entries.items():
        struct.pack_into(">QQI", page, 0x20 + 20 * number, *entry)
    struct.pack_into(">I", page, 8, cksm(bytes(page[12:])))
    return bytes(page)


def lowcore(prefix: int, seed: int, vx: int = 0) -> bytes:
    """A lowcore with saved registers of a processor: every field has a different value."""
    area = bytearray(0x2000)
    for at, size in ((0x1200, 128), (0x1280, 128), (0x1300, 16), (0x1340, 64), (0x1380, 128)):
        area[at : at + size] = bytes((seed + at + i * 7) & 0xFF for i in range(size))
    struct.pack_into(">H", area, 0x84, seed)
    struct.pack_into(">Q", area, 0x11B0, vx)
    struct.pack_into(">II", area, 0x1318, prefix, 0x00FF0000 + seed)
    struct.pack_into(">I", area, 0x1324, 0x70D00000 + seed)
    struct.pack_into(">QQ", area, 0x1328, (1 << 63) + seed, 0x00E3A00CB9301E89)
    return bytes(area)


class FakeS390:
    """A machine with 16 MiB of memory without holes.

    ``order``: its byte order, as struct writes it; ``direct``: where all memory is mapped.

    Args:
        levels: Of its page tables.
        split: As since v6.10; otherwise virtual and physical addresses of memory are equal.
        release: Its release.
    """

    order = ">"

    def __init__(self, *, levels: int = 3, split: bool = False, release: str = "6.1.0-test") -> None:
        self.source = FakeSource(file=NoFile(), machine="s390x", byte_order="big", page_size=PAGE)
        for pfn in range(16 * MIB // PAGE):
            self.source.pages[pfn] = bytearray(PAGE)
        self.levels, self.split = levels, split
        self.direct = IDENTITY if split else 0
        self._next_page = 0xA00000
        self.keys = {"OSRELEASE": release, "PAGESIZE": str(PAGE)}
        self._empty(ROOT, levels - 2)
        root = ROOT
        if split:
            root = ROOT - IMAGE_PHYS + IMAGE
            self.map(root & -MIB, ROOT & -MIB, MIB)
            self.keys |= {"KERNELOFFSET": f"{IMAGE:x}", "KERNELOFFPHYS": f"{IMAGE_PHYS:x}"}
            self.keys |= {"IDENTITYBASE": f"{IDENTITY:x}", "SAMODE31": "700000", "EAMODE31": "703000"}
        else:
            self.map(ROOT & -MIB, ROOT & -MIB, MIB)
            self.keys["KERNELOFFSET"] = "0"
        self.keys["SYMBOL(swapper_pg_dir)"] = f"{root:x}"

    def write(self, paddr: int, data: bytes) -> None:
        """Store physical memory."""
        self.source.write(paddr, data)

    def peek(self, paddr: int) -> int:
        """The 64-bit number at a physical address."""
        out = bytearray(8)
        self.source.read_into(paddr, memoryview(out))
        return int.from_bytes(out, "big")

    def poke(self, paddr: int, value: int) -> None:
        """Store a 64-bit number at a physical address."""
        self.write(paddr, value.to_bytes(8, "big"))

    def room(self, size: int) -> int:
        """Allocate whole pages: physical address."""
        paddr = self._next_page
        self._next_page += -(-size // PAGE) * PAGE
        return paddr

    def pages(self, data: bytes) -> int:
        """Store ``data`` in new pages; return their physical address."""
        paddr = self.room(len(data))
        self.write(paddr, data)
        return paddr

    def static(self, name: str, data: bytes) -> int:
        """Put a variable into the kernel image and export its address."""
        paddr = self.pages(data)
        vaddr = paddr - IMAGE_PHYS + IMAGE if self.split else paddr
        self.keys[f"SYMBOL({name})"] = f"{vaddr:x}"
        return vaddr

    def info(self) -> VmcoreInfo:
        """The machine's VMCOREINFO."""
        return VmcoreInfo(self.vmcoreinfo())

    def _empty(self, table: int, level: int) -> int:
        """Create a region or segment table without entries; return its address."""
        self.write(table, (level << 2 | INVALID).to_bytes(8, "big") * 2048)
        return table

    def entry_address(self, vaddr: int, level: int) -> int:
        """Physical address of the entry for ``vaddr`` in its table of ``level``; creates tables.

        Levels: 3 region-first, 2, 1 region-third, 0 segment, -1 page.
        """
        table = ROOT
        for above in range(self.levels - 2, level, -1):
            at = table + (vaddr >> 20 + 11 * above & 2047) * 8
            entry = self.peek(at)
            if entry & INVALID:
                if above:
                    entry = self._empty(self.room(4 * PAGE), above - 1) | above << 2 | 3
                else:
                    # Two page tables of 2 KiB share a page: the second half is used, so that no address bit is lost.
                    entry = self.room(PAGE) + 2048
                    self.write(entry, (0x400).to_bytes(8, "big") * 256)
                self.poke(at, entry)
            elif above <= 1 and entry & LARGE:
                raise ReadError("a large page lies there", offset=at)
            table = entry & (~0xFFF if above else ~0x7FF)
        if level < 0:
            return table + (vaddr >> 12 & 255) * 8
        return table + (vaddr >> 20 + 11 * level & 2047) * 8

    def map(self, vaddr: int, paddr: int, size: int = PAGE) -> None:
        """Map one page of 4 KiB, 1 MiB or 2 GiB."""
        level = {PAGE: -1, MIB: 0, 2048 * MIB: 1}[size]
        more = {-1: 0, 0: LARGE, 1: LARGE | 1 << 2}[level]
        self.poke(self.entry_address(vaddr, level), paddr | more)

    def add_lowcores(self) -> None:
        """Two processors; the second has vector registers."""
        self.write(PREFIXES[0], lowcore(PREFIXES[0], 3))
        self.write(PREFIXES[1], lowcore(PREFIXES[1], 5, VX))
        self.write(VX, bytes((i * 11) & 0xFF for i in range(512)))

    def add_note(self) -> None:
        """The note of VMCOREINFO, and the lowcore's pointer to it."""
        self.write(NOTE, vmcoreinfo_note(self.vmcoreinfo(), "big"))
        self.poke(0xE0C, NOTE)

    def add_os_info(
        self, entries: dict[int, tuple[int, int, int]] | None = None, crash: tuple[int, int] = (0, 0)
    ) -> None:
        """The os_info page, and the lowcore's pointer to it."""
        self.write(OS_INFO, os_info(entries or {}, crash))
        self.poke(0xE18, OS_INFO)

    def place_values(self) -> dict[int, tuple[int, int, int]]:
        """Entries of os_info since v6.10 that are numbers."""
        numbers = {4: IDENTITY, 5: IMAGE, 6: IMAGE_PHYS, 8: 0x700000, 9: 0x703000, 11: IMAGE + (8 << 20)}
        return {number: (value, 0, 0) for number, value in numbers.items()}

    def vmcoreinfo(self) -> bytes:
        """The machine's VMCOREINFO as text."""
        return "".join(f"{key}={value}\n" for key, value in self.keys.items()).encode()

    def memory(self) -> VirtualMemory:
        """The machine's memory as vmsieve's class."""
        return virtual_memory(self.source, self.info())
