"""Flattened files: the stream of makedumpfile -F and QEMU's compressed dumps, read as the file they stand for.

See :mod:`vmsieve.formats.layouts.flattened`. The pieces are found by walking from header to header; what lies between
them in the file they stand for reads as zeros. A stream without its end mark was torn (the pipe broke, the disk was
full): what came through is used.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Callable, Final

from vmsieve.formats.errors import FormatError, TruncatedError, UnsupportedError
from vmsieve.formats.extents import Extents
from vmsieve.formats.files import read_exactly
from vmsieve.formats.inputs import Container
from vmsieve.formats.inputs._pieced_file import PiecedFile
from vmsieve.formats.layouts import flattened

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile

__all__ = ["FORMAT", "FlattenedFile", "rebuild"]

_PIECE: Final = struct.Struct(flattened.PIECE)
#: One above the largest offset in the file that a flattened one stands for.
_SIZE_LIMIT: Final = 1 << 63
#: Most pieces, empty ones among them.
_PIECES_LIMIT: Final = 1 << 23
#: Bytes that :func:`rebuild` holds.
_STEP: Final = 1 << 20


class FlattenedFile(PiecedFile):
    """The file that a flattened one stands for; see :class:`vmsieve.formats.files.ByteFile`.

    Attributes:
        torn: The stream ends before its end mark.
        oddities: Sentences on what is unusual about it.
    """

    def __init__(self, outer: ByteFile) -> None:
        """Find the pieces of ``outer``.

        Raises:
            FormatError: It is not a flattened file, or has too many pieces.
            ReadError: The medium fails.
        """
        _check_header(read_exactly(outer, 0, flattened.HEADER_SIZE), outer.name)
        super().__init__(outer, 0, Extents())
        self.torn = True
        self.oddities: list[str] = []
        self._walk()
        if not self._pieces.starts:
            raise TruncatedError("the flattened file holds nothing", file=outer.name)
        self._pieces.settle(last_wins=True)
        self.size = self._pieces.ends[-1]
        if self._pieces.repeated:
            self.oddities.append(f"{self._pieces.repeated} bytes were written more than once; the last ones hold")

    def _walk(self) -> None:
        """Take piece after piece until the end mark, or until there is no sense in them."""
        at = flattened.HEADER_SIZE
        for _ in range(_PIECES_LIMIT):
            head = bytearray(flattened.PIECE_SIZE)
            if self._outer.read_into(at, memoryview(head)) < len(head):
                self.oddities.append("the flattened file is torn: it has no end mark")
                return
            offset, size = _PIECE.unpack(head)
            if (offset, size) == flattened.END:
                self.torn = False
                return
            if not _sensible(offset, size):
                self.oddities.append(f"the flattened file is damaged at {at:#x}: what follows is passed over")
                return
            at += flattened.PIECE_SIZE
            there = min(size, self._outer.size - at)
            self._pieces.add(offset, offset + there, at)
            if there < size:
                self.oddities.append(f"the flattened file is torn: its last piece lacks {size - there} bytes")
                return
            at += size
        raise UnsupportedError("the flattened file is in too many pieces", file=self.name)


def _check_header(header: bytes, name: str | None) -> None:
    signature, kind, version = struct.unpack_from(flattened.HEADER, header)
    if signature != flattened.SIGNATURE:
        raise FormatError("not a flattened file", file=name, found=signature.hex(" "))
    if (kind, version) != (flattened.TYPE, flattened.VERSION):
        raise UnsupportedError(
            "a flattened file of another type or version", file=name, expected="1, 1", found=f"{kind}, {version}"
        )


def _sensible(offset: int, size: int) -> bool:
    """Whether a piece can be; nothing at offset 0 is what blank storage looks like."""
    return offset >= 0 and size >= 0 and offset + size < _SIZE_LIMIT and (offset, size) != (0, 0)


def rebuild(read: Callable[[int], bytes], put: Callable[[int, bytes], object]) -> bool:
    """Rebuild a flattened stream that can only be read once, such as a pipe.

    Args:
        read: ``read(n)`` gives up to ``n`` bytes, and none at the end of the stream.
        put: Called with an offset and the bytes that belong there, in the order of the stream: later ones replace
            earlier ones. Never given more than 1 MiB at a time.

    Returns:
        Whether the end mark was seen: False when the stream was torn, or stopped making sense.

    Raises:
        FormatError: It is not a flattened stream.
    """
    header = _read_all(read, flattened.HEADER_SIZE)
    if len(header) < flattened.HEADER_SIZE:
        raise TruncatedError("the flattened stream ends within its header", found=len(header))
    _check_header(header, None)
    while True:
        head = _read_all(read, flattened.PIECE_SIZE)
        if len(head) < flattened.PIECE_SIZE:
            return False
        offset, size = _PIECE.unpack(head)
        if (offset, size) == flattened.END:
            return True
        if not _sensible(offset, size):
            return False
        while size:
            data = read(min(size, _STEP))
            if not data:
                return False
            put(offset, data)
            offset += len(data)
            size -= len(data)


def _read_all(read: Callable[[int], bytes], size: int) -> bytes:
    """``size`` bytes, or fewer at the end of the stream."""
    data = b""
    while len(data) < size and (more := read(size - len(data))):
        data += more
    return data


def _open(outer: ByteFile) -> tuple[ByteFile, list[str], bool]:
    inner = FlattenedFile(outer)
    return inner, inner.oddities, inner.torn


def _probe(start: bytes) -> bool:
    return start.startswith(flattened.SIGNATURE)


FORMAT = Container("flattened", "flattened file (makedumpfile -F)", 10, _probe, _open)
