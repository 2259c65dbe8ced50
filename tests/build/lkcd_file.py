"""LKCD dumps of s390x made by hand, after ``zdump/df_lkcd.h`` of s390-tools; nothing here uses the code under test."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

PAGE = 4096
END = struct.pack(">QII", 0, 0, 4)


def rle(page: bytes) -> bytes:
    """Run-length encoding: zero, count, byte; or zero, zero for a single one."""
    out, at = b"", 0
    while at < len(page):
        count = 1
        while at + count < len(page) and page[at + count] == page[at] and count < 255:
            count += 1
        if count > 3 or (page[at] == 0 and count > 1):
            out += bytes((0, count, page[at]))
        else:
            out += (b"\0\0" if page[at] == 0 else page[at : at + 1]) * count
        at += count
    return out


def record(address: int, page: bytes, method: int = 0) -> bytes:
    """One page; an incompressible one is stored uncompressed."""
    packed = {0: page, 1: rle(page) if method == 1 else b"", 2: zlib.compress(page, 1) if method == 2 else b""}[method]
    if method == 0 or len(packed) >= len(page):
        return struct.pack(">QII", address, len(page), 1) + page
    return struct.pack(">QII", address, len(packed), 2) + packed


@dataclass
class Lkcd:
    """A dump of ``memory``. ``pages``: addresses with a record, in order; None: all."""

    memory: bytes
    method: int = 0
    pages: list[int] | None = None
    prefixes: tuple[int, ...] = ()
    end: bytes = END
    machine: bytes = b"s390x"
    page_size: int = PAGE
    mem_end: int | None = None
    asm_magic: int = 0x733339302D64756D
    extra: list[bytes] = field(default_factory=list)

    def header(self) -> bytes:
        """The first 64 KiB."""
        end = len(self.memory) if self.mem_end is None else self.mem_end
        out = bytearray(0x10000)
        struct.pack_into(">QIIIIQQQI", out, 0, 0xA8190173618F23ED, 8, 0x2DE, 4, self.page_size, end, 0, end, 0)
        out[0x34:0x3C] = b"Panic!\0\0"
        struct.pack_into(">QQ", out, 0x134, 1300000000, 5)
        for i, name in enumerate((b"Linux", b"box", b"2.6.32", b"#1 SMP", self.machine, b"(none)")):
            out[0x144 + i * 65 : 0x144 + i * 65 + len(name)] = name
        struct.pack_into(">QIII", out, 0x2CA, 0, self.method, 0, 0)
        struct.pack_into(">QIIHH", out, 0x2DE, self.asm_magic, 1, 0x814, len(self.prefixes), 7)
        struct.pack_into(f">{len(self.prefixes)}I", out, 0x2DE + 20, *self.prefixes)
        return bytes(out)

    def build(self) -> bytes:
        """The file."""
        pages = range(0, len(self.memory), PAGE) if self.pages is None else self.pages
        rows = [record(at, self.memory[at : at + PAGE], self.method) for at in pages]
        return b"".join([self.header(), *rows, *self.extra, self.end])
