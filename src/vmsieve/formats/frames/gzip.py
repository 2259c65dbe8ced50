"""Gzip members of 1 MiB each, which ``gzip -d`` joins, and which tell their sizes in a field of the header.

Source: RFC 1952. Numbers are little-endian. A member's header has no size, so that an ordinary gzip file, which is one
member, can only be read from its start on. Members written here have an extra field, as BGZF's have (SAM/BAM format
specification, 4.1), that tells how large the member is and what it unpacks to. Other programs pass over it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from vmsieve.formats.errors import CorruptError, TruncatedError
from vmsieve.formats.frames import PIECE_LIMIT, STEP, Frame, NotSeekableError, Piece, missing, some

if TYPE_CHECKING:
    from array import array
    from collections.abc import Generator, Iterator
    from typing import Callable

    from vmsieve.formats.files import ByteFile

__all__ = ["FRAME"]

_MAGIC: Final = b"\x1f\x8b\x08"  # and the only method there is
_EXTRA: Final = 4  # of the flags: there is an extra field
_UNKNOWN_SYSTEM: Final = 255
#: Magic, flags, time, extra flags, system, size of all extra fields; our field's name and size, bytes of the member,
#: bytes of its content.
_HEADER: Final = struct.Struct("<3sBIBBH2sHII")
_FIELD: Final = b"VS"
_FIELD_SIZE: Final = 8
_TRAILER: Final = struct.Struct("<II")  # CRC-32 and size of the content
_GZIP, _RAW = 31, -15  # window bits that stand for a format: with gzip's header and trailer, with none
#: Highest level that is left to ISA-L where there is one.
_FAST: Final = 3


def _package() -> Any:
    """ISA-L's twin of the zlib module, several times faster, or zlib itself."""
    try:
        from isal import isal_zlib
    except ImportError:
        return _zlib()
    return isal_zlib


def _zlib() -> Any:
    try:
        import zlib
    except ImportError as error:
        raise missing("gzip", "zlib") from error
    return zlib


def _packer(level: int) -> Callable[[bytearray], bytes]:
    package = _package() if level <= _FAST else _zlib()
    crc32 = _package().crc32

    def pack(content: bytearray) -> bytes:
        packer = package.compressobj(level, package.DEFLATED, _RAW)
        packed = packer.compress(content) + packer.flush()
        size = _HEADER.size + len(packed) + _TRAILER.size
        header = _HEADER.pack(
            _MAGIC, _EXTRA, 0, 0, _UNKNOWN_SYSTEM, 4 + _FIELD_SIZE, _FIELD, _FIELD_SIZE, size, len(content)
        )
        return b"".join((header, packed, _TRAILER.pack(crc32(content), len(content))))

    return pack


def _ending(packed: array[int], content: array[int]) -> bytes:
    del packed, content
    return b""


def _probe(start: bytes) -> bool:
    return start.startswith(_MAGIC)


def _pieces(file: ByteFile) -> Iterator[Piece]:
    at = 0
    while at < file.size:
        head = some(file, at, _HEADER.size)
        if _padding(head) and at:
            return
        if not _MAGIC.startswith(head[: len(_MAGIC)]):
            raise CorruptError("no gzip member begins where one should", file=file.name, offset=at)
        if len(head) < _HEADER.size:
            raise _cut_off(file, at)
        size, content = _sizes(head)
        there = min(size, file.size - at)
        yield Piece(at, there, content if there == size else None)
        if there < size:
            raise _cut_off(file, at)
        at += size


def _sizes(head: bytes) -> tuple[int, int]:
    """What our field tells: bytes of the member and of its content."""
    _, flags, _, _, _, _, field, field_size, size, content = _HEADER.unpack(head)
    if not flags & _EXTRA or (field, field_size) != (_FIELD, _FIELD_SIZE):
        raise NotSeekableError
    if size < _HEADER.size + _TRAILER.size or not 0 < content <= PIECE_LIMIT or size > 2 * PIECE_LIMIT:
        raise NotSeekableError
    return size, content


def _padding(head: bytes) -> bool:
    """Tapes and disks fill the last block with zeros; ``gzip -d`` says nothing of them."""
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
        head = some(file, at, _HEADER.size)
        if _padding(head) and at:
            return
        if at and not head.startswith(_MAGIC):
            raise CorruptError("no gzip member begins where one should", file=file.name, offset=at)
        at = yield from _member(file, at)


def _member(file: ByteFile, at: int) -> Generator[bytes, None, int]:
    """The content of the member at ``at``; returns where it ends."""
    package = _package()
    decoder, begun, data = package.decompressobj(_GZIP), at, b""
    while not decoder.eof:
        data = data or some(file, at, STEP)
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
    name="gzip",
    title="gzip",
    default_level=2,
    levels=(1, 9),
    block=1 << 20,
    packer=_packer,
    ending=_ending,
    probe=_probe,
    pieces=_pieces,
    unpack=_unpack,
    stream=_stream,
)
