"""Compressed files made by hand or by the codecs' packages: as vmsieve writes them, and as others do."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from typing import Callable

import lz4.frame
import zstandard

Maker = Callable[[bytes], bytes]

BLOCK = 3000


def blocks(content: bytes, size: int = BLOCK) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


def zstd_frame(content: bytes, *, sized: bool = True, window: int = 0) -> bytes:
    """One frame, with or without its content size; ``window`` is the window's logarithm."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, **({"window_log": window} if window else {}), write_checksum=True, write_content_size=sized
    )
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=len(content) if sized else -1)
    packed: bytes = packer.compress(content) + packer.flush()
    return packed


def skippable(content: bytes, number: int = 0) -> bytes:
    return struct.pack("<II", 0x184D2A50 + number, len(content)) + content


def seek_table(entries: list[tuple[int, int]], *, checksums: bool = False, reserved: int = 0) -> bytes:
    """A seek table of packed and unpacked sizes."""
    rows = b"".join(struct.pack("<II", *entry) + (b"csum" if checksums else b"") for entry in entries)
    descriptor = (0x80 if checksums else 0) | reserved
    return skippable(rows + struct.pack("<IBI", len(entries), descriptor, 0x8F92EAB1), 0xE)


def zstd_seekable(content: bytes, size: int = BLOCK, *, checksums: bool = False) -> bytes:
    packed = [zstd_frame(block) for block in blocks(content, size)]
    entries = [(len(one), len(block)) for one, block in zip(packed, blocks(content, size))]
    return b"".join(packed) + seek_table(entries, checksums=checksums)


def zstd_rows(content: bytes) -> bytes:
    """Frames of different sizes, some without content size, with empty and skippable ones; no table."""
    out = [skippable(b"hello"), zstd_frame(b"")]
    at = 0
    while at < len(content):
        size = 1000 + at % 3001
        out += [zstd_frame(content[at : at + size], sized=at % 2 == 0), skippable(bytes(at % 5))]
        at += size
    return b"".join(out)


def zstd_bomb(size: int, *, sized: bool = False) -> bytes:
    """A zstd frame of ``size`` zeros in RLE blocks."""
    header = b"\x28\xb5\x2f\xfd" + (b"\xc0\x40" + size.to_bytes(8, "little") if sized else b"\x00\x40")
    block = ((131072 << 3) | 2).to_bytes(3, "little") + b"\0"
    return (
        header + block * (size // 131072 - 1) + (int.from_bytes(block[:3], "little") | 1).to_bytes(3, "little") + b"\0"
    )


def lz4_rows(content: bytes) -> bytes:
    """One frame per block."""
    return b"".join(
        lz4.frame.compress(block, block_linked=False, content_checksum=True, store_size=True)
        for block in blocks(content)
    )


def lz4_one(
    content: bytes, *, linked: bool = False, checksums: bool = True, size: int = 4, sized: bool = False
) -> bytes:
    """One frame of all content, in blocks of ``4 ** size * 256`` bytes."""
    with lz4.frame.LZ4FrameCompressor(
        block_size=size, block_linked=linked, block_checksum=checksums, content_checksum=checksums
    ) as packer:
        out: bytes = packer.begin(len(content) if sized else 0)
        out += packer.compress(content) + packer.flush()
        return out


def gzip_member(content: bytes, field: bytes = b"VS", *, size: int | None = None, sized: int | None = None) -> bytes:
    """One member with vmsieve's field, or another."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packer.compress(content) + packer.flush()
    total = 10 + 2 + 12 + len(packed) + 8 if size is None else size
    extra = field + struct.pack("<HII", 8, total, len(content) if sized is None else sized)
    header = b"\x1f\x8b\x08\x04" + bytes(4) + b"\x00\xff" + struct.pack("<H", len(extra)) + extra
    return header + packed + struct.pack("<II", zlib.crc32(content), len(content))


def gzip_rows(content: bytes) -> bytes:
    return b"".join(gzip_member(block) for block in blocks(content))


def gzip_named(content: bytes) -> bytes:
    """A file as ``gzip FILE`` writes it: one member with a name."""
    out = io.BytesIO()
    with gzip.GzipFile("vmcore", "wb", fileobj=out) as file:
        file.write(content)
    return out.getvalue()


#: Files that can be read at random.
SEEKABLE: dict[str, Maker] = {
    "zstd-table": zstd_seekable,
    "zstd-table-checksums": lambda c: zstd_seekable(c, checksums=True),
    "zstd-rows": zstd_rows,
    "zstd-small": zstd_frame,
    "zstd-small-unsized": lambda c: zstd_frame(c, sized=False, window=17),
    "lz4-rows": lz4_rows,
    "lz4-blocks": lz4_one,
    "lz4-blocks-sized": lambda c: lz4_one(c, sized=True, checksums=False),
    "lz4-two-kinds": lambda c: lz4_one(c[:100_001]) + skippable(b"x") + lz4_one(c[100_001:], checksums=False, size=5),
    "gzip-rows": gzip_rows,
    "gzip-padded": lambda c: gzip_rows(c) + bytes(1000),
}  # fmt: skip

#: Files that can't.
SEQUENTIAL: dict[str, Maker] = {
    "zstd-window": lambda c: zstd_frame(c, sized=False, window=24),
    "lz4-linked": lambda c: lz4_one(c, linked=True),
    "lz4-mixed": lambda c: lz4_rows(c[:9000]) + lz4_one(c[9000:], linked=True),
    "gzip-one": gzip_named,
    "gzip-two": lambda c: gzip_named(c[:20_000]) + gzip_rows(c[20_000:]),
    "gzip-then-plain": lambda c: gzip_rows(c[:20_000]) + gzip_named(c[20_000:]) + bytes(100),
}  # fmt: skip

EVERY: dict[str, Maker] = {**SEEKABLE, **SEQUENTIAL}
