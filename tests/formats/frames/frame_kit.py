"""Helpers of the tests of frames."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.build import frame_files as made
from tests.build.memory_file import MemoryFile
from vmsieve.formats.errors import UnsupportedError
from vmsieve.formats.frames import Frame, NotSeekableError, frames
from vmsieve.formats.frames._index import FramedFile, Index
from vmsieve.formats.frames._unpacked import UnpackedFile

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile

_OPEN: list[ByteFile] = []


def frame_of(data: bytes) -> Frame:
    """The one frame format that recognises the file."""
    found = [frame for frame in frames() if frame.probe(data[:65536])]
    if not found:
        raise UnsupportedError("no frame")
    assert len(found) == 1
    return found[0]


def opened(data: bytes) -> tuple[ByteFile, list[str], bool]:
    """The content of a framed file as a file, the remarks, and whether it is torn."""
    file, frame = MemoryFile(data), frame_of(data)
    try:
        index = Index(frame, file)
    except NotSeekableError:
        unpacked = UnpackedFile(file, frame)
        _OPEN.append(unpacked)
        return unpacked, unpacked.remarks, unpacked.torn
    return FramedFile(file, frame, index), index.remarks, index.torn


def close_all() -> None:
    """Close what :func:`opened` gave."""
    while _OPEN:
        _OPEN.pop().close()


def whole(file: ByteFile) -> bytes:
    out = bytearray(file.size + 10)
    assert file.read_into(0, memoryview(out)) == file.size
    return bytes(out[: file.size])


def text(size: int, seed: int = 1) -> bytes:
    """Compressible content with a run of noise and a run of zeros."""
    chance = random.Random(seed)
    words = [chance.randbytes(chance.randrange(2, 12)) for _ in range(300)]
    out = bytearray()
    while len(out) < size // 2:
        out += chance.choice(words)
    out += bytes(size // 8) + chance.randbytes(size // 8)
    while len(out) < size:
        out += chance.choice(words)
    return bytes(out[:size])


CONTENT = text(200_000)
LONG = text(2_000_000)

_FILES: dict[str, bytes] = {}


def of_kind(kind: str) -> bytes:
    """:data:`CONTENT` in a file of that kind, made once."""
    if kind not in _FILES:
        _FILES[kind] = made.EVERY[kind](CONTENT)
    return _FILES[kind]
