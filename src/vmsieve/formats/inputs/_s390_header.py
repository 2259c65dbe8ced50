"""Header and end marker of s390 stand-alone dumps, and the base of their sources."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from vmsieve.formats.errors import TruncatedError, UnsupportedError
from vmsieve.formats.files import read_exactly
from vmsieve.formats.inputs._zero_filled import ZeroFilledSource
from vmsieve.formats.layouts import s390

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.layouts import Fields


class StandAloneSource(ZeroFilledSource):
    """An open stand-alone dump. Subclasses find the stored memory."""

    def __init__(self, file: ByteFile, kind: str, header: Fields) -> None:
        """Describe the dump with ``header``, of :func:`read_header`."""
        super().__init__(file, f"s390 {kind}, version {header.version}", header.mem_size)
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
    """:data:`s390.HEADER` at ``offset``, whose magic number the caller checked, with ``prefixes``.

    Raises:
        TruncatedError: The file ends within it.
        UnsupportedError: It is a dump of a 31-bit system.
    """
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
