"""Extended stand-alone dumps of s390x: what the dump tool on one DASD or FBA disk writes today.

See :mod:`vmsieve.formats.layouts.s390`. Only memory that is not zero is stored, a MiB at a time; in version 2 most of
it packed. Places of packed data count in blocks of the disk. A copy of the disk in a file does not tell how large those
are: the size with which the segments lead to the end marker is taken. (``zgetdump`` reads such a dump from a disk
only.)
"""

from __future__ import annotations

import os
import stat
import struct
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import TruncatedError
from vmsieve.formats.inputs import InputFormat
from vmsieve.formats.inputs._s390 import complete
from vmsieve.formats.inputs._s390_header import end_marker, moment, read_header
from vmsieve.formats.inputs._s390_segments import Segments, SegmentSource
from vmsieve.formats.inputs.s390 import flat_end, open_flat
from vmsieve.formats.layouts import s390

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.inputs import Source
    from vmsieve.formats.inputs._s390_header import Header

__all__ = ["FORMAT"]

_MAGIC: Final = struct.pack(">Q", s390.MAGIC_EXT)
#: Sizes of a block, the usual one first.
_BLOCKS: Final = (4096, 512, 1024, 2048)
_TORN: Final = "the dump is not complete: its segments end without a stop marker"
#: ioctl that tells the size of a block (``include/uapi/linux/fs.h``: BLKSSZGET).
_BLKSSZGET: Final = 0x1268


def _open(file: ByteFile) -> Source:
    header = read_header(file)
    found, tod, problem = _find(file, header)
    if tod is None and end_marker(file, flat_end(header, tape=True), header)[0] is not None:
        # A tape's header may say so too, and nothing in it says tape.
        return open_flat(file, header)
    if found.count == 0:
        raise TruncatedError("the dump has no segment", file=file.name, offset=s390.HEADER_SIZE)
    source = SegmentSource(file, f"s390 extended stand-alone dump, version {header.version}", header)
    source.header["method"] = "zlib" if found.heads else "none"
    source.hold_segments(found)
    if tod is None:
        source.incomplete = True
        source.oddities.append(problem)
    elif tod:
        source.header["dump_ended"] = moment(tod)
    complete(source, header.prefixes)
    return source


def _find(file: ByteFile, header: Header) -> tuple[Segments, int | None, str]:
    """The segments; the time in the end marker, or why there is none."""
    best: tuple[Segments, int | None, str] | None = None
    most = (0, 0)
    for block in _blocks(file.name):
        found = Segments(file, header, block)
        found.walk(s390.HEADER_SIZE)
        tod, problem = end_marker(file, found.at, header) if found.stopped else (None, _TORN)
        # Of a file that is cut off there is no end marker: the smaller a block, the more of it seems to be there.
        rank = found.streams(), found.there
        if best is None or tod is not None or rank > most:
            best, most = (found, tod, problem), rank
        # Without packed segments nothing depends on the size of a block.
        if tod is not None or not found.heads:
            break
    assert best is not None
    return best


def _blocks(path: str) -> tuple[int, ...]:
    """Sizes that a block may have; one if the disk itself is read."""
    import fcntl

    try:
        if not stat.S_ISBLK(os.stat(path).st_mode):
            return _BLOCKS
        with open(path, "rb") as disk:
            (size,) = struct.unpack("=i", fcntl.ioctl(disk, _BLKSSZGET, bytes(4)))
    except OSError:
        return _BLOCKS
    return (size, *(other for other in _BLOCKS if other != size))


def _probe(start: bytes) -> bool:
    return start.startswith(_MAGIC)


FORMAT = InputFormat("s390_ext", "s390 extended stand-alone dump", 52, _probe, _open)
