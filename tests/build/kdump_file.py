"""kdump-compressed files made by hand, of any header version and either byte order."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.build.notes import ORDERS
from tests.build.packing import FLAGS, pack
from tests.build.pages import PAGE, Page, parse

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Kdump:
    """A kdump-compressed file.

    Attributes:
        pages: Its pages.
        version: Of the header; fields of later versions are filled with ones, which a reader must ignore.
        order: Byte order.
        page_size: Bytes.
        notes: ELF notes, stored from version 4 on.
        vmcoreinfo: Text stored separately, since version 3.
        max_mapnr: One above the highest page frame; computed if None.
        status: Status bits other than the codecs'.
        single_bitmap: Only one bitmap, as the oldest writers made it.
        fields: Sub-header fields to override, by name.
        main: Main header fields to override, by name.
        sub_blocks: Blocks of the sub-header; computed if None.
        part: Page frames whose descriptors and data are in this file of a split dump; ``fields`` must agree.
    """

    pages: list[Page]
    version: int = 6
    order: str = "little"
    page_size: int = PAGE
    notes: bytes = b""
    vmcoreinfo: bytes = b""
    max_mapnr: int | None = None
    status: int = 0
    dump_level: int = 0
    machine: bytes = b"x86_64"
    single_bitmap: bool = False
    fields: dict[str, int] = field(default_factory=dict)
    main: dict[str, int] = field(default_factory=dict)
    sub_blocks: int | None = None
    part: tuple[int, int] | None = None
    #: For each stored page: offset of the descriptor, offset and size of the data.
    places: dict[int, tuple[int, int, int]] = field(default_factory=dict)

    def build(self) -> bytes:
        """The file."""
        size = self.page_size
        limit = max((p.pfn for p in self.pages), default=0) + 1 if self.max_mapnr is None else self.max_mapnr
        extra = self._extra()
        sub_blocks = -(-(104 + len(extra)) // size) if self.sub_blocks is None else self.sub_blocks
        bitmap = -(-limit // (8 * size)) * size
        exists, stored = bytearray(bitmap), bytearray(bitmap)
        for page in self.pages:
            exists[page.pfn // 8] |= 1 << page.pfn % 8
            if page.kind != "exclude":
                stored[page.pfn // 8] |= 1 << page.pfn % 8
        maps = bytes(stored) if self.single_bitmap else bytes(exists + stored)
        start = (1 + sub_blocks) * size
        table, data = self._data(start + len(maps))
        head = self._main(sub_blocks, len(maps) // size, limit).ljust(size, b"\0")
        sub = (self._sub(limit) + extra).ljust(sub_blocks * size, b"\0")
        return head + sub + maps + table + data

    def pieces(self) -> list[tuple[int, bytes]]:
        """The file without the zeros of its bitmaps, which may be of any size: pieces by offset."""
        size, limit, extra = self.page_size, self.pages[-1].pfn + 1, self._extra()
        bitmap = -(-limit // (8 * size)) * size
        exists: dict[int, bytearray] = {}
        stored: dict[int, bytearray] = {}
        for page in self.pages:
            for bits in (exists, stored) if page.kind != "exclude" else (exists,):
                block = bits.setdefault(page.pfn // (8 * size), bytearray(size))
                block[page.pfn // 8 % size] |= 1 << page.pfn % 8
        sub_blocks = -(-(104 + len(extra)) // size)
        start = (1 + sub_blocks) * size
        table, data = self._data(start + 2 * bitmap)
        found = [(0, self._main(sub_blocks, 2 * bitmap // size, limit)), (size, self._sub(limit) + extra)]
        for at, bits in ((start, exists), (start + bitmap, stored)):
            found += [(at + number * size, bytes(block)) for number, block in sorted(bits.items())]
        return [*found, (start + 2 * bitmap, table + data)]

    def write_sparse(self, path: Path) -> Path:
        """Write the file; the zeros of its bitmaps are holes."""
        with path.open("wb") as file:
            for at, data in self.pieces():
                file.seek(at)
                file.write(data)
        return path

    def _extra(self) -> bytes:
        """Notes, then the VMCOREINFO text, after the sub-header."""
        return self.notes + self.vmcoreinfo

    def _main(self, sub_blocks: int, bitmap_blocks: int, limit: int) -> bytes:
        status = self.status
        for page in self.pages:
            status |= FLAGS[page.codec]
        values = {
            "version": self.version, "seconds": 1_700_000_000, "microseconds": 5, "status": status,
            "block_size": self.page_size, "sub_hdr_size": sub_blocks, "bitmap_blocks": bitmap_blocks,
            "max_mapnr": min(limit, 0xFFFFFFFF), "total_ram_blocks": 0, "device_blocks": 0, "written_blocks": 0,
            "current_cpu": 0, "nr_cpus": 2,
        } | self.main  # fmt: skip
        names = (b"Linux", b"node", b"6.1.0", b"#1 SMP", self.machine, b"(none)")
        utsname = b"".join(name.ljust(65, b"\0") for name in names)
        version, *rest = values.values()
        return struct.pack(ORDERS[self.order] + "8si390s6xqqIiiIIIIIIi", b"KDUMP   ", version, utsname, *rest)

    def _sub(self, limit: int) -> bytes:
        after = self.page_size + 104
        has_notes = bool(self.notes)
        has_text = bool(self.vmcoreinfo)
        values = {
            "phys_base": 0x1000000, "dump_level": self.dump_level, "split": 0, "start_pfn": 0, "end_pfn": 0,
            "offset_vmcoreinfo": (after + len(self.notes)) * has_text, "size_vmcoreinfo": len(self.vmcoreinfo),
            "offset_note": after * has_notes, "size_note": len(self.notes),
            "offset_eraseinfo": 0, "size_eraseinfo": 0, "start_pfn_64": 0, "end_pfn_64": 0, "max_mapnr_64": limit,
        } | self.fields  # fmt: skip
        since = (0, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 6)
        raw = bytearray()
        for (_, value), code, first in zip(values.items(), "QiiQQqQqQqQQQQ", since):
            packed = struct.pack(ORDERS[self.order] + code, value)
            raw += packed if self.version >= first else b"\xff" * len(packed)
        return bytes(raw)

    def _data(self, start: int) -> tuple[bytes, bytes]:
        """Descriptors and data; the block of zeros that zero pages share comes first."""
        stored = [page for page in self.pages if page.kind != "exclude"]
        table, data = bytearray(), bytearray(self.page_size)
        base = start + 24 * len(stored)
        room = len(stored) * 24
        if self.part is not None:
            stored = [page for page in stored if self.part[0] <= page.pfn < self.part[1]]
        for page in stored:
            packed = pack(page.codec, page.data)
            offset, size, flags = base + len(data), len(packed), FLAGS[page.codec]
            if page.kind == "missing":
                offset = size = flags = 0
            elif not page.codec and not any(page.data):
                offset = base
            else:
                data += packed
            self.places[page.pfn] = (start + len(table), offset, size)
            table += struct.pack(ORDERS[self.order] + "qIIQ", offset, size, flags, 0)
        return bytes(table).ljust(room, b"\0"), bytes(data)


def kdump(recipe: str, **options: object) -> bytes:
    """The kdump-compressed file of a recipe."""
    return Kdump(parse(recipe), **options).build()  # type: ignore[arg-type]
