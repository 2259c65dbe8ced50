"""Extended stand-alone dumps of s390x, as today's dump tool writes them to one DASD or FBA disk.

Layout: :mod:`vmsieve.formats.layouts.s390`. Only non-zero memory is stored, a MiB at a time, and in version 2 most of
it is packed. Offsets of packed data are in blocks of the disk. A copy of the disk does not have the block size: the one
with which the segments lead to the end marker is used. (``zgetdump`` reads such dumps from disks only.)
"""

from __future__ import annotations

import os
import stat
import struct

from vmsieve.formats.errors import TruncatedError
from vmsieve.formats.inputs import InputFormat, begins_with
from vmsieve.formats.inputs._s390_segments import Segments, SegmentSource
from vmsieve.formats.inputs.s390 import S390Source, end_marker, flat_end, read_header
from vmsieve.formats.layouts import s390
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.inputs import Source
    from vmsieve.formats.layouts import Fields

_MAGIC: Final = struct.pack(">Q", s390.MAGIC_EXT)
#: Block sizes, the usual one first.
_BLOCKS: Final = (4096, 512, 1024, 2048)
_TORN: Final = "the dump is not complete: its segments end without a stop marker"
#: ioctl for the block size (``include/uapi/linux/fs.h``: BLKSSZGET).
_BLKSSZGET: Final = 0x1268


def _open(file: ByteFile) -> Source:
    header = read_header(file)
    found, tod, problem = _find(file, header)
    if tod is None and end_marker(file, flat_end(header, tape=True), header)[0] is not None:
        # A tape may have the same magic number, and its header does not say that it is a tape.
        return S390Source(file, header)
    if found.count == 0:
        raise TruncatedError("the dump has no segment", file=file.name, offset=s390.HEADER_SIZE)
    source = SegmentSource(file, "extended stand-alone dump", header)
    source.header["method"] = "zlib" if found.heads else "none"
    source.set_segments(found)
    source.set_end(tod, problem)
    return source


def _find(file: ByteFile, header: Fields) -> tuple[Segments, int | None, str]:
    """The segments, the TOD clock in the end marker, or None and the reason."""
    best: tuple[Segments, int | None, str] | None = None
    most = (0, 0)
    for block in _blocks(file.name):
        found = Segments(file, header, block)
        found.walk(s390.HEADER_SIZE)
        tod, problem = end_marker(file, found.at, header) if found.stopped else (None, _TORN)
        # A truncated file has no end marker. Smaller blocks make more memory seem complete, hence streams first.
        rank = found.streams(), found.stored_end
        if best is None or tod is not None or rank > most:
            best, most = (found, tod, problem), rank
        # Without packed segments the block size does not matter.
        if tod is not None or not found.heads:
            break
    assert best is not None
    return best


def _blocks(path: str) -> tuple[int, ...]:
    """Possible block sizes, that of the disk itself first if ``path`` is one."""
    import fcntl

    try:
        if not stat.S_ISBLK(os.stat(path).st_mode):
            return _BLOCKS
        with open(path, "rb") as disk:
            (size,) = struct.unpack("=i", fcntl.ioctl(disk, _BLKSSZGET, bytes(4)))
    except OSError:
        return _BLOCKS
    return (size, *(other for other in _BLOCKS if other != size))


FORMAT = InputFormat("s390_ext", "s390 extended stand-alone dump", 52, begins_with(_MAGIC), _open)
