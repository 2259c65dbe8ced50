"""The header of an s390 stand-alone dump, and the marker at its end."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import TruncatedError, UnsupportedError
from vmsieve.formats.files import read_exactly
from vmsieve.formats.layouts import s390
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile

__all__ = ["Header", "end_marker", "moment", "read_header"]

_NAMES: Final = (
    "magic", "version", "header_size", "level", "page_size", "memory_size", "memory_start", "memory_end", "pages",
    "pad", "tod", "cpu_id", "arch", "volume", "build_arch", "real_memory", "multi", "cpus", "real_cpus", "zlib_version",
    "unit_size",
)  # fmt: skip


@record(frozen=True)
class Header:
    """What matters of the header.

    Attributes:
        magic: Which format it is.
        version: Of the format.
        memory_size: Bytes that were dumped, or were to be.
        tod: TOD clock when the dump began; 0: unknown.
        cpu_id: Of the processor that dumped, as STIDP stores it; 0: unknown.
        volume: Number of the volume, from 0.
        multi: It is a part of a dump on several volumes.
        signed: zipl prepared the volume as one of several: ``mvdump_sign``.
        zipl_time: When it did.
        real_memory: Bytes that the machine had; 0: unknown.
        real_cpus: Processors that stored their status.
        prefixes: Where the lowcores are of those whose registers are in the dump.
        zlib_version: 0: no segment is compressed.
        unit_size: Bytes that were compressed at a time.
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
        """For people: what ``zgetdump -i`` tells, as far as it is known."""
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
    """The header at ``offset``, which begins with one of the magic numbers.

    Raises:
        TruncatedError: The file ends within it.
        UnsupportedError: It is a dump of a 31-bit system.
    """
    if file.size - offset < s390.HEADER_SIZE:
        raise TruncatedError(
            "the file ends within the dump's header", file=file.name, offset=offset, expected=s390.HEADER_SIZE
        )
    data = read_exactly(file, offset, s390.HEADER_SIZE)
    values: dict[str, int] = dict(zip(_NAMES, struct.unpack_from(s390.HEADER, data)))
    if s390.ARCH_31 in (values["arch"], values["build_arch"]):
        raise UnsupportedError("a dump of a 31-bit s390 system", file=file.name, hint="only 64-bit machines are known")
    sign, zipl_time = struct.unpack_from(s390.SIGN, data, s390.SIGN_AT)
    count = min(values["cpus"], s390.CPUS_MOST)
    return Header(
        magic=values["magic"], version=values["version"], memory_size=values["memory_size"], tod=values["tod"],
        cpu_id=values["cpu_id"], volume=values["volume"], multi=values["multi"] == 1, signed=sign == s390.MAGIC_EXT,
        zipl_time=zipl_time, real_memory=values["real_memory"], real_cpus=values["real_cpus"],
        prefixes=struct.unpack_from(f">{count}I", data, s390.PREFIXES_AT), zlib_version=values["zlib_version"],
        unit_size=values["unit_size"],
    )  # fmt: skip


def end_marker(file: ByteFile, offset: int, header: Header) -> tuple[int | None, str]:
    """The TOD clock in the end marker at ``offset``; None, and a sentence, if that is not this dump's marker."""
    data = bytearray(s390.END_SIZE)
    got = file.read_into(offset, memoryview(data)) if offset < file.size else 0
    text, tod = struct.unpack(s390.END, data)
    # A tape's marker may be a record of the text alone.
    if text != s390.END_TEXT or got not in (len(text), s390.END_SIZE):
        return None, "the dump is not complete: its end marker is missing"
    if got == s390.END_SIZE and tod < header.tod:
        return None, "the dump is not complete: the end marker is an older dump's"
    return tod, ""


def moment(tod: int) -> str:
    """A TOD clock value for people."""
    seconds, rest = divmod(s390.microseconds(tod), 1_000_000)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(seconds))}.{rest:06} UTC"
