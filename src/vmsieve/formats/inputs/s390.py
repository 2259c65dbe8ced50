"""Single-volume stand-alone dumps of s390x: from DASD, FBA disks and tapes, and what ``zgetdump -f s390`` writes.

See :mod:`vmsieve.formats.layouts.s390`. Where the end marker is missing, or is that of an older dump on the same disk,
the dumper did not come to its end; what it had written is read. A tape that was copied to a file has lost its records:
it is the same but for the last record of memory, which may be padded.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import UnsupportedError
from vmsieve.formats.extents import Extents
from vmsieve.formats.inputs import InputFormat
from vmsieve.formats.inputs._zero_filled import ZeroFilledSource
from vmsieve.formats.inputs._s390 import complete
from vmsieve.formats.inputs._s390_header import Header, end_marker, moment, read_header
from vmsieve.formats.layouts import s390

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile

__all__ = ["FORMAT", "S390Source", "open_flat"]

_MAGIC: Final = struct.pack(">Q", s390.MAGIC)


class S390Source(ZeroFilledSource):
    """An open dump of one volume, memory in one piece."""

    def __init__(self, file: ByteFile, header: Header) -> None:
        """Look for the end marker, and take the memory before it.

        Raises:
            CorruptError: The header can't be.
        """
        super().__init__(file, f"s390 stand-alone dump, version {header.version}", header.memory_size)
        self.crash_time = header.crash_time()
        self.header.update(header.facts())
        self._judge(header)
        there = min(max(file.size - s390.HEADER_SIZE, 0), header.memory_size)
        data = Extents()
        data.add(0, there, s390.HEADER_SIZE)
        self.hold(data, there)

    def _judge(self, header: Header) -> None:
        tod, problem = end_marker(self.file, flat_end(header), header)
        if tod is None:
            tod, _ = end_marker(self.file, flat_end(header, tape=True), header)
        if tod is None:
            self.incomplete = True
            self.oddities.append(problem)
        elif tod:
            self.header["dump_ended"] = moment(tod)


def flat_end(header: Header, *, tape: bool = False) -> int:
    """Where the end marker is of memory in one piece; ``tape``: memory ends with a whole record."""
    unit = s390.TAPE_RECORD if tape else 1
    return s390.HEADER_SIZE + -(-header.memory_size // unit) * unit


def open_flat(file: ByteFile, header: Header) -> S390Source:
    """The dump in ``file``, with what its memory tells.

    Raises:
        FormatError: It can't be used.
    """
    source = S390Source(file, header)
    complete(source, header.prefixes)
    return source


def _open(file: ByteFile) -> S390Source:
    header = read_header(file)
    if header.multi or header.volume:
        raise UnsupportedError(
            "a dump of the old multi-volume format (s390mv)", file=file.name, hint="no current tool reads it"
        )
    return open_flat(file, header)


def _probe(start: bytes) -> bool:
    return start.startswith(_MAGIC)


FORMAT = InputFormat("s390", "s390 stand-alone dump", 54, _probe, _open)
