"""Zstandard frames of 4 MiB with a seek table: the *seekable format*, an ordinary file to ``zstd -d``.

Sources: ``contrib/seekable_format/zstd_seekable_compression_format.md`` 0.1.0 and ``doc/zstd_compression_format.md``
(RFC 8878) of zstd. Numbers are little-endian. The seek table is a skippable frame at the end. Without it (full disk,
another program's file) frames are found by walking the block headers.
"""

from __future__ import annotations

import struct

from vmsieve.formats.errors import CorruptError, TruncatedError, UnsupportedError
from vmsieve.formats.frames import (
    PIECE_LIMIT,
    PIECES_LIMIT,
    ROWS_LIMIT,
    STEP,
    Frame,
    NotSeekableError,
    Piece,
    missing_package,
    read_up_to,
)
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator
    from typing import Callable

    from vmsieve.formats.files import ByteFile

_MAGIC: Final = 0xFD2FB528
#: Magic number of skippable frames, without its lowest four bits.
_SKIPPABLE: Final = 0x184D2A50
_SKIPPABLE_HEAD: Final = struct.Struct("<II")  # magic number, bytes that follow
_TABLE_MAGIC: Final = 0x184D2A5E
_FOOTER: Final = struct.Struct("<IBI")  # number of frames, descriptor, _SEEKABLE
_SEEKABLE: Final = 0x8F92EAB1
_TABLE_CHECKSUMS, _TABLE_RESERVED = 0x80, 0x7C
#: Entries of the table read at a time.
_ENTRIES: Final = 8192
#: Largest frame header: magic number, descriptor, window, dictionary, content size.
_HEADER_LIMIT: Final = 18
#: Largest window, which is held in memory: the zstd tool's default limit.
_WINDOW_LIMIT: Final = 1 << 27
#: Most blocks of a frame read at random; real blocks hold 1 KiB or more.
_BLOCKS_LIMIT: Final = 1 << 14
#: Most skippable frames that a probe skips.
_PROBED: Final = 8


@record(frozen=True)
class _Header:
    """A frame header: its size, content size (None: not stored), window size, checksum size."""

    size: int
    content: int | None
    window: int
    checksum: int


def _package() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise missing_package("zstd", "zstandard") from error
    return zstandard


def _packer(level: int) -> Callable[[bytearray], bytes]:
    pack: Callable[[bytearray], bytes] = _package().ZstdCompressor(level=level, write_checksum=True).compress
    return pack


def _ending(packed: array[int], content: array[int]) -> bytes:
    """Make the seek table."""
    entries = b"".join(_SKIPPABLE_HEAD.pack(*sizes) for sizes in zip(packed, content))
    footer = _FOOTER.pack(len(packed), 0, _SEEKABLE)
    return _SKIPPABLE_HEAD.pack(_TABLE_MAGIC, len(entries) + len(footer)) + entries + footer


def _probe(start: bytes) -> bool:
    at = 0
    for _ in range(_PROBED):
        magic = int.from_bytes(start[at : at + 4], "little")
        if magic & ~0xF != _SKIPPABLE:
            return magic == _MAGIC
        at += 8 + int.from_bytes(start[at + 4 : at + 8], "little")
    return False


def _pieces(file: ByteFile) -> Iterator[Piece]:
    table = _Table.of(file)
    if table is not None and table.regular():
        yield from table.pieces()
        return
    for start, end, content in _walk(file, PIECE_LIMIT):
        if end > file.size:
            yield Piece(start, file.size - start, None)
        elif content != 0:
            yield Piece(start, end - start, content)


class _Table:
    """A file's seek table."""

    def __init__(self, file: ByteFile, start: int, count: int, entry: int) -> None:
        self._file, self._start, self._count, self._entry = file, start, count, entry

    @classmethod
    def of(cls, file: ByteFile) -> _Table | None:
        """Find the table of ``file``; None if there is no plausible one."""
        footer = read_up_to(file, file.size - _FOOTER.size, _FOOTER.size) if file.size > _FOOTER.size else b""
        if len(footer) < _FOOTER.size:
            return None
        count, descriptor, magic = _FOOTER.unpack(footer)
        entry = 12 if descriptor & _TABLE_CHECKSUMS else 8
        size = count * entry + _FOOTER.size
        start = file.size - size - _SKIPPABLE_HEAD.size
        if magic != _SEEKABLE or descriptor & _TABLE_RESERVED or start < 0 or count > PIECES_LIMIT:
            return None
        if read_up_to(file, start, 8) != _SKIPPABLE_HEAD.pack(_TABLE_MAGIC, size):
            return None
        return cls(file, start, count, entry)

    def _entries(self) -> Iterator[tuple[int, int]]:
        """Packed and content size of each frame."""
        layout = struct.Struct("<II4x" if self._entry == 12 else "<II")
        at, left = self._start + _SKIPPABLE_HEAD.size, self._count
        while left:
            part = read_up_to(self._file, at, min(left, _ENTRIES) * self._entry)
            if not part or len(part) % self._entry:
                raise TruncatedError("the seek table is cut off", file=self._file.name, offset=at)
            yield from layout.iter_unpack(part)
            at += len(part)
            left -= len(part) // self._entry

    def regular(self) -> bool:
        """True if the table fits the file, and all frames but the last have one content size.

        A damaged number in an irregular table would shift everything behind it, undetected.
        """
        total = first = last = 0
        for packed, content in self._entries():
            if last != first or not 0 < content <= PIECE_LIMIT:
                return False
            total += packed
            first, last = first or content, content
        return 0 < last <= first and total == self._start

    def pieces(self) -> Iterator[Piece]:
        """The frames as pieces."""
        at = 0
        for packed, content in self._entries():
            yield Piece(at, packed, content)
            at += packed


def _walk(file: ByteFile, limit: int | None = None) -> Iterator[tuple[int, int, int | None]]:
    """Yield start, end and content size (None: not stored) of each frame that is not skippable.

    A truncated last frame ends beyond the file, and TruncatedError follows. NotSeekableError: a frame is, or may be,
    larger than ``limit``; or there are too many.
    """
    at = rows = 0
    while at < file.size:
        if limit is not None and (rows := rows + 1) > ROWS_LIMIT:
            raise NotSeekableError
        head = read_up_to(file, at, _HEADER_LIMIT)
        magic = int.from_bytes(head[:4], "little")
        if magic & ~0xF == _SKIPPABLE and len(head) >= _SKIPPABLE_HEAD.size:
            end = at + _SKIPPABLE_HEAD.size + int.from_bytes(head[4:8], "little")
        elif magic == _MAGIC:
            header = _header(head, file.name, at)
            end = _end_of_frame(file, at, header, limit)
            yield at, end, header.content
        elif len(head) < _HEADER_LIMIT:
            end = file.size + 1
        else:
            raise CorruptError("no zstd frame where one should begin", file=file.name, offset=at)
        if end > file.size:
            raise TruncatedError("the zstd file is cut off within a frame", file=file.name, offset=at)
        at = end


def _header(head: bytes, name: str, at: int) -> _Header:
    """Parse a frame header: ``Frame_Header`` of the format."""
    descriptor = head[4] if len(head) > 4 else 0
    single = descriptor >> 5 & 1
    dictionary = (0, 1, 2, 4)[descriptor & 3]
    width = (single, 2, 4, 8)[descriptor >> 6]
    behind = 6 - single + dictionary
    if len(head) < behind + width:
        raise TruncatedError("the zstd file is cut off within a frame", file=name, offset=at)
    if descriptor & 8:
        raise CorruptError("invalid header of a zstd frame", file=name, offset=at)
    if any(head[behind - dictionary : behind]):
        raise UnsupportedError("a zstd frame that needs a dictionary", file=name, offset=at)
    content = int.from_bytes(head[behind : behind + width], "little") + (256 if width == 2 else 0) if width else None
    base = 1 << (10 + (head[5] >> 3))
    window = content or 0 if single else base + base // 8 * (head[5] & 7)
    return _Header(behind + width, content, window, descriptor & 4)


def _end_of_frame(file: ByteFile, at: int, header: _Header, limit: int | None) -> int:
    """Find the end of the frame at ``at``; beyond the file if it is truncated. Raises as :func:`_walk`."""
    most = None
    if limit is not None:
        if (header.window if header.content is None else header.content) > limit:
            raise NotSeekableError
        # An uncompressed block takes 3 bytes more than its content.
        most = at + limit + 3 * _BLOCKS_LIMIT + _HEADER_LIMIT
    at += header.size
    last = blocks = 0
    while not last:
        head = read_up_to(file, at, 3)
        if len(head) < 3:
            return file.size + 1
        number = int.from_bytes(head, "little")
        last, kind, size = number & 1, number >> 1 & 3, number >> 3
        if kind == 3:
            raise CorruptError("invalid block in a zstd frame", file=file.name, offset=at)
        at += 3 + (1 if kind == 1 else size)
        blocks += 1
        if most is not None and (at > most or blocks > _BLOCKS_LIMIT):
            raise NotSeekableError
    return at + header.checksum


def _unpack(packed: bytes, room: int) -> memoryview:
    zstandard = _package()
    out = bytearray(room)
    try:
        with zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT).stream_reader(packed) as reader:
            got = reader.readinto(out)
    except zstandard.ZstdError as error:
        raise CorruptError(f"damaged zstd frame: {error}") from error
    return memoryview(out)[:got]


class _Sequential:
    """A file object for the zstandard package."""

    def __init__(self, file: ByteFile) -> None:
        self._file = file
        self.at = 0

    def read(self, size: int) -> bytes:
        data = read_up_to(self._file, self.at, size)
        self.at += len(data)
        return data


def _stream(file: ByteFile) -> Iterator[bytes]:
    zstandard = _package()
    source = _Sequential(file)
    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT).stream_reader(source, read_across_frames=True)
    try:
        while data := reader.read(STEP):
            yield data
    except zstandard.ZstdError as error:
        raise CorruptError(f"damaged zstd frame: {error}", file=file.name, offset=source.at) from error
    for _ in _walk(file):  # raises for a truncated last frame, which the package does not
        pass


FRAME = Frame(
    name="zstd", title="Zstandard", default_level=3, levels=(-7, 22), block=4 << 20,
    packer=_packer, ending=_ending, probe=_probe, pieces=_pieces, unpack=_unpack, stream=_stream,
)  # fmt: skip
