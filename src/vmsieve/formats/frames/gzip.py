"""Gzip members of 1 MiB, which ``gzip -d`` joins, with their sizes in a header field.

Source: RFC 1952. Numbers are little-endian. A plain gzip header has no size, so an ordinary gzip file (one member) is
unpacked sequentially. Members written here have an extra field, like BGZF's (SAM/BAM format specification, 4.1), with
the sizes of member and content; other programs skip it. See :mod:`vmsieve.formats.frames` for what that gains.
"""

from __future__ import annotations

import struct

from vmsieve.formats.errors import CorruptError, TruncatedError
from vmsieve.formats.frames import PIECE_LIMIT, STEP, Frame, NotSeekableError, Piece, missing_package, read_up_to
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Callable

    from vmsieve.formats.files import ByteFile

_MAGIC: Final = b"\x1f\x8b\x08"  # with the only method defined, deflate
_EXTRA: Final = 4  # flag: an extra field follows
_UNKNOWN_SYSTEM: Final = 255
#: Magic, flags, time, extra flags, system, size of all extra fields; our field's name and size, bytes of the member,
#: bytes of its content.
_HEADER: Final = struct.Struct("<3sBIBBH2sHII")
_FIELD: Final = b"VS"
_FIELD_SIZE: Final = 8
_TRAILER: Final = struct.Struct("<II")  # CRC-32 and size of the content
_GZIP, _RAW = 31, -15  # zlib's window bits that select a format: gzip's header and trailer, or neither
#: Highest level that ISA-L takes over.
_FAST: Final = 3


def _package() -> Any:
    """ISA-L's twin of the zlib module, several times faster; else zlib."""
    try:
        from isal import isal_zlib
    except ImportError:
        return _zlib()
    return isal_zlib


def _zlib() -> Any:
    try:
        import zlib
    except ImportError as error:
        raise missing_package("gzip", "zlib") from error
    return zlib


def _packer(level: int) -> Callable[[bytearray], bytes]:
    package = _package() if level <= _FAST else _zlib()
    crc32 = _package().crc32

    def pack(content: bytearray) -> bytes:
        packer = package.compressobj(level, package.DEFLATED, _RAW)
        packed = packer.compress(content) + packer.flush()
        size = _HEADER.size + len(packed) + _TRAILER.size
        extra = (4 + _FIELD_SIZE, _FIELD, _FIELD_SIZE, size, len(content))
        header = _HEADER.pack(_MAGIC, _EXTRA, 0, 0, _UNKNOWN_SYSTEM, *extra)
        return b"".join((header, packed, _TRAILER.pack(crc32(content), len(content))))

    return pack


def _probe(start: bytes) -> bool:
    return start.startswith(_MAGIC)


def _pieces(file: ByteFile) -> Iterator[Piece]:
    at = 0
    while at < file.size:
        head = read_up_to(file, at, _HEADER.size)
        if _padding(head) and at:
            return
        if not _MAGIC.startswith(head[: len(_MAGIC)]):
            raise CorruptError("no gzip member where one should begin", file=file.name, offset=at)
        if len(head) < _HEADER.size:
            raise _cut_off(file, at)
        size, content = _sizes(head)
        there = min(size, file.size - at)
        yield Piece(at, there, content if there == size else None)
        if there < size:
            raise _cut_off(file, at)
        at += size


def _sizes(head: bytes) -> tuple[int, int]:
    """Bytes of the member and of its content, from our field."""
    _, flags, _, _, _, _, field, field_size, size, content = _HEADER.unpack(head)
    if not flags & _EXTRA or (field, field_size) != (_FIELD, _FIELD_SIZE):
        raise NotSeekableError
    if size < _HEADER.size + _TRAILER.size or not 0 < content <= PIECE_LIMIT or size > 2 * PIECE_LIMIT:
        raise NotSeekableError
    return size, content


def _padding(head: bytes) -> bool:
    """True for zeros, with which tapes and disks fill the last block; ``gzip -d`` ignores them."""
    return not any(head)


def _cut_off(file: ByteFile, at: int) -> TruncatedError:
    return TruncatedError("the gzip file is cut off within a member", file=file.name, offset=at)


def _unpack(packed: bytes, room: int) -> bytes:
    package = _package()
    try:
        content: bytes = package.decompressobj(_GZIP).decompress(packed, room)
    except package.error as error:
        raise CorruptError(f"damaged gzip member: {error}") from error
    return content


def _stream(file: ByteFile) -> Iterator[bytes]:
    at = 0
    while at < file.size:
        head = read_up_to(file, at, _HEADER.size)
        if _padding(head) and at:
            return
        if at and not head.startswith(_MAGIC):
            raise CorruptError("no gzip member where one should begin", file=file.name, offset=at)
        at = yield from _member(file, at)


def _member(file: ByteFile, at: int) -> Generator[bytes, None, int]:
    """Yield the content of the member at ``at``; return its end."""
    package = _package()
    decoder, begun, data = package.decompressobj(_GZIP), at, b""
    while not decoder.eof:
        data = data or read_up_to(file, at, STEP)
        at += len(data)
        if not data:
            raise _cut_off(file, begun)
        try:
            content = decoder.decompress(data, STEP)
        except package.error as error:
            raise CorruptError(f"damaged gzip member: {error}", file=file.name, offset=begun) from error
        data = decoder.unconsumed_tail
        at -= len(data)
        if content:
            yield content
    return at - len(decoder.unused_data)


FRAME = Frame(
    name="gzip", title="gzip", default_level=2, levels=(1, 9), block=1 << 20,
    packer=_packer, probe=_probe, pieces=_pieces, unpack=_unpack, stream=_stream,
)  # fmt: skip
