"""Packers for repetitive pages, written from the formats' descriptions and not from the code under test.

lzo: ``Documentation/staging/lzo.rst`` of Linux. snappy: ``format_description.txt`` of snappy. zlib and zstd by the
reference libraries.
"""

from __future__ import annotations

import zlib

from tests.build.pages import period

#: Flag of each codec in a descriptor and in the main header: ``diskdump_mod.h`` of makedumpfile.
FLAGS = {"": 0, "zlib": 1, "lzo": 2, "snappy": 4, "zstd": 0x20}


def pack(codec: str, data: bytes) -> bytes:
    """``data`` as one page packed by ``codec``."""
    if codec == "zlib":
        return zlib.compress(data, 1)
    if codec == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=1).compress(data)
    if codec == "lzo":
        return _lzo(data, period(data))
    if codec == "snappy":
        return _snappy(data, period(data))
    assert not codec
    return data


def _lzo(data: bytes, distance: int) -> bytes:
    """The first ``distance`` bytes literally, then one match that copies them repeatedly."""
    literals = bytes([17 + distance]) if distance <= 238 else b"\0" + _lzo_length(distance - 18)
    match = b"\x20" + _lzo_length(len(data) - distance - 33) + ((distance - 1) << 2).to_bytes(2, "little")
    return literals + data[:distance] + match + b"\x11\0\0"


def _lzo_length(rest: int) -> bytes:
    """A length too large for the instruction: 255 for each zero byte, then the rest (1 to 255)."""
    zeros, last = divmod(rest - 1, 255)
    return bytes(zeros) + bytes([last + 1])


def _snappy(data: bytes, distance: int) -> bytes:
    out = bytearray()
    size = len(data)
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    out += b"\xf4" + (distance - 1).to_bytes(2, "little") + data[:distance]
    at = distance
    while at < len(data):
        length = min(64, len(data) - at)
        out += bytes([(length - 1) << 2 | 2]) + distance.to_bytes(2, "little")
        at += length
    return bytes(out)
