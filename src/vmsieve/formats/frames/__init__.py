"""Compressed frames around a whole file: what ``zstd -d``, ``lz4 -d`` and ``gzip -d`` undo.

A plugin is one file that ends in ``FRAME``, a :class:`Frame`, which both writes and reads. What is written is a row of
blocks that are each packed by themselves, so that they can be packed side by side and read at random. What others wrote
is read at random where its pieces tell their sizes (:mod:`vmsieve.formats.frames._index`); the rest is unpacked once
(:mod:`vmsieve.formats.frames._unpacked`).

Packages from outside are imported when a frame is opened, not before: a capture without frames does not pay for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Final

from vmsieve.formats.errors import UnsupportedError
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from vmsieve.formats.errors import VmsieveError
    from vmsieve.formats.files import ByteFile

__all__ = [
    "PIECES_LIMIT",
    "PIECE_LIMIT",
    "ROWS_LIMIT",
    "STEP",
    "Frame",
    "NotSeekableError",
    "Piece",
    "ends_early",
    "frame",
    "frames",
    "missing",
    "some",
]  # fmt: skip

#: Most bytes that a piece read at random unpacks to. Files of larger ones are unpacked as a whole.
PIECE_LIMIT: Final = 8 << 20
#: Most pieces of a file: an index of 96 MiB.
PIECES_LIMIT: Final = 4 << 20
#: Most frames that are walked over to find them, empty ones among them.
ROWS_LIMIT: Final = 1 << 23
#: Bytes unpacked at a time where a file is unpacked as a whole.
STEP: Final = 256 << 10


class NotSeekableError(Exception):
    """The file has to be unpacked from its start on: its pieces are too large, or depend on each other."""


@record(frozen=True)
class Piece:
    """A part of a framed file that can be unpacked by itself.

    Attributes:
        place: Where it is in the file, in bytes.
        packed: Bytes it takes there.
        content: Bytes it unpacks to; None when only unpacking tells.
        guess: The most that it unpacks to, and what it very likely does when damage keeps it from telling; 0 for no
            idea.
    """

    place: int
    packed: int
    content: int | None
    guess: int = 0


@record(frozen=True)
class Frame:
    """A compressed frame.

    Attributes:
        name: Short and unique: what ``--frame`` takes.
        title: For people.
        default_level: Level used when none is asked for.
        levels: Lowest and highest level.
        block: Bytes of content that are packed at a time.
        packer: ``(level) -> pack`` for one thread. ``pack(content)`` gives a block's bytes in the file; they stand for
            themselves, in any row. Raises UnsupportedError when a package is missing.
        ending: ``(packed sizes, content sizes) -> bytes`` that follow the last block.
        probe: Shown a file's first bytes: is it of this kind?
        pieces: The pieces of a file in order, those without content left out. Raises :class:`NotSeekableError`;
            UnsupportedError; or, where the sense ends, CorruptError or TruncatedError: what came before is good. A last
            piece that is cut off is given without ``content`` first.
        unpack: ``(packed, room) -> content`` of one piece, ``room`` bytes at the most, less of a piece that is cut off.
            With more room than it needs, a whole piece is held against its checksum. Raises CorruptError.
        stream: The content of a file from its start on, portion by portion; errors as of ``pieces``.
    """

    name: str
    title: str
    default_level: int
    levels: tuple[int, int]
    block: int
    packer: Callable[[int], Callable[[bytearray], bytes]]
    ending: Callable[[array[int], array[int]], bytes]
    probe: Callable[[bytes], bool]
    pieces: Callable[[ByteFile], Iterator[Piece]]
    unpack: Callable[[bytes, int], bytes | memoryview]
    stream: Callable[[ByteFile], Iterator[bytes]]


def frames() -> list[Frame]:
    """All frames, in order of their modules' names."""
    from vmsieve.formats import frames as room
    from vmsieve.formats.plugins import scan

    return scan(room, "FRAME", Frame)


def frame(name: str) -> Frame:
    """The frame called ``name``.

    Raises:
        UsageError: There is none; the message names those there are.
    """
    from vmsieve.formats import frames as room
    from vmsieve.formats.plugins import load

    return load(room, "FRAME", name, "frame", Frame)


def some(file: ByteFile, offset: int, size: int) -> bytes:
    """The ``size`` bytes at ``offset``, or fewer at the end of the file."""
    out = bytearray(min(size, max(0, file.size - offset)))
    got = file.read_into(offset, memoryview(out)) if out else 0
    return bytes(out[:got])


def ends_early(error: VmsieveError) -> str:
    """What is odd about a file whose content ends with ``error``."""
    where = f" at {error.offset:#x}" if error.offset is not None else ""
    return f"{error.message}{where}: what should follow is missing"


def missing(name: str, package: str) -> UnsupportedError:
    """What to raise when the package that packs and unpacks a frame is not installed."""
    return UnsupportedError(f"a {name} frame needs the Python package {package}", hint=f"pip install {package}")
