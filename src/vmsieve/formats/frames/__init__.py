"""Compressed frames around a whole file: those of ``zstd``, ``lz4`` and ``gzip``.

Belongs here: one file per frame, ending in ``FRAME``, which writes and reads it; random access to framed files.
Does not: compression of single pages (``codecs``).

Output is a sequence of independently packed blocks, so that threads can pack them and readers need no start at the
front. Files of others are read at random if the sizes of their pieces can be found (``_index``), else unpacked once
(``_unpacked``).

Random access to lz4 and gzip frames takes 180 lines and stays. Unpacking needs space in TMPDIR for the whole dump,
loses everything behind a damaged block, and takes time: of a dump of 806 MB on a busy machine, ``info`` took 2.4 s at
random and 17 s unpacked (lz4), 1.1 s and 13 s (gzip); ``dump -d 31`` 9.7 s and 18 s, 4.2 s and 16 s. Only an lz4 file
of another program, whose blocks are unpacked once for their sizes, took as long at random (13 s and 10 s).

Outside packages are imported when a frame is opened: a capture without frames does not pay for them.
"""

from __future__ import annotations

import sys

from vmsieve.formats.errors import UnsupportedError
from vmsieve.formats.plugins import load, scan
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from vmsieve.formats.errors import VmsieveError
    from vmsieve.formats.files import ByteFile

#: Largest content of a piece read at random. Files with larger ones are unpacked as a whole.
PIECE_LIMIT: Final = 8 << 20
#: Most pieces of a file: an index of 96 MiB.
PIECES_LIMIT: Final = 4 << 20
#: Most frames walked to find them, including empty ones.
ROWS_LIMIT: Final = 1 << 23
#: Bytes unpacked at a time when a file is unpacked as a whole.
STEP: Final = 256 << 10


class NotSeekableError(Exception):
    """The file must be unpacked sequentially: its pieces are too large, or depend on each other."""


@record(frozen=True)
class Piece:
    """A part of a framed file that can be unpacked by itself."""

    place: int  #: Byte offset in the file.
    packed: int  #: Bytes in the file.
    content: int | None  #: Bytes of content; None if only unpacking shows it.
    guess: int = 0  #: Most likely, and largest, content if damage hides it; 0 if unknown.


@record(frozen=True)
class Frame:
    """A compressed frame."""

    name: str  #: Short and unique; the argument of ``--frame``.
    title: str  #: For people.
    default_level: int  #: Level without a request.
    levels: tuple[int, int]  #: Lowest and highest level.
    block: int  #: Bytes of content packed at a time.
    #: ``(level) -> pack`` for one thread. ``pack(content)`` returns a block's bytes in the file, valid in any order.
    #: Raises UnsupportedError for a missing package.
    packer: Callable[[int], Callable[[bytearray], bytes]]
    probe: Callable[[bytes], bool]  #: True for the first bytes of a file of this kind.
    #: A file's pieces in order, without empty ones. Raises :class:`NotSeekableError`; UnsupportedError; CorruptError or
    #: TruncatedError at the first damage: pieces before are good. A truncated last piece is yielded without ``content``
    #: first.
    pieces: Callable[[ByteFile], Iterator[Piece]]
    #: ``(packed, room) -> content`` of one piece, at most ``room`` bytes, fewer for a truncated piece. If ``room``
    #: exceeds its content, a piece's checksum is verified. Raises CorruptError.
    unpack: Callable[[bytes, int], bytes | memoryview]
    stream: Callable[[ByteFile], Iterator[bytes]]  #: A file's content from the start on; raises as ``pieces``.
    #: ``(packed sizes, content sizes) -> bytes`` behind the last block.
    ending: Callable[[array[int], array[int]], bytes] = lambda _packed, _content: b""


def frames() -> list[Frame]:
    """All frames in order of their modules' names."""
    return scan(sys.modules[__name__], "FRAME", Frame)


def frame(name: str) -> Frame:
    """The frame ``name``; UsageError, which lists the known ones, for an unknown name."""
    return load(sys.modules[__name__], "FRAME", name, "frame", Frame)


def read_up_to(file: ByteFile, offset: int, size: int) -> bytes:
    """Read ``size`` bytes at ``offset``, or fewer at the end of the file."""
    out = bytearray(min(size, max(0, file.size - offset)))
    got = file.read_into(offset, memoryview(out)) if out else 0
    return bytes(out[:got])


def end_remark(error: VmsieveError) -> str:
    """A remark for a file whose content ends with ``error``."""
    where = f" at {error.offset:#x}" if error.offset is not None else ""
    return f"{error.message}{where}: the rest is missing"


def missing_package(name: str, package: str) -> UnsupportedError:
    """The error for a frame whose package is not installed."""
    return UnsupportedError(f"a {name} frame needs the Python package {package}", hint=f"pip install {package}")
