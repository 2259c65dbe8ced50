"""ELF cores made by hand: ordinary ones from a recipe, and unusual ones segment by segment."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.build.notes import ORDERS
from tests.build.pages import PAGE, Page, parse

DIRECT = 0xFFFF888000000000


@dataclass
class Load:
    """A PT_LOAD segment. None is computed: sizes from ``data``, the offset from the preceding segments."""

    paddr: int
    data: bytes = b""
    memsz: int | None = None
    vaddr: int | None = None
    filesz: int | None = None
    offset: int | None = None


@dataclass
class Core:
    """An ELF core. ``notes`` are the contents of its PT_NOTE segments.

    ``extended`` puts the number of program headers into section header 0 (PN_XNUM), however small it is.
    """

    loads: list[Load]
    notes: tuple[bytes, ...] = ()
    order: str = "little"
    machine: int = 62
    kind: int = 4
    flags: int = 0
    ehsize: int = 64
    phoff: int = 64
    phentsize: int = 56
    phnum: int | None = None
    sections: tuple[int, int, int] = (0, 0, 0)
    shoff: int = 0
    extended: bool = False

    def build(self) -> bytes:
        """The file."""
        order = ORDERS[self.order]
        count = len(self.loads) + len(self.notes)
        self.shoff = self.phoff + count * self.phentsize if self.extended else self.shoff
        at = self.phoff + count * self.phentsize + (64 if self.extended else 0)
        headers, contents = [], []
        for content in self.notes:
            headers.append(struct.pack(order + "IIQQQQQQ", 4, 0, at, 0, 0, len(content), len(content), 0))
            contents.append(content)
            at += len(content)
        for load in self.loads:
            filesz = len(load.data) if load.filesz is None else load.filesz
            memsz = filesz if load.memsz is None else load.memsz
            vaddr = (DIRECT + load.paddr) % (1 << 64) if load.vaddr is None else load.vaddr
            offset = at if load.offset is None else load.offset
            headers.append(struct.pack(order + "IIQQQQQQ", 1, 7, offset, vaddr, load.paddr, filesz, memsz, 0))
            contents.append(load.data)
            at += len(load.data)
        table = b"".join(header.ljust(self.phentsize, b"\xee") for header in headers)
        body = self._head(count).ljust(self.phoff, b"\xee") + table
        if self.extended:
            body += struct.pack(order + "IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, self._count(count), 0, 0)
        return body + b"".join(contents)

    def _count(self, count: int) -> int:
        return count if self.phnum is None else self.phnum

    def _head(self, count: int) -> bytes:
        ident = b"\x7fELF" + bytes([2, 1 if self.order == "little" else 2, 1]) + bytes(9)
        number = 0xFFFF if self.extended else self._count(count)
        return struct.pack(
            ORDERS[self.order] + "16sHHIQQQIHHHHHH",
            ident, self.kind, self.machine, 1, 0, self.phoff, self.shoff, self.flags,
            self.ehsize, self.phentsize, number, *self.sections,
        )  # fmt: skip


def loads(pages: list[Page], page_size: int = PAGE) -> list[Load]:
    """Segments of the pages: a new one at each hole, and at stored pages after left-out ones."""
    found: list[Load] = []
    end = -1
    for page in pages:
        stored = page.kind == "stored"
        last = found[-1] if found else None
        if last is None or page.pfn != end or (stored and len(last.data) != last.memsz):
            last = Load(page.pfn * page_size, b"", 0)
            found.append(last)
        if stored:
            last.data += page.data
        last.memsz = (last.memsz or 0) + page_size
        end = page.pfn + 1
    return found


def core(recipe: str, notes: bytes = b"", order: str = "little", machine: int = 62) -> bytes:
    """The ELF core of a recipe."""
    return Core(loads(parse(recipe)), (notes,), order, machine).build()
