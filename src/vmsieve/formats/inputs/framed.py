"""Compressed files, as ``zstd``, ``lz4``, ``gzip`` and ``vmsieve dump --frame`` write them.

:mod:`vmsieve.formats.frames` has the formats.
"""

from __future__ import annotations

from vmsieve.formats.errors import CorruptError, TruncatedError
from vmsieve.formats.frames import NotSeekableError, frames, read_up_to
from vmsieve.formats.inputs import PROBE_SIZE, Container, formats
from vmsieve.formats.inputs._foreign import refusal
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.frames import Frame


def _frame(start: bytes) -> Frame | None:
    return next((frame for frame in frames() if frame.probe(start)), None)


def _probe(start: bytes) -> bool:
    return _frame(start) is not None


def _open(outer: ByteFile) -> tuple[ByteFile, list[str], bool]:
    from vmsieve.formats.frames._index import FramedFile, Index
    from vmsieve.formats.frames._unpacked import UnpackedFile

    frame = _frame(read_up_to(outer, 0, PROBE_SIZE))
    assert frame is not None, "the probe found one"
    try:
        index = Index(frame, outer)
    except NotSeekableError:
        _check_content(outer, frame)
        unpacked = UnpackedFile(outer, frame)
        return unpacked, unpacked.remarks, unpacked.torn
    return FramedFile(outer, frame, index), index.remarks, index.torn


def _check_content(outer: ByteFile, frame: Frame) -> None:
    """Raise FormatError if the content has no known format, before unpacking all of it, which may take long."""
    start = b""
    with suppress(CorruptError, TruncatedError):  # the bytes before the damage may suffice
        for portion in frame.stream(outer):
            start += portion
            if len(start) >= PROBE_SIZE:
                break
    if not any(plugin.probe(start[:PROBE_SIZE]) for plugin in formats()):
        raise refusal(start, outer.name, f"{frame.title} file")


FORMAT = Container("framed", "compressed frame", 40, _probe, _open)
