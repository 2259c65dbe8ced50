"""VMDUMP files made by hand, after ``zdump/df_vmdump.h`` of s390-tools; nothing here uses the code under test."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

PAGE, GROUP = 4096, 4096 * 4096


def cpu(number: int) -> dict[str, bytes]:
    """A processor's registers, each byte telling which."""

    def some(start: int, size: int) -> bytes:
        return bytes((start + number * 7 + i) & 0xFF for i in range(size))

    return {
        "gprs": some(1, 128), "psw": some(2, 16), "crs": some(3, 128), "fprs": some(4, 128), "acrs": some(5, 64),
        "prefix": struct.pack(">I", 0x14000 + number * 0x6000), "fpc": some(6, 4), "timer": some(7, 8),
        "clock": some(8, 8),
    }  # fmt: skip


_FIRST = {
    "gprs": 0x10, "prefix": 0x90, "timer": 0xA9, "psw": 0xC0, "crs": 0xD0, "fprs": 0x150, "clock": 0x1D1,
    "acrs": 0x230, "fpc": 0x3C8,
}  # fmt: skip
_OTHER = {
    "fprs": 0x10, "gprs": 0x90, "psw": 0x110, "prefix": 0x128, "fpc": 0x12C, "timer": 0x138, "clock": 0x140,
    "acrs": 0x150, "crs": 0x190,
}  # fmt: skip


def _block(size: int, places: dict[str, int], registers: dict[str, bytes]) -> bytearray:
    out = bytearray(size)
    for name, at in places.items():
        out[at : at + len(registers[name])] = registers[name]
    return out


@dataclass
class Vmdump:
    """A dump of pages, by page frame number; ``size``: bytes of memory."""

    pages: dict[int, bytes]
    size: int
    cpus: int = 2
    kind: int = 2
    ranges: list[tuple[int, int]] | None = None
    tod: int = 0xDE33460DEB090000
    record_info: int = 3
    stray: int = 0xFE  # the other bits of a page's key
    extra: dict[str, int] = field(default_factory=dict)

    def records(self) -> bytes:
        """All before the bitmaps."""
        symptom = bytearray(PAGE)
        symptom[:2] = b"\xe2\xd9"
        struct.pack_into(">I6sIQ", symptom, 2, 0x00012964, b"\x00\x00\x00\x12\x34\x56", 0, self.tod)
        symptom[0x22:0x2A] = "LNXBOX".ljust(8).encode("cp037")
        symptom[0x38:0x40] = "VMDUMP  ".encode("cp037")
        info = _block(0x450, _FIRST, cpu(0))
        info[0xBB] = self.kind
        struct.pack_into(">H", info, 0x390, self.cpus - 1)
        for number in range(1, self.cpus):
            info += _block(0x228, _OTHER, cpu(number))
        info += bytes(-len(info) % PAGE)
        access = self.record_info + len(info) // PAGE
        file_map = b"HCPDFMBK".decode("ascii").encode("cp037") + struct.pack(">III", self.record_info, 0, access)
        space = bytearray(PAGE)
        space[:8] = "ASIZBK  ".encode("cp037")
        ranges = [(0, self.size - 1)] if self.ranges is None else self.ranges
        struct.pack_into(">Q", space, 0x48, self.size)
        struct.pack_into(">I", space, 0xD8, len(ranges))
        for i, one in enumerate(ranges):
            struct.pack_into(">QQ", space, 0x160 + 16 * i, *one)
        listed = "HCPDALBK".encode("cp037").ljust(PAGE, b"\0")
        gap = bytes((self.record_info - 3) * PAGE)
        return bytes(symptom) + file_map.ljust(PAGE, b"\0") + gap + bytes(info) + listed + bytes(space)

    def bitmaps(self) -> bytes:
        """Index pages and key pages."""
        out = b""
        groups = sorted({pfn // 4096 for pfn in self.pages})
        for first in range(0, -(-self.size // PAGE), 32768 * 4096):
            index, keys = bytearray(PAGE), b""
            for group in (g - first // 4096 for g in groups if first <= g * 4096 < first + 32768 * 4096):
                index[group // 8] |= 0x80 >> group % 8
                base = first + group * 4096
                keys += bytes(self.stray | (base + i in self.pages) for i in range(4096))
            out += bytes(index) + keys
        return out

    def build(self) -> bytes:
        """The file."""
        return self.records() + self.bitmaps() + b"".join(self.pages[pfn] for pfn in sorted(self.pages))


def pages_of(memory: bytes) -> dict[int, bytes]:
    """The pages of ``memory`` that are not zero."""
    rows = {at // PAGE: memory[at : at + PAGE] for at in range(0, len(memory), PAGE)}
    return {pfn: page for pfn, page in rows.items() if any(page)}
