"""The header of an s390 stand-alone dump, and the marker at its end."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from vmsieve.formats.errors import TruncatedError, UnsupportedError
from vmsieve.formats.files import read_exactly
from vmsieve.formats.layouts import s390
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile

__all__ = ["Header", "end_marker", "moment", "read_header"]


@record(frozen=True)
class Header:
    """The used part of the header.

    Attributes:
        magic: :data:`s390.MAGIC` or :data:`s390.MAGIC_EXT`.
        version: Of the format.
        memory_size: Bytes of dumped memory.
        tod: TOD clock at the start of the dump; 0: unknown.
        cpu_id: Of the dumping processor, as STIDP stores it; 0: unknown.
        volume: Number of the volume, from 0.
        multi: Part of a dump on several volumes.
        signed: zipl prepared the volume as one of several: ``mvdump_sign``.
        zipl_time: Time of that.
        real_memory: Bytes of the machine's memory; 0: unknown.
        real_cpus: Processors that stored their status.
        prefixes: Addresses of their lowcores.
        zlib_version: 0: no segment is compressed.
        unit_size: Bytes compressed at a time.
    """

    magic: int
    version: int
    memory_size: int
    tod: int
    cpu_id: int
    volume: int
    multi: bool
    signed: bool
    zipl_time: int
    real_memory: int
    real_cpus: int
    prefixes: tuple[int, ...]
    zlib_version: int
    unit_size: int

    def facts(self) -> dict[str, object]:
        """Header values for ``info``, as ``zgetdump -i`` shows them."""
        found: dict[str, object] = {"version": self.version}
        if self.tod:
            found["dump_created"] = moment(self.tod)
        if self.cpu_id:
            found["cpu_id"] = f"{self.cpu_id:016x}"
        if self.multi:
            found["volume_number"] = self.volume
        found["cpus_online"] = len(self.prefixes)
        if self.real_cpus:
            found["cpus_real"] = self.real_cpus
        found["dump_memory"] = self.memory_size
        if self.real_memory:
            found["real_memory"] = self.real_memory
        if self.zlib_version:
            found["zlib_version"] = self.zlib_version
            found["zlib_unit"] = self.unit_size
        return found

    def crash_time(self) -> int | None:
        """Seconds since 1970."""
        return s390.microseconds(self.tod) // 1_000_000 if self.tod else None


def read_header(file: ByteFile, offset: int = 0) -> Header:
    """The header at ``offset``, whose magic number the caller checked.

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
    return Header(
        magic=head.magic,
        version=head.version,
        memory_size=head.mem_size,
        tod=head.tod,
        cpu_id=head.cpu_id,
        volume=head.volnr,
        multi=head.mvdump == 1,
        signed=head.mvdump_sign == s390.MAGIC_EXT,
        zipl_time=head.mvdump_zipl_time,
        real_memory=head.mem_size_real,
        real_cpus=head.real_cpu_cnt,
        prefixes=struct.unpack_from(f">{min(head.cpu_cnt, s390.CPUS_MOST)}I", data, s390.PREFIXES_AT),
        zlib_version=head.zlib_version_s390,
        unit_size=head.zlib_entry_size,
    )


def end_marker(file: ByteFile, offset: int, header: Header) -> tuple[int | None, str]:
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
