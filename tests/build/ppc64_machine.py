"""A crashed ppc64le machine from the recipes of :mod:`tests.build.machine`: the same page frames, of 4 or 64 KiB.

The kernel's data are in the page frames from 0x10 (64 KiB) or 0x100 (4 KiB) on, which are kernel pages in every
recipe: page tables or vmemmap_list, sections, names. Nothing here uses the code under test.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.build import ppc64
from tests.build.layouts import STRUCT_PAGE, Layout
from tests.build.machine import MIB, PAGE, RAM, SECTION, Machine
from tests.build.notes import note, prstatus

if TYPE_CHECKING:
    from pathlib import Path

_ROOTS, _SECTIONS, _NAMES = 0x170000, 0x174000, 0x178000
_MAP = SECTION * STRUCT_PAGE  # bytes per section


class PpcMachine(Machine):
    """As :class:`Machine`; ``ram`` counts in pages of 4 KiB, whatever the machine's page size is.

    Attributes:
        page: Page size in bytes.
    """

    vmemmap = ppc64.VMEMMAP

    def __init__(
        self, layout: Layout, recipe: str = "", mmu: str = "radix", kib: int = 64,
        ram: tuple[tuple[int, int], ...] = RAM,
    ) -> None:  # fmt: skip
        self.page = kib << 10
        self._kernel = ppc64.FakePpc(mmu, kib)
        super().__init__(layout, recipe, ram)
        if mmu == "radix":
            for section in self.sections:
                self._kernel.map(self.vmemmap + section * _MAP, self.map_at(section), 2 * MIB)
        else:
            self._kernel.add_pieces([(self.vmemmap + s * _MAP, self.map_at(s)) for s in self.sections], shift=21)

    def map_at(self, section: int) -> int:
        """See :class:`Machine`."""
        return super().map_at(section) // PAGE * self.page

    def _keys(self) -> dict[str, str]:
        bits = (SECTION * self.page).bit_length() - 1
        return {
            **self._kernel.keys, **self.layout.keys(), "OSRELEASE": self.layout.release,
            "SYMBOL(init_uts_ns)": f"{ppc64.OFFSET + _NAMES:x}", "OFFSET(uts_namespace.name)": "0",
            "SYMBOL(mem_section)": f"{ppc64.OFFSET + _ROOTS:x}", "SIZE(mem_section)": "16",
            "LENGTH(mem_section)": str((1 << 44 - bits) // (self.page // 16)),
            "OFFSET(mem_section.section_mem_map)": "0", "NUMBER(SECTION_SIZE_BITS)": str(bits),
            "NUMBER(MAX_PHYSMEM_BITS)": "44", "KERNELOFFSET": "0", "CRASHTIME": "1700000000",
        }  # fmt: skip

    def _physical(self) -> dict[int, bytes]:
        memory = self._kernel.source
        memory.write(_ROOTS, struct.pack("<Q", ppc64.OFFSET + _SECTIONS))
        for section in self.sections:
            value = 0 if section in self.nomap else self.vmemmap | 7
            memory.write(_SECTIONS + section * 16, struct.pack("<Q", value))
        names = ("Linux", "testbox", self.layout.release, "#1 SMP", "ppc64le", "(none)")
        memory.write(_NAMES, b"".join(name.encode().ljust(65, b"\0") for name in names))
        pieces = {pfn * PAGE: bytes(page) for pfn, page in memory.pages.items() if any(page)}
        pieces |= {self.map_at(section): bytes(data) for section, data in self.maps.items()}
        found = {pfn: bytearray(data.ljust(self.page, b"\0")) for pfn, data in self.memory.items()}
        for start, data in pieces.items():
            for at in range(0, len(data), PAGE):
                pfn, within = divmod(start + at, self.page)
                found.setdefault(pfn, bytearray(self.page))[within : within + PAGE] = data[at : at + PAGE]
        return {**{pfn: bytes(data) for pfn, data in found.items()}, **self.edits}

    def contents(self) -> dict[int, bytes]:
        """See :class:`Machine`."""
        filled = self._physical()
        return {pfn: filled.get(pfn, b"").ljust(self.page, b"\0") for pfn in self.frames()}

    def notes(self, text: bytes | None = None) -> bytes:
        """See :class:`Machine`."""
        text = self.vmcoreinfo() if text is None else text
        return prstatus(1, bytes(384)) + (note(b"VMCOREINFO\0", 0, text) if text else b"")

    def write(self, path: Path, text: bytes | None = None) -> Path:
        """Write the machine as a (sparse) ELF core, like /proc/vmcore."""
        notes, at, places = self.notes(text), self.page, []
        assert 4096 + len(notes) <= 2 * self.page
        at *= 2
        table = struct.pack("<IIQQQQQQ", 4, 0, 4096, 0, 0, len(notes), len(notes), 4)
        for start, end in self.ram:
            first, size = start // PAGE * self.page, (end - start) // PAGE * self.page
            places.append((first // self.page, at))
            table += struct.pack("<IIQQQQQQ", 1, 7, at, ppc64.OFFSET + first, first, size, size, 0)
            at += size
        count = 1 + len(places)
        head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 4, 21, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
        with path.open("wb") as file:
            file.truncate(at)
            file.write(head + table)
            file.seek(4096)
            file.write(notes)
            for pfn, page in sorted(self._physical().items()):
                first, place = max(one for one in places if one[0] <= pfn)
                file.seek(place + (pfn - first) * self.page)
                file.write(page)
        return path
