"""Single-volume stand-alone dumps of s390x: from DASD, FBA disks and tapes, and by ``zgetdump -f s390``.

Layout: :mod:`vmsieve.formats.layouts.s390`. If the end marker is missing, or is of an older dump on the same disk, the
dumper did not finish; the memory before is read. A copy of a tape has no records any more: it differs from a disk only
in that memory may be padded to a whole record.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import UnsupportedError
from vmsieve.formats.extents import Extents
from vmsieve.formats.inputs import InputFormat
from vmsieve.formats.inputs._s390 import complete
from vmsieve.formats.inputs._s390_header import StandAloneSource, end_marker, read_header
from vmsieve.formats.layouts import s390

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.layouts import Fields

_MAGIC: Final = struct.pack(">Q", s390.MAGIC)


class S390Source(StandAloneSource):
    """An open dump of one volume, with memory in one piece."""

    def __init__(self, file: ByteFile, header: Fields) -> None:
        """Look for the end marker, and map the memory before it.

        Raises:
            CorruptError: The header is invalid.
        """
        super().__init__(file, "stand-alone dump", header)
        tod, problem = end_marker(file, flat_end(header), header)
        if tod is None:
            tod, _ = end_marker(file, flat_end(header, tape=True), header)
        self.set_end(tod, problem)
        stored = min(max(file.size - s390.HEADER_SIZE, 0), header.mem_size)
        data = Extents()
        data.add(0, stored, s390.HEADER_SIZE)
        self.set_pieces(data, stored)


def flat_end(header: Fields, *, tape: bool = False) -> int:
    """Offset of the end marker behind memory in one piece, which a ``tape`` pads to a whole record."""
    unit = s390.TAPE_RECORD if tape else 1
    return int(s390.HEADER_SIZE + -(-header.mem_size // unit) * unit)


def open_flat(file: ByteFile, header: Fields) -> S390Source:
    """Open the dump in ``file``, and complete it from memory; raises FormatError if it is unusable."""
    source = S390Source(file, header)
    complete(source, header.prefixes)
    return source


def _open(file: ByteFile) -> S390Source:
    header = read_header(file)
    if header.mvdump == 1 or header.volnr:
        raise UnsupportedError(
            "a dump of the old multi-volume format (s390mv)", file=file.name, hint="no current tool reads it"
        )
    return open_flat(file, header)


def _probe(start: bytes) -> bool:
    return start.startswith(_MAGIC)


FORMAT = InputFormat("s390", "s390 stand-alone dump", 54, _probe, _open)
