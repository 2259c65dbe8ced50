"""A crashed x86_64 machine as a few lines of text: the use of each page frame.

    0x100-0x17f kernel
    0x240-0x25f cache_private
    0x300-0x3ff free order=8            blocks of 2**8 pages
    0x400-0x5ff hugetlb order=9         compound pages, tails and all
    0x800-0x81f slab mapping=1          a slab page with another use of "mapping"
    0x843 hwpoison                      in addition to the page's use
    0x900-0x9ff free order=8 private=99 fields with wrong values
    section 2 nomap                     a memory section without struct pages

Kinds: kernel, user, cache, cache_private, swapcache, thp, hugetlb, free, slab, offline, unaccepted, hwpoison. ``order``
makes blocks of free and unaccepted pages and compound pages of the others. Pages that no line names are kernel pages
full of zeros, the last one a slab page; the others begin with their page frame number. Pages of a type that the kernel
does not have are kernel pages. Any field can be set: ``flags``, ``mapping``, ``kind``, ``private``, ``head``;
``zero=1`` makes the pages' content zero.

The machine becomes an ELF core: page tables of four levels, the kernel's own map, sections with roots,
struct pages in a virtual array mapped by pages of 2 MiB. Nothing here uses the code under test.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.build.layouts import STRUCT_PAGE, Layout
from tests.build.notes import note, prstatus

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
SECTION = 1 << 15  # page frames
MIB = 1 << 20
DIRECT, VMEMMAP, IMAGE, KERNEL_MAP = 0xFFFF888000000000, 0xFFFFEA0000000000, 0xFFFFFFFF81000000, 0xFFFFFFFF80000000
PHYS_BASE = 4 * MIB
KERNEL = IMAGE - KERNEL_MAP + PHYS_BASE  # 20 MiB
RAM = ((0, 24 * MIB), (256 * MIB, 264 * MIB))
_MAPS = (22 * MIB, 256 * MIB)  # where the struct pages of the first section and of the others are
_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1
_POINTER = 0xFFFF888001234560
#: Tails whose fields would be wrong in other pages: since v4.5 they have other uses.
_NOISE = 0xDEAD000000000401
#: Kinds whose ``order`` is that of a block; that of the others is of a compound page.
_BLOCKS = ("free", "unaccepted")


class Machine:
    """A machine; its struct pages' fields may be set until it is written.

    Attributes:
        order: Byte order, in struct's notation.
        vmemmap: Virtual address of the struct page of page frame 0.
    """

    order = "<"
    vmemmap = VMEMMAP

    def __init__(self, layout: Layout, recipe: str = "", ram: tuple[tuple[int, int], ...] = RAM, base: int = 0) -> None:
        """``base``: physical address added to all others, the recipe's too; a multiple of a section."""
        ram = tuple((start + base, end + base) for start, end in ram)
        self.layout, self.ram, self.base = layout, ram, base
        self.sections = sorted({pfn // SECTION for a, b in ram for pfn in range(a // PAGE, b // PAGE, 256)})
        self.nomap: set[int] = set()
        self.maps = {section: bytearray(self._plain() * SECTION) for section in self.sections}
        self.memory: dict[int, bytes] = {}
        self.edits: dict[int, bytes] = {}
        self.keys = self._keys()
        # Every kernel has slab pages.
        self.set(ram[-1][1] // PAGE - 1, **self._values("slab", 0))
        for line in recipe.splitlines():
            words = line.split("#")[0].split()
            if words:
                self._line(words)

    def _plain(self) -> bytes:
        page = bytearray(STRUCT_PAGE)
        struct.pack_into(self.order + "I", page, self.layout.kind, _U32)
        struct.pack_into(self.order + "I", page, self.layout.refcount, 1)
        return bytes(page)

    def _line(self, words: list[str]) -> None:
        if words[0] == "section":
            self.nomap.add(int(words[1], 0))
            return
        first, _, last = words[0].partition("-")
        options = {name: int(value, 0) for name, _, value in (word.partition("=") for word in words[2:])}
        start, end = (number + self.base // PAGE for number in (int(first, 0), int(last or first, 0) + 1))
        order, zero = options.pop("order", 0), options.pop("zero", 0)
        assert (end - start) % (1 << order) == 0, words
        for pfn in range(start, end, 1 << order):
            self._block(pfn, words[1], order, options)
        for pfn in range(start, end):
            if not zero and words[1] != "hwpoison":
                self.memory[pfn] = struct.pack(self.order + "QQ", pfn, 0x5EED)

    def _block(self, pfn: int, kind: str, order: int, options: dict[str, int]) -> None:
        layout, values = self.layout, self._values(kind, order)
        if kind == "hwpoison":
            self.set(pfn, flags=self.get(pfn, "flags") | layout.mask("hwpoison"))
            return
        if order and kind not in _BLOCKS:
            values["flags"] |= layout.mask("head")
            self._tails(pfn, kind, order)
        if kind in _BLOCKS:
            claimed = 1 << min(max(order, options.get("private", 0)), 10)
            for member in range(pfn, min(pfn + claimed, (pfn // SECTION + 1) * SECTION)):
                self.set(member, flags=0, mapping=0, private=0, head=0, kind=_U32, refcount=0)
        self.set(pfn, **{**values, **options})

    def _values(self, kind: str, order: int) -> dict[str, int]:
        mask, types = self.layout.mask, self.layout.types
        lru = mask("lru") | 8
        anonymous = {"flags": lru | mask("swapbacked"), "mapping": _POINTER | 1, "kind": 0}
        return {
            "kernel": {"flags": 0},
            "hwpoison": {},
            "user": anonymous,
            "thp": anonymous,
            "cache": {"flags": lru, "mapping": _POINTER},
            "cache_private": {"flags": lru | mask("private"), "mapping": _POINTER, "private": 1},
            "swapcache": {"flags": mask("swapcache") | mask("swapbacked"), "mapping": 0},
            "free": {"flags": 0, "kind": types.get("buddy", _U32), "private": order},
            "unaccepted": {"flags": 0, "kind": types.get("unaccepted", _U32)},
            "offline": {"flags": 0, "kind": types.get("offline", _U32)},
            "slab": {"flags": mask("slab"), "kind": types.get("slab", 0x00200010), "mapping": 0},
            "hugetlb": {"flags": 0, "kind": types.get("hugetlb", 0), "mapping": _POINTER},
        }[kind]

    def tail_mark(self, pfn: int, order: int) -> int:
        """Return the compound_head or compound_info word of a tail of the compound page at ``pfn``."""
        if self.layout.head_key == "compound_info":
            return (_U64 << order + 6 & _U64) | 1
        return self.vmemmap + pfn * STRUCT_PAGE | 1

    def _tails(self, pfn: int, kind: str, order: int) -> None:
        """Struct pages of a compound page's tails."""
        layout = self.layout
        mark = self.tail_mark(pfn, order)
        noise = _NOISE if layout.head_key else _NOISE & ~1
        for tail in range(pfn + 1, pfn + (1 << order)):
            self.set(tail, flags=0, kind=_U32, head=mark, mapping=noise, private=3)
        if layout.order == "dtor":
            dtor = {"hugetlb": 2, "thp": 3}.get(kind, 1)
            for at, value in ((layout.order_at, order), (layout.dtor_at, dtor)):
                self.poke(pfn + 1, at, struct.pack(self.order + {1: "B", 2: "H", 4: "I"}[layout.width], value))
        else:
            hugetlb = layout.mask("hugetlb") if kind == "hugetlb" else 0
            self.set(pfn + 1, flags=order | hugetlb)

    def poke(self, pfn: int, at: int, data: bytes) -> None:
        """Store bytes in a struct page."""
        place = pfn % SECTION * STRUCT_PAGE + at
        self.maps[pfn // SECTION][place : place + len(data)] = data

    def set(self, pfn: int, **fields: int) -> None:
        """Set fields of a struct page."""
        for name, value in fields.items():
            code, mask = ("I", _U32) if name in ("kind", "refcount") else ("Q", _U64)
            self.poke(pfn, getattr(self.layout, name), struct.pack(self.order + code, value & mask))

    def get(self, pfn: int, name: str) -> int:
        """A field of a struct page."""
        found: int
        (found,) = struct.unpack_from(
            self.order + ("I" if name in ("kind", "refcount") else "Q"),
            self.struct_page(pfn),
            getattr(self.layout, name),
        )
        return found

    def struct_page(self, pfn: int) -> bytes:
        """A struct page as stored."""
        at = pfn % SECTION * STRUCT_PAGE
        return bytes(self.maps[pfn // SECTION][at : at + STRUCT_PAGE])

    def frames(self) -> list[int]:
        """The existing page frames."""
        return [pfn for start, end in self.ram for pfn in range(start // PAGE, end // PAGE)]

    def contents(self) -> dict[int, bytes]:
        """Return the content of each page frame."""
        filled = self._physical()
        return {pfn: filled.get(pfn, b"").ljust(PAGE, b"\0") for pfn in self.frames()}

    def map_at(self, section: int) -> int:
        """Physical address of a section's struct pages."""
        if section == self.sections[0]:
            return self.base + _MAPS[0]
        return self.base + _MAPS[1] + (self.sections.index(section) - 1) * SECTION * STRUCT_PAGE

    def _keys(self) -> dict[str, str]:
        sections = self.base + KERNEL + 7 * PAGE
        return {
            "OSRELEASE": self.layout.release, "PAGESIZE": str(PAGE),
            "SYMBOL(init_uts_ns)": f"{IMAGE + 11 * PAGE:x}", "OFFSET(uts_namespace.name)": "0",
            "SYMBOL(node_online_map)": f"{IMAGE + 12 * PAGE:x}",
            "SYMBOL(swapper_pg_dir)": f"{IMAGE:x}", "SYMBOL(_stext)": f"{IMAGE:x}",
            "SYMBOL(vmap_area_list)": f"{IMAGE + 13 * PAGE:x}",
            "SYMBOL(mem_section)": f"{DIRECT + sections:x}", "LENGTH(mem_section)": "2048",
            "SIZE(mem_section)": "16", "OFFSET(mem_section.section_mem_map)": "0",
            "NUMBER(SECTION_SIZE_BITS)": "27", "NUMBER(MAX_PHYSMEM_BITS)": "46",
            **self.layout.keys(),
            "NUMBER(phys_base)": str(self.base + PHYS_BASE),
            ("SYMBOL(init_level4_pgt)" if self.layout.release < "4.13" else "SYMBOL(init_top_pgt)"): f"{IMAGE:x}",
            "KERNELOFFSET": "0", "NUMBER(KERNEL_IMAGE_SIZE)": str(1 << 30), "CRASHTIME": "1700000000",
        }  # fmt: skip

    def _tables(self) -> dict[int, bytes]:
        """Page tables, sections and names, by the number of their page in the kernel."""
        kernel = self.base + KERNEL

        def table(entries: dict[int, int]) -> bytes:
            return b"".join(struct.pack("<Q", entries.get(i, 0)) for i in range(512))

        def link(number: int) -> int:
            return kernel + number * PAGE | 0x63

        def index(vaddr: int, shift: int) -> int:
            return vaddr >> shift & 511

        maps = {index(VMEMMAP, 21) + s: self.map_at(s) | 0xE3 for s in self.sections}
        sections = {s * 2: VMEMMAP | 7 for s in self.sections if s not in self.nomap}
        names = ("Linux", "testbox", self.layout.release, "#1 SMP", "x86_64", "(none)")
        return {
            0: table({index(DIRECT, 39): link(1), index(KERNEL_MAP, 39): link(2), index(VMEMMAP, 39): link(4)}),
            1: table({0: 0xE3}),
            2: table({index(IMAGE, 30): link(3)}),
            3: table({index(IMAGE, 21): kernel | 0xE3}),
            4: table({index(VMEMMAP, 30): link(5)}),
            5: table(maps),
            6: table(sections),
            7: table({0: DIRECT + kernel + 6 * PAGE}),
            11: b"".join(name.encode().ljust(65, b"\0") for name in names),
        }

    def _physical(self) -> dict[int, bytes]:
        """Pages that are not full of zeros, by page frame number."""
        found = dict(self.memory)
        for section, data in self.maps.items():
            first = self.map_at(section) // PAGE
            for i in range(len(data) // PAGE):
                found[first + i] = bytes(data[i * PAGE : (i + 1) * PAGE])
        for number, page in self._tables().items():
            found[(self.base + KERNEL) // PAGE + number] = page
        return {**found, **self.edits}

    def vmcoreinfo(self) -> bytes:
        """The text."""
        return "".join(f"{key}={value}\n" for key, value in self.keys.items()).encode()

    def notes(self, text: bytes | None = None) -> bytes:
        """Its notes; ``text``: replaces its VMCOREINFO, empty for no text."""
        found = prstatus(1, bytes(216))
        text = self.vmcoreinfo() if text is None else text
        return found + (note(b"VMCOREINFO\0", 0, text) if text else b"")

    def write(self, path: Path, text: bytes | None = None) -> Path:
        """Write the machine as a (sparse) ELF core; returns ``path``."""
        notes = self.notes(text)
        loads = [
            (IMAGE, self.base + KERNEL, 2 * MIB),
            *((DIRECT + start, start, end - start) for start, end in self.ram),
        ]
        base = 4 * PAGE
        assert 64 + 56 * (len(loads) + 1) + len(notes) <= base
        places = {}
        at = base
        for start, end in self.ram:
            places[start] = at
            at += end - start
        table = struct.pack("<IIQQQQQQ", 4, 0, 64 + 56 * (len(loads) + 1), 0, 0, len(notes), len(notes), 4)
        for vaddr, paddr, size in loads:
            table += struct.pack("<IIQQQQQQ", 1, 7, self._place(places, paddr), vaddr, paddr, size, size, PAGE)
        head = struct.pack(
            "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 4, 62, 1, 0, 64, 0, 0, 64, 56, len(loads) + 1, 0, 0, 0
        )
        return self._fill(path, head + table + notes, at, places)

    def _fill(self, path: Path, start: bytes, size: int, places: dict[int, int]) -> Path:
        """A sparse file of ``size`` bytes: its start, and pages at ``places``."""
        with path.open("wb") as file:
            file.truncate(size)
            file.write(start)
            for pfn, page in sorted(self._physical().items()):
                file.seek(self._place(places, pfn * PAGE))
                file.write(page)
        return path

    def _place(self, places: dict[int, int], paddr: int) -> int:
        """Return the file offset of a physical address."""
        start = next(start for start, end in self.ram if start <= paddr < end)
        return places[start] + paddr - start


#: Pages of every kind, in both sections.
EVERYTHING = """
0x100-0x17f kernel
0x180-0x18f kernel zero=1
0x200-0x23f cache
0x240-0x25f cache_private
0x260-0x27f user
0x280-0x28f swapcache
0x290-0x297 user zero=1
0x300-0x3ff free order=8
0x400-0x5ff hugetlb order=9
0x600-0x7ff thp order=9
0x800-0x81f slab mapping=1
0x820-0x82f offline
0x830-0x833 hwpoison
0x840-0x847 kernel order=3
0x850-0x857 cache order=2
0x860-0x86f slab order=3 mapping=1
0x870-0x877 user
0x872 hwpoison
0x10200-0x103ff thp order=9
0x10400-0x107ff free order=10
"""
#: Pages of a type that some of the kernels have; makedumpfile leaves them out.
UNACCEPTED = "0xc00-0xfff unaccepted order=10\n"
#: Pages of every class. One that makedumpfile keeps stands here alone: the oracle's machines have the two above.
EVERY_CLASS = EVERYTHING + UNACCEPTED
