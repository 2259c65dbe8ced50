"""Disks of zfcpdump made by hand, after ``include/boot/boot_defs.h`` of s390-tools."""

from __future__ import annotations

import struct

PART = 0x20000


def cksm(data: bytes, total: int = 0x12345678) -> int:
    """The sum of words with carry around."""
    for at in range(0, len(data), 4):
        total += int.from_bytes(data[at : at + 4].ljust(4, b"\0"), "big")
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def disk(content: bytes, *, size: int = 1 << 20, magic: int = 0x5A46435044554D50, room: int = 1 << 19) -> bytes:
    """A disk whose partition begins with ``content``; the superblock is behind the boot block."""
    out = bytearray(PART + size)
    out[:4] = b"zIPL"
    out[0x70:0x77] = b"zIPL\x01\x01\x02"
    struct.pack_into(">Q", out, 0x78, 0x3000)
    out[PART : PART + len(content)] = content
    sums = cksm(bytes(out[PART : PART + 4096]))
    struct.pack_into(">9Q", out, 0x3000, magic, 1, PART, size, 0, room, 0, 4096, sums)
    return bytes(out)
