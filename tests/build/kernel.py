"""Made-up kernels: page tables and memory sections in the memory of a source that is a dict of pages.

Written from the kernel's headers, not from the code under test. A :class:`FakeKernel` is an x86_64 machine: its image
is mapped at the usual address, all of its memory at :data:`DIRECT`, and additional pages where a test maps them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.build import notes
from tests.build.elf_core import Core, Load
from vmsieve.filters.linux.arch import find
from vmsieve.filters.linux.memory import PhysicalMemory, VirtualMemory
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import ReadError
from vmsieve.formats.inputs import MemoryRange, Source
from vmsieve.formats.slim.records import field, record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE = 4096
IMAGE = 0xFFFFFFFF81000000
DIRECT = 0xFFFF888000000000
VMEMMAP = 0xFFFFEA0000000000
PRESENT, LARGE = 1, 0x80


class NoFile:
    """The file of a source without a file."""

    name = "made up"
    size = 0

    def read_into(self, offset: int, out: memoryview) -> int:  # noqa: ARG002 - a protocol's
        return 0

    def close(self) -> None:
        pass


@record
class FakeSource(Source):
    """Physical memory as a dict of pages of 4 KiB by page frame; counts bytes read."""

    pages: dict[int, bytearray] = field(default_factory=dict)
    reads: int = 0

    def end(self) -> int:
        return (max(self.pages, default=-1) + 1) * PAGE

    def ranges(self) -> Iterator[MemoryRange]:
        for pfn in sorted(self.pages):
            yield MemoryRange(pfn * PAGE, (pfn + 1) * PAGE, (pfn + 1) * PAGE)

    def memory_bits(self, first_pfn: int, count: int, page_size: int) -> tuple[bytearray, bytearray]:
        assert page_size == PAGE
        bits = bytearray(count // 8)
        for i in range(count):
            if first_pfn + i in self.pages:
                bits[i // 8] |= 1 << i % 8
        return bits, bytearray(bits)

    def read_into(self, paddr: int, out: memoryview) -> None:
        self.reads += 1
        done = 0
        while done < len(out):
            pfn, at = divmod(paddr + done, PAGE)
            if pfn not in self.pages:
                raise ReadError("no such page", offset=pfn * PAGE)
            step = min(PAGE - at, len(out) - done)
            out[done : done + step] = self.pages[pfn][at : at + step]
            done += step

    def write(self, paddr: int, data: bytes) -> None:
        """Store ``data``; creates missing pages."""
        done = 0
        while done < len(data):
            pfn, at = divmod(paddr + done, PAGE)
            step = min(PAGE - at, len(data) - done)
            page = self.pages.setdefault(pfn, bytearray(PAGE))
            page[at : at + step] = data[done : done + step]
            done += step


class Memory64:
    """Access to 64-bit numbers in the memory of a little-endian machine."""

    source: FakeSource

    def peek(self, paddr: int) -> int:
        """The 64-bit number at a physical address."""
        out = bytearray(8)
        self.source.read_into(paddr, memoryview(out))
        return int.from_bytes(out, "little")

    def poke(self, paddr: int, value: int) -> None:
        """Store a 64-bit number at a physical address."""
        self.source.write(paddr, value.to_bytes(8, "little"))


class FakeKernel(Memory64):
    """An x86_64 kernel.

    ``order``: its byte order, as struct writes it; ``direct``: where all memory is mapped.

    Args:
        levels: Number of page table levels.
        phys_base: Distance of its image above its link address.
        c_bit: Mask of the memory encryption bit, set in every entry.
        release: Its release.
    """

    order, direct = "<", DIRECT

    def __init__(
        self, *, levels: int = 4, phys_base: int = 0x2000000, c_bit: int = 0, release: str = "6.1.0-test"
    ) -> None:
        self.source = FakeSource(file=NoFile(), machine="x86_64", page_size=PAGE)
        self.levels, self.phys_base, self.c_bit = levels, phys_base, c_bit
        self.keys: dict[str, str] = {"OSRELEASE": release, "PAGESIZE": str(PAGE)}
        self._next_static = IMAGE
        self._next_page = 0x8000000
        self._mapped: set[int] = set()
        root = self.static("init_top_pgt", bytes(PAGE))
        self.root = self.image_physical(root)
        self.keys["NUMBER(phys_base)"] = str(phys_base)
        self.keys["NUMBER(pgtable_l5_enabled)"] = str(int(levels == 5))
        if c_bit:
            self.keys["NUMBER(sme_mask)"] = str(c_bit)
        for at in range(0, 4 << 20, 2 << 20):
            self.map(IMAGE + at, self.image_physical(IMAGE + at), 2 << 20)
        self.map(DIRECT, 0, 1 << 30)
        names = ("Linux", "host", release, "#1 SMP", "x86_64", "(none)")
        self.static("init_uts_ns", b"".join(name.encode().ljust(65, b"\0") for name in names))
        self.keys["OFFSET(uts_namespace.name)"] = "0"

    def image_physical(self, vaddr: int) -> int:
        """Physical address of an address in the kernel image."""
        return vaddr - 0xFFFFFFFF80000000 + self.phys_base

    def static(self, name: str, data: bytes) -> int:
        """Put a variable into the kernel image and export its address."""
        vaddr = self._next_static
        self._next_static = -(-(vaddr + len(data)) // 64) * 64
        if len(data) >= PAGE:
            vaddr = -(-vaddr // PAGE) * PAGE
            self._next_static = vaddr + len(data)
        self.source.write(self.image_physical(vaddr), data)
        self.keys[f"SYMBOL({name})"] = f"{vaddr:x}"
        return vaddr

    def pages(self, data: bytes) -> int:
        """Store ``data`` in new pages; return their physical address."""
        paddr = self._next_page
        self._next_page += -(-max(len(data), 1) // PAGE) * PAGE
        self.source.write(paddr, data.ljust(self._next_page - paddr, b"\0"))
        return paddr

    def entry_address(self, vaddr: int, level: int) -> int:
        """Physical address of the entry for ``vaddr`` in its table of ``level`` (1: the last); creates tables."""
        table = self.root
        for above in range(self.levels, level, -1):
            at = table + (vaddr >> 12 + 9 * (above - 1) & 511) * 8
            entry = self.peek(at)
            if not entry & PRESENT:
                entry = self.pages(bytes(PAGE)) | PRESENT | self.c_bit
                self.poke(at, entry)
            table = entry & 0xFFFFFFFFFF000 & ~self.c_bit
        return table + (vaddr >> 12 + 9 * (level - 1) & 511) * 8

    def map(self, vaddr: int, paddr: int, size: int = PAGE) -> None:
        """Map one page of 4 KiB, 2 MiB or 1 GiB."""
        level = {PAGE: 1, 2 << 20: 2, 1 << 30: 3}[size]
        self.poke(self.entry_address(vaddr, level), paddr | PRESENT | self.c_bit | (LARGE if level > 1 else 0))

    def info(self) -> VmcoreInfo:
        """The kernel's VMCOREINFO."""
        return VmcoreInfo(self.vmcoreinfo())

    def vmcoreinfo(self) -> bytes:
        """The kernel's VMCOREINFO as text."""
        return "".join(f"{key}={value}\n" for key, value in self.keys.items()).encode()

    def memory(self) -> VirtualMemory:
        """The kernel's memory as vmsieve's class."""
        return virtual_memory(self.source, self.info())

    def elf_core(self) -> bytes:
        """The machine as an ELF core, for other tools: its image and its direct map."""
        image = self.image_physical(IMAGE)
        for pfn in range(image // PAGE, (image + (4 << 20)) // PAGE):
            self.source.pages.setdefault(pfn, bytearray(PAGE))
        pieces = [(image, 4 << 20, IMAGE), *((start, size, DIRECT + start) for start, size in _pieces(self.source))]
        loads = [
            Load(start, b"".join(self.source.pages[start // PAGE + i] for i in range(size // PAGE)), vaddr=vaddr)
            for start, size, vaddr in pieces
        ]
        return Core(loads, (notes.vmcoreinfo(self.vmcoreinfo()),)).build()


def virtual_memory(source: Source, info: VmcoreInfo) -> VirtualMemory:
    """The virtual memory of the kernel in ``source``."""
    physical = PhysicalMemory(source)
    return VirtualMemory(physical, find(source.machine).open(physical, info))


def _pieces(source: FakeSource) -> list[tuple[int, int]]:
    """The source's memory as (physical address, length) of adjoining pages."""
    pieces: list[tuple[int, int]] = []
    for pfn in sorted(source.pages):
        if pieces and sum(pieces[-1]) == pfn * PAGE:
            pieces[-1] = (pieces[-1][0], pieces[-1][1] + PAGE)
        else:
            pieces.append((pfn * PAGE, PAGE))
    return pieces


#: Flags of a section with a map: present, has a map, online (include/linux/mmzone.h).
SECTION = 0x7
PAGES_PER_SECTION = 1 << 15


def coded(vaddr: int, section: int, flags: int = SECTION, struct_page: int = 64) -> int:
    """``section_mem_map`` of a section whose struct pages begin at ``vaddr``."""
    return (vaddr - section * PAGES_PER_SECTION * struct_page & (1 << 64) - 1) | flags


def vmemmap(section: int, struct_page: int = 64) -> int:
    """Return the address of a section's struct pages in the vmemmap."""
    return VMEMMAP + section * PAGES_PER_SECTION * struct_page


def add_sections(
    kernel: FakeKernel, maps: Mapping[int, int], *, extreme: bool = True, pointer: bool = False, size: int = 16
) -> None:
    """Give ``kernel`` the sections ``maps``: ``section_mem_map`` by section number.

    Args:
        kernel: The kernel.
        maps: The sections.
        extreme: SPARSEMEM_EXTREME: two levels; else one array of 64 sections.
        pointer: Export the address of the pointer to the array of roots, as tools that read vmlinux do.
        size: Bytes of a ``struct mem_section``.
    """

    def table(first: int, count: int) -> bytes:
        return b"".join(struct.pack("<Q", maps.get(first + i, 0)).ljust(size, b"\0") for i in range(count))

    kernel.keys.update({
        "SIZE(page)": "64", "SIZE(mem_section)": str(size), "OFFSET(mem_section.section_mem_map)": "0",
        "OFFSET(page.flags)": "0", "OFFSET(page._refcount)": "52", "OFFSET(page.mapping)": "24",
        "OFFSET(page.lru)": "8", "OFFSET(page._mapcount)": "48", "OFFSET(page.private)": "40",
        "NUMBER(SECTION_SIZE_BITS)": "27", "NUMBER(MAX_PHYSMEM_BITS)": "46",
    })  # fmt: skip
    if not extreme:
        kernel.static("mem_section", table(0, 64))
        kernel.keys["LENGTH(mem_section)"] = "64"
        return
    per_root = PAGE // size
    roots = bytearray((1 << 19) // per_root * 8)
    for root in sorted({section // per_root for section in maps}):
        struct.pack_into("<Q", roots, root * 8, DIRECT + kernel.pages(table(root * per_root, per_root)))
    array = DIRECT + kernel.pages(bytes(roots))
    kernel.keys["LENGTH(mem_section)"] = str(len(roots) // 8)
    kernel.keys["SYMBOL(mem_section)"] = f"{array:x}"
    if pointer:
        kernel.static("mem_section", struct.pack("<Q", array))
