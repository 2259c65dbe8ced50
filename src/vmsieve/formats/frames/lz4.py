"""LZ4 frames of 4 MiB, each with content size and checksum, which ``lz4 -d`` joins.

Source: ``doc/lz4_Frame_format.md`` 1.6.1 of LZ4. Numbers are little-endian. Other programs usually write one frame of
many blocks. Independent blocks are read at random; the format does not store their content sizes, so each is unpacked
once to find them. The checksum over a frame of several blocks is not verified.
"""

from __future__ import annotations

from vmsieve.formats.errors import CorruptError, TruncatedError, UnsupportedError
from vmsieve.formats.frames import (
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
    from collections.abc import Generator, Iterator
    from typing import Callable

    from vmsieve.formats.files import ByteFile

_MAGIC: Final = 0x184D2204
_SKIPPABLE: Final = 0x184D2A50
#: Block sizes for the numbers from 4 on in bits 4 to 6 of BD.
_BLOCK_SIZES: Final = (64 << 10, 256 << 10, 1 << 20, 4 << 20)
_LARGEST: Final = 7
_VERSION, _VERSION_MASK = 0x40, 0xC0
_INDEPENDENT, _BLOCK_CHECKSUM, _CONTENT_SIZE, _CHECKSUM, _DICTIONARY = 0x20, 0x10, 0x08, 0x04, 0x01
#: Flag in a block's size: not compressed.
_STORED: Final = 1 << 31
#: EndMark, instead of a block's size.
_END: Final = bytes(4)
_HEADER_LIMIT: Final = 19


@record(frozen=True)
class _Header:
    """A frame header: its size, flags, block size and, if stored, content size."""

    size: int
    flags: int
    block: int
    content: int | None


def _package() -> Any:
    try:
        import lz4.frame
    except ImportError as error:
        raise missing_package("lz4", "lz4") from error
    return lz4.frame


def _packer(level: int) -> Callable[[bytearray], bytes]:
    package = _package()
    return lambda content: package.compress(
        content, compression_level=level, block_size=_LARGEST, block_linked=False, content_checksum=True,
        store_size=True,
    )  # fmt: skip


def _probe(start: bytes) -> bool:
    return int.from_bytes(start[:4], "little") == _MAGIC


def _pieces(file: ByteFile) -> Iterator[Piece]:
    at = rows = 0
    while at < file.size:
        rows += 1
        if rows > ROWS_LIMIT:
            raise NotSeekableError
        head = read_up_to(file, at, _HEADER_LIMIT)
        magic = int.from_bytes(head[:4], "little")
        if magic & ~0xF == _SKIPPABLE and len(head) >= 8:
            at += 8 + int.from_bytes(head[4:8], "little")
        elif magic == _MAGIC:
            at = yield from _frame(file, at, _header(head, file.name, at))
        else:
            raise CorruptError("no lz4 frame where one should begin", file=file.name, offset=at)
    if at > file.size:
        raise _cut_off(file, at)


def _cut_off(file: ByteFile, at: int) -> TruncatedError:
    return TruncatedError("the lz4 file is cut off", file=file.name, offset=min(at, file.size))


def _header(head: bytes, name: str, at: int) -> _Header:
    """Parse a frame header."""
    if len(head) < 7:
        raise TruncatedError("the lz4 file is cut off", file=name, offset=at)
    flags, number = head[4], head[5] >> 4
    if flags & _VERSION_MASK != _VERSION or not 4 <= number <= _LARGEST:
        raise CorruptError("invalid header of an lz4 frame", file=name, offset=at)
    if flags & _DICTIONARY:
        raise UnsupportedError("an lz4 frame that needs a dictionary", file=name, offset=at)
    sized = bool(flags & _CONTENT_SIZE)
    content = int.from_bytes(head[6:14], "little") if sized else None
    return _Header(15 if sized else 7, flags, _BLOCK_SIZES[number - 4], content)


def _frame(file: ByteFile, at: int, header: _Header) -> Generator[Piece, None, int]:
    """Yield the pieces of the frame at ``at``; return its end."""
    start, at = at, at + header.size
    footer = 4 + (4 if header.flags & _CHECKSUM else 0)
    first = _block(file, at, header)
    if first is None:
        return at + footer
    if _block(file, at + first, header, lenient=True) is None:
        # One block: the whole frame is a piece, with its checksum.
        end = at + first + footer
        plausible = header.content is not None and header.content <= header.block
        yield Piece(start, min(end, file.size) - start, header.content if plausible and end <= file.size else None)
        return end
    if not header.flags & _INDEPENDENT:
        raise NotSeekableError
    size: int | None = first
    for _ in range(PIECES_LIMIT):
        if size is None:
            return at + footer
        if at + size > file.size:
            raise _cut_off(file, at)
        yield Piece(at, size, None, header.block)
        at += size
        size = _block(file, at, header)
    raise NotSeekableError


def _block(file: ByteFile, at: int, header: _Header, *, lenient: bool = False) -> int | None:
    """Bytes in the file of the block at ``at``; None at the end of the frame, or if ``lenient`` of the file."""
    word = read_up_to(file, at, 4)
    if len(word) < 4:
        if lenient:
            return None
        raise _cut_off(file, at)
    if word == _END:
        return None
    size = int.from_bytes(word, "little") & ~_STORED
    if not 0 < size <= header.block:
        raise CorruptError("invalid block size in an lz4 frame", file=file.name, offset=at)
    return 4 + size + (4 if header.flags & _BLOCK_CHECKSUM else 0)


def _unpack(packed: bytes, room: int) -> bytes:
    """Unpack a whole frame or one block. No block starts with the frame magic: its size would exceed 4 MiB."""
    package = _package()
    if not _probe(packed):
        checksum = len(packed) > 4 + (int.from_bytes(packed[:4], "little") & ~_STORED)
        # A frame header that fits any single block.
        frame = package.LZ4FrameCompressor(block_size=_LARGEST, block_linked=False, block_checksum=checksum)
        packed = frame.begin() + packed + _END
    try:
        content: bytes = package.LZ4FrameDecompressor().decompress(packed, max_length=room)
    except RuntimeError as error:
        raise CorruptError(f"damaged lz4 frame: {error}") from error
    return content


def _stream(file: ByteFile) -> Iterator[bytes]:
    package = _package()
    at = 0
    while at < file.size:
        decoder = package.LZ4FrameDecompressor()
        data, begun = b"", at
        while not decoder.eof:
            if decoder.needs_input:
                data = read_up_to(file, at, STEP)
                at += len(data)
                if not data:
                    raise _cut_off(file, at)
            try:
                content = decoder.decompress(data, max_length=STEP)
            except RuntimeError as error:
                raise CorruptError(f"damaged lz4 frame: {error}", file=file.name, offset=begun) from error
            data = b""
            if content:
                yield content
        at -= len(decoder.unused_data or b"")


FRAME = Frame(
    name="lz4", title="LZ4", default_level=1, levels=(1, 12), block=_BLOCK_SIZES[-1],
    packer=_packer, probe=_probe, pieces=_pieces, unpack=_unpack, stream=_stream,
)  # fmt: skip
