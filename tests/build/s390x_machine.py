"""A crashed s390x machine from the recipes of :mod:`tests.build.machine`: the same pages, big-endian.

Physical memory as there, and in it: lowcores of two processors, an os_info page, the VMCOREINFO note, page tables of
three levels that map the struct pages. It becomes a stand-alone dump (``s390``) or an ELF core. Nothing here uses the
code under test.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.build import s390x
from tests.build.layouts import STRUCT_PAGE, Layout
from tests.build.machine import MIB, PAGE, SECTION, Machine
from tests.build.notes import note, prstatus
from tests.build.notes import vmcoreinfo as vmcoreinfo_note

if TYPE_CHECKING:
    from pathlib import Path

RAM = ((0, 24 * MIB), (256 * MIB, 264 * MIB))
#: Since v6.10: addresses of the image and the identity mapping.
IMAGE, IDENTITY = 0x3FFE0000000, 0x20000000
KERNEL = 20 * MIB
_MAPS = (22 * MIB, 256 * MIB)
_ROOT, _SEGMENTS, _PAGE_TABLE, OS_INFO, _NOTE, _SECTIONS, _NAMES, _VX = (
    KERNEL + n * PAGE for n in (0, 4, 12, 13, 14, 16, 18, 19)
)
PREFIXES = (KERNEL + 32 * PAGE, KERNEL + 34 * PAGE)
#: Memory that is reserved for a kdump kernel, address and size, and its processor's prefix when it runs.
CRASH = (12 * MIB, 4 * MIB)
KDUMP_PREFIX = 2 * MIB


class S390Machine(Machine):
    """As :class:`Machine`; kernels of v6.10 and later have virtual addresses that differ from physical ones."""

    order = ">"
    vmemmap = 0x37200000000

    def __init__(self, layout: Layout, recipe: str = "", ram: tuple[tuple[int, int], ...] = RAM) -> None:
        self.split = tuple(int(part) for part in layout.name.split(".")) >= (6, 10)
        super().__init__(layout, recipe, ram)

    def symbol(self, paddr: int) -> str:
        """Virtual address of a symbol in the kernel image, as in VMCOREINFO."""
        return f"{paddr - KERNEL + IMAGE if self.split else paddr:x}"

    def _keys(self) -> dict[str, str]:
        keys = super()._keys()
        identity = IDENTITY if self.split else 0
        for name, value in {
            "init_uts_ns": self.symbol(_NAMES), "swapper_pg_dir": self.symbol(_ROOT), "_stext": self.symbol(KERNEL),
            "node_online_map": self.symbol(_NAMES + 800), "vmap_area_list": self.symbol(_NAMES + 900),
            "mem_section": f"{identity + _SECTIONS:x}", "lowcore_ptr": self.symbol(_NAMES + 0x800),
        }.items():  # fmt: skip
            keys[f"SYMBOL({name})"] = value
        for name in (
            "NUMBER(phys_base)",
            "NUMBER(KERNEL_IMAGE_SIZE)",
            "SYMBOL(init_top_pgt)",
            "SYMBOL(init_level4_pgt)",
        ):
            keys.pop(name, None)
        keys["LENGTH(lowcore_ptr)"] = "4"
        keys["KERNELOFFSET"] = f"{IMAGE:x}" if self.split else "0"
        if self.split:
            keys |= {"KERNELOFFPHYS": f"{KERNEL:x}", "IDENTITYBASE": f"{identity:x}", "SAMODE31": "0", "EAMODE31": "0"}
        return keys

    def _tables(self) -> dict[int, bytes]:
        """Contents of the kernel image, by page number."""
        memory = bytearray(64 * PAGE)

        def put(paddr: int, data: bytes) -> None:
            memory[paddr - KERNEL : paddr - KERNEL + len(data)] = data

        def entry(table: int, index: int, value: int) -> None:
            put(table + index * 8, struct.pack(">Q", value))

        put(_ROOT, struct.pack(">Q", 1 << 2 | s390x.INVALID) * 2048)
        places = [(self.vmemmap + i * MIB, at) for i, at in self._map_pieces()]
        root = int(self.keys["SYMBOL(swapper_pg_dir)"], 16)
        places.append((root & -MIB, _ROOT & -MIB))
        tables: dict[int, int] = {}
        for vaddr, paddr in places:
            segments = tables.get(vaddr >> 31)
            if segments is None:
                segments = tables[vaddr >> 31] = _SEGMENTS + len(tables) * 4 * PAGE
                put(segments, struct.pack(">Q", s390x.INVALID) * 2048)
                entry(_ROOT, vaddr >> 31, segments | 1 << 2 | 3)
            entry(segments, vaddr >> 20 & 2047, paddr | s390x.LARGE)
        assert len(tables) <= 2
        identity = IDENTITY if self.split else 0
        put(_SECTIONS, struct.pack(">Q", identity + _SECTIONS + PAGE))
        for section in self.sections:
            if section not in self.nomap:
                put(_SECTIONS + PAGE + section * 16, struct.pack(">Q", self.vmemmap | 7))
        names = ("Linux", "testbox", self.layout.release, "#1 SMP", "s390x", "(none)")
        put(_NAMES, b"".join(name.encode().ljust(65, b"\0") for name in names))
        put(_NAMES + 0x800, struct.pack(">4Q", 0, *(identity + prefix for prefix in PREFIXES), 0))
        put(OS_INFO, s390x.os_info({}))
        put(_NOTE, vmcoreinfo_note(self.vmcoreinfo(), "big"))
        for i, prefix in enumerate(PREFIXES):
            put(prefix, s390x.lowcore(prefix, 3 + i, _VX if i else 0))
        put(_VX, bytes(range(256)) * 2)
        return {
            i: bytes(memory[i * PAGE : (i + 1) * PAGE]) for i in range(64) if any(memory[i * PAGE : (i + 1) * PAGE])
        }

    def _map_pieces(self) -> list[tuple[int, int]]:
        """Each MiB of struct pages: its number from the start of the virtual array, and its physical address."""
        per_section = SECTION * STRUCT_PAGE // MIB
        return [
            (section * per_section + i, self.map_at(section) + i * MIB)
            for section in self.sections
            for i in range(per_section)
        ]

    def map_at(self, section: int) -> int:
        """See :class:`Machine`."""
        if section == self.sections[0]:
            return _MAPS[0]
        return _MAPS[1] + (self.sections.index(section) - 1) * SECTION * STRUCT_PAGE

    def _physical(self) -> dict[int, bytes]:
        found = super()._physical()
        first = bytearray(found.get(0, b"").ljust(PAGE, b"\0"))
        struct.pack_into(">QxxxxQ", first, 0xE0C, _NOTE, OS_INFO)
        return {**found, 0: bytes(first), **self.edits}

    def notes(self, text: bytes | None = None) -> bytes:
        """See :class:`Machine`."""
        text = self.vmcoreinfo() if text is None else text
        return prstatus(1, bytes(216), "big") + (note(b"VMCOREINFO\0", 0, text, "big") if text else b"")

    def write(self, path: Path, text: bytes | None = None) -> Path:
        """Write the machine as a (sparse) ELF core; ``text``: its VMCOREINFO, empty for a core that lacks it."""
        notes, at, places = self.notes(text), 16 * PAGE, {}
        count = len(self.ram) + 1
        assert 64 + 56 * count + len(notes) <= at
        table = struct.pack(">IIQQQQQQ", 4, 0, 64 + 56 * count, 0, 0, len(notes), len(notes), 4)
        for start, end in self.ram:
            places[start] = at
            table += struct.pack(">IIQQQQQQ", 1, 7, at, start, start, end - start, end - start, PAGE)
            at += end - start
        head = struct.pack(">16sHHIQQQIHHHHHH", b"\x7fELF\2\2\1", 4, 22, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
        return self._fill(path, head + table + notes, at, places)

    def write_s390(self, path: Path) -> Path:
        """Write the machine as a (sparse) stand-alone dump: memory from 0 on, holes as zeros."""
        return write_s390(path, self._physical(), self.ram[-1][1], PREFIXES)

    def write_two_systems(self, path: Path) -> Path:
        """Write a stand-alone dump of a machine that crashed and whose kdump kernel hung.

        The kdump kernel's memory and the first of the machine's are swapped. It has names and one processor,
        and no memory map.
        """
        first, pages = CRASH[0] // PAGE, CRASH[1] // PAGE
        memory = {}
        for pfn, page in self._physical().items():
            if not first <= pfn < first + pages:
                memory[pfn + first if pfn < pages else pfn] = page
        lowcore = bytearray(PAGE)
        struct.pack_into(">QxxxxQ", lowcore, 0xE0C, 0x100000, 0x101000)
        text = b"OSRELEASE=6.1.0-kdump\nPAGESIZE=4096\nSYMBOL(x)=1\n"
        area = s390x.lowcore(KDUMP_PREFIX, 9)
        memory |= {
            0: bytes(lowcore), 0x10: bytes(0x418) + struct.pack(">QQ", *CRASH), 0x100: vmcoreinfo_note(text, "big"),
            0x101: s390x.os_info({}), KDUMP_PREFIX // PAGE: area[:PAGE], KDUMP_PREFIX // PAGE + 1: area[PAGE:],
        }  # fmt: skip
        return write_s390(path, memory, self.ram[-1][1], (KDUMP_PREFIX, PREFIXES[1]))


def write_s390(path: Path, memory: dict[int, bytes], size: int, prefixes: tuple[int, ...]) -> Path:
    """A (sparse) stand-alone dump of ``size`` bytes of memory, given as pages."""
    head = bytearray(PAGE)
    struct.pack_into(">QIIIIQQQIIQQIIIQBHHBI", head, 0,
                     0xA8190173618F23FD, 5, PAGE, 4, PAGE, size, 0, size, size // PAGE, 0, 1 << 63, 0,
                     2, 0, 2, size, 0, len(prefixes), len(prefixes), 0, 0)  # fmt: skip
    struct.pack_into(f">{len(prefixes)}I", head, 0x800, *prefixes)
    with path.open("wb") as file:
        file.write(head)
        for pfn, page in sorted(memory.items()):
            file.seek(PAGE + pfn * PAGE)
            file.write(page)
        file.seek(PAGE + size)
        file.write(b"DUMP_END" + struct.pack(">Q", (1 << 63) + 1))
    return path
