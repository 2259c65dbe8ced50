"""Files within a compressed frame, as ``zstd``, ``lz4``, ``gzip`` and ``vmsieve dump --frame`` leave them.

Which frames there are is the business of :mod:`vmsieve.formats.frames`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmsieve.formats.frames import NotSeekableError, frames, some
from vmsieve.formats.inputs import PROBE_SIZE, Container

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.frames import Frame

__all__ = ["FORMAT"]


def _frame(start: bytes) -> Frame | None:
    return next((frame for frame in frames() if frame.probe(start)), None)


def _probe(start: bytes) -> bool:
    return _frame(start) is not None


def _open(outer: ByteFile) -> tuple[ByteFile, list[str], bool]:
    from vmsieve.formats.frames._index import FramedFile, Index
    from vmsieve.formats.frames._unpacked import UnpackedFile

    frame = _frame(some(outer, 0, PROBE_SIZE))
    assert frame is not None, "the probe found one"
    try:
        index = Index(frame, outer)
    except NotSeekableError:
        unpacked = UnpackedFile(outer, frame)
        return unpacked, unpacked.oddities, unpacked.torn
    return FramedFile(outer, frame, index), index.oddities, index.torn


FORMAT = Container("framed", "compressed frame", 40, _probe, _open)
