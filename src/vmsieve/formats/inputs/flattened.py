"""Flattened files: the stream of makedumpfile -F and QEMU's compressed dumps, read as the file that they stand for.

Layout: :mod:`vmsieve.formats.layouts.flattened`. Bytes that no piece holds read as zeros. A stream without an end mark
was torn (the pipe broke, the disk was full); the pieces before are used.
"""

from __future__ import annotations

from vmsieve.formats.errors import FormatError, TruncatedError, UnsupportedError
from vmsieve.formats.extents import Extents
from vmsieve.formats.files import read_exactly
from vmsieve.formats.inputs import Container, begins_with
from vmsieve.formats.inputs._pieced_file import PiecedFile
from vmsieve.formats.layouts import flattened
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile

_PIECE: Final = flattened.PIECE.format()
#: One above the largest offset in the rebuilt file.
_SIZE_LIMIT: Final = 1 << 63
#: Most pieces, empty ones included.
_PIECES_LIMIT: Final = 1 << 23
#: Most bytes that :func:`rebuild` holds.
_STEP: Final = 1 << 20


class FlattenedFile(PiecedFile):
    """The rebuilt file; see :class:`vmsieve.formats.files.ByteFile`."""

    def __init__(self, outer: ByteFile) -> None:
        """Find the pieces of ``outer``; raises FormatError if it is not a flattened file, or has too many pieces."""
        _check_header(read_exactly(outer, 0, flattened.HEADER_SIZE), outer.name)
        super().__init__(outer, 0, Extents())
        self.torn = True  # the stream lacks its end mark
        self.remarks: list[str] = []
        self._walk()
        if not self._pieces.starts:
            raise TruncatedError("the flattened file holds nothing", file=outer.name)
        self._pieces.resolve_overlaps(last_wins=True)
        self.size = self._pieces.ends[-1]
        if self._pieces.repeated:
            self.remarks.append(f"{self._pieces.repeated} bytes were written more than once; the last ones hold")

    def _walk(self) -> None:
        """Go from piece header to piece header up to the end mark, or up to an invalid one."""
        at = flattened.HEADER_SIZE
        for _ in range(_PIECES_LIMIT):
            head = bytearray(_PIECE.size)
            if self._outer.read_into(at, memoryview(head)) < len(head):
                self.remarks.append("the flattened file is torn: it has no end mark")
                return
            offset, size = _PIECE.unpack(head)
            if (offset, size) == flattened.END:
                self.torn = False
                return
            if not _valid(offset, size):
                self.remarks.append(f"the flattened file is damaged at {at:#x}: the rest is ignored")
                return
            at += _PIECE.size
            stored = min(size, self._outer.size - at)
            self._pieces.add(offset, offset + stored, at)
            if stored < size:
                self.remarks.append(f"the flattened file is torn: its last piece lacks {size - stored} bytes")
                return
            at += size
        raise UnsupportedError("the flattened file is in too many pieces", file=self.name)


def _check_header(data: bytes, name: str | None) -> None:
    header = flattened.HEADER.unpack(data)
    if header.signature != flattened.SIGNATURE:
        raise FormatError("not a flattened file", file=name, found=header.signature.hex(" "))
    if (header.type, header.version) != (flattened.TYPE, flattened.VERSION):
        raise UnsupportedError(
            "a flattened file of another type or version", file=name, expected="1, 1",
            found=f"{header.type}, {header.version}",
        )  # fmt: skip


def _valid(offset: int, size: int) -> bool:
    """True for a plausible piece header; offset and size 0 are blank storage."""
    return offset >= 0 and size >= 0 and offset + size < _SIZE_LIMIT and (offset, size) != (0, 0)


def rebuild(read: Callable[[int], bytes], put: Callable[[int, bytes], object]) -> bool:
    """Rebuild the file from a flattened stream that can only be read once, such as a pipe.

    ``read(n)`` returns up to ``n`` bytes, and none at the end of the stream. ``put`` is called with an offset and up to
    1 MiB that belong there, in stream order: later bytes replace earlier ones. Returns True if the end mark was read,
    False if the stream was torn or invalid; raises FormatError if it is not a flattened stream.
    """
    header = _read_all(read, flattened.HEADER_SIZE)
    if len(header) < flattened.HEADER_SIZE:
        raise TruncatedError("the flattened stream ends within its header", found=len(header))
    _check_header(header, None)
    while True:
        head = _read_all(read, _PIECE.size)
        if len(head) < _PIECE.size:
            return False
        offset, size = _PIECE.unpack(head)
        if (offset, size) == flattened.END:
            return True
        if not _valid(offset, size):
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
    return inner, inner.remarks, inner.torn


FORMAT = Container("flattened", "flattened file (makedumpfile -F)", 10, begins_with(flattened.SIGNATURE), _open)
