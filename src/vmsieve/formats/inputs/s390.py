"""Single-volume stand-alone dumps of s390x: from DASD, FBA disks and tapes, and by ``zgetdump -f s390``.

Layout: :mod:`vmsieve.formats.layouts.s390`. If the end marker is missing, or is of an older dump on the same disk, the
dumper did not finish; the memory before is read. A copy of a tape has no records any more: it differs from a disk only
in that memory may be padded to a whole record.
"""

from __future__ import annotations

import struct
import time

from vmsieve.formats.errors import TruncatedError, UnsupportedError
from vmsieve.formats.extents import Extents
from vmsieve.formats.files import read_exactly
from vmsieve.formats.inputs import InputFormat, begins_with
from vmsieve.formats.inputs._zero_filled import ZeroFilledSource
from vmsieve.formats.layouts import s390
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.layouts import Fields


class StandAloneSource(ZeroFilledSource):
    """An open stand-alone dump. Subclasses find the stored memory."""

    def __init__(self, file: ByteFile, kind: str, header: Fields) -> None:
        """Describe the dump with ``header``, of :func:`read_header`."""
        super().__init__(file, f"s390 {kind}, version {header.version}", header.mem_size)
        self.prefixes = header.prefixes
        self.crash_time = s390.microseconds(header.tod) // 1_000_000 if header.tod else None
        # As zgetdump -i shows them.
        values = {
            "version": header.version,
            "dump_created": moment(header.tod) if header.tod else None,
            "cpu_id": f"{header.cpu_id:016x}" if header.cpu_id else None,
            "volume_number": header.volnr if header.mvdump == 1 else None,
            "cpus_online": len(header.prefixes),
            "cpus_real": header.real_cpu_cnt or None,
            "dump_memory": header.mem_size,
            "real_memory": header.mem_size_real or None,
            "zlib_version": header.zlib_version_s390 or None,
            "zlib_unit": header.zlib_entry_size if header.zlib_version_s390 else None,
        }
        self.header.update((name, value) for name, value in values.items() if value is not None)

    def set_end(self, tod: int | None, problem: str) -> None:
        """Take the result of :func:`end_marker`."""
        if tod is None:
            self.incomplete = True
            self.remarks.append(problem)
        elif tod:
            self.header["dump_ended"] = moment(tod)


def read_header(file: ByteFile, offset: int = 0) -> Fields:
    """:data:`s390.HEADER` at ``offset``, whose magic number the caller checked, with ``prefixes``."""
    if file.size - offset < s390.HEADER_SIZE:
        raise TruncatedError(
            "the file ends within the dump's header", file=file.name, offset=offset, expected=s390.HEADER_SIZE
        )
    data = read_exactly(file, offset, s390.HEADER_SIZE)
    head = s390.HEADER.unpack(data)
    if s390.ARCH_31 in (head.arch, head.build_arch):
        raise UnsupportedError(
            "a dump of a 31-bit s390 system", file=file.name, hint="only 64-bit machines are supported"
        )
    head.prefixes = struct.unpack_from(f">{min(head.cpu_cnt, s390.CPUS_MOST)}I", data, s390.PREFIXES_AT)
    return head


def end_marker(file: ByteFile, offset: int, header: Fields) -> tuple[int | None, str]:
    """TOD clock in the end marker at ``offset``; or None, and why it is not this dump's marker."""
    data = bytearray(s390.END.size)
    got = file.read_into(offset, memoryview(data)) if offset < file.size else 0
    marker = s390.END.unpack(data)
    # A tape's marker may be a record of the text alone.
    if marker.text != s390.END_TEXT or got not in (len(marker.text), len(data)):
        return None, "the dump is not complete: its end marker is missing"
    if got == len(data) and marker.tod < header.tod:
        return None, "the dump is not complete: the end marker is an older dump's"
    return marker.tod, ""


def moment(tod: int) -> str:
    """A TOD clock value as text."""
    seconds, rest = divmod(s390.microseconds(tod), 1_000_000)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(seconds))}.{rest:06} UTC"


class S390Source(StandAloneSource):
    """An open dump of one volume, with memory in one piece."""

    def __init__(self, file: ByteFile, header: Fields) -> None:
        """Look for the end marker, and map the memory before it; raises CorruptError if the header is invalid."""
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


def _open(file: ByteFile) -> S390Source:
    header = read_header(file)
    if header.mvdump == 1 or header.volnr:
        raise UnsupportedError(
            "a dump of the old multi-volume format (s390mv)", file=file.name, hint="no current tool reads it"
        )
    return S390Source(file, header)


FORMAT = InputFormat("s390", "s390 stand-alone dump", 54, begins_with(struct.pack(">Q", s390.MAGIC)), _open)
