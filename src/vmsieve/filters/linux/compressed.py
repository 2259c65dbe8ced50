"""Compressed data in physical memory, checked against their own checksums.

Streams: RFC 1952 (gzip), the .xz file format, bzip2, RFC 8878 (Zstandard). Archives: cpio's newc, as in
Documentation/driver-api/early-userspace/buffer-format.rst: plain and compressed archives in any order, zeros between.
"""

from __future__ import annotations

from vmsieve.formats.errors import ReadError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from vmsieve.formats.inputs import Source

#: Magic numbers of cpio archives.
ARCHIVES: Final = (b"070701", b"070702")
_GZIP, _XZ, _BZIP2, _ZSTD = b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"BZh", b"\x28\xb5\x2f\xfd"
#: Magic numbers of compressed ones. The last (lz4, lzop, lzma) have no checksum or are not unpacked here.
MAGICS: Final = (
    _GZIP, _XZ, _BZIP2, _ZSTD, b"\x02\x21\x4c\x18", b"\x04\x22\x4d\x18", b"\x89LZO\0", b"\x5d\0\0",
)  # fmt: skip
_PIECE: Final = 64 << 10
_UNPACKED_AT_ONCE: Final = 1 << 20
#: Memory limit for unpacking: xz -9 needs this much.
_WINDOW: Final = 128 << 20
#: Most archives in an initial RAM disk, which has two or three.
_MEMBERS: Final = 64
_CPIO_HEADER: Final = 110
_CPIO_NAME_MOST: Final = 4096
_TRAILER: Final = b"TRAILER!!!\0"


class _Memory:
    """Physical memory ``at .. end``, read like a file."""

    def __init__(self, source: Source, at: int, end: int) -> None:
        self._source = source
        self.at = at
        self._end = end

    def read(self, size: int) -> bytes:
        """Read the next bytes; fewer at the end."""
        out = bytearray(min(size, self._end - self.at))
        self._source.read_into(self.at, memoryview(out))
        self.at += len(out)
        return bytes(out)

    def peek(self, size: int) -> bytes:
        """Read the next bytes without moving."""
        at = self.at
        out = self.read(size)
        self.at = at
        return out

    def skip_zeros(self) -> bool:
        """Move to the next byte that is not zero; False if there is none."""
        while self.at < self._end:
            piece = self.peek(_PIECE)
            rest = piece.lstrip(b"\0")
            self.at += len(piece) - len(rest)
            if rest:
                return True
        return False


def verify_stream(source: Source, start: int, end: int) -> bool | None:
    """True if the checksum of the compressed stream at ``start`` matches; None if it can't be checked."""
    try:
        return _stream(_Memory(source, start, end))
    except ReadError:
        return None


def verify_archive(source: Source, start: int, end: int) -> bool | None:
    """True if the checksums of the initial RAM disk match; None if a part of it can't be checked.

    Plain archives have no checksums: only their headers are checked.
    """
    memory = _Memory(source, start, end)
    sure = True
    try:
        for _ in range(_MEMBERS):
            if not memory.skip_zeros():
                return sure or None
            packed = memory.peek(6) not in ARCHIVES
            right = _stream(memory) if packed else _archive(memory)
            if right is not True:
                return right
            sure &= packed
    except ReadError:
        pass
    return None


def all_zeros(source: Source, start: int, end: int) -> bool | None:
    """True if all of the memory is zero; None if it can't be read."""
    try:
        return not _Memory(source, start, end).skip_zeros()
    except ReadError:
        return None


def _archive(memory: _Memory) -> bool:
    """Walk through a cpio archive; False if it is damaged."""
    start = memory.at
    while True:
        header = memory.read(_CPIO_HEADER)
        try:
            size, name_size = int(header[54:62], 16), int(header[94:102], 16)
        except ValueError:
            return False
        if header[:6] not in ARCHIVES or len(header) < _CPIO_HEADER or not 0 < name_size <= _CPIO_NAME_MOST:
            return False
        name = memory.read(name_size)
        memory.at += -(memory.at - start) % 4
        if name == _TRAILER:
            return True
        memory.at += size + -size % 4
        if not memory.peek(1):
            return False


def _stream(memory: _Memory) -> bool | None:
    """Unpack the stream that begins here and move behind it; True and None only for a complete one."""
    magic = memory.peek(6)
    for begin, run in ((_GZIP, _gzip), (_XZ, _xz), (_BZIP2, _bzip2), (_ZSTD, _zstd)):
        if magic.startswith(begin):
            return run(memory)
    return None


def _gzip(memory: _Memory) -> bool:
    import zlib

    return _fed(memory, zlib.decompressobj(31), zlib.error)


def _xz(memory: _Memory) -> bool | None:
    import lzma

    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_WINDOW)
    right = _fed(memory, unpacker, lzma.LZMAError)
    return None if right and unpacker.check == lzma.CHECK_NONE else right


def _bzip2(memory: _Memory) -> bool:
    import bz2

    return _fed(memory, bz2.BZ2Decompressor(), OSError)


def _fed(memory: _Memory, unpacker: Any, error: type[Exception]) -> bool:
    try:
        while not unpacker.eof:
            # zlib returns the input that it did not use, the others keep it.
            data = getattr(unpacker, "unconsumed_tail", b"")
            if not data and getattr(unpacker, "needs_input", True):
                data = memory.read(_PIECE)
                if not data:
                    return False
            unpacker.decompress(data, _UNPACKED_AT_ONCE)
    except error:
        return False
    memory.at -= len(unpacker.unused_data)
    return True


def _zstd(memory: _Memory) -> bool | None:
    from vmsieve.formats.frames._single import check_frame

    right, behind = check_frame(memory.read)
    memory.at -= behind
    return right
