"""SCSI disks with a dump of zfcpdump on them: the whole disk, of which one partition holds a plain ELF core.

Sources: ``include/boot/boot_defs.h`` (``struct scsi_mbr``, ``struct boot_info``, ``struct scsi_dump_sb``) and
``zfcpdump/zfcpdump_part.c`` of s390-tools. The partition alone is the core itself and needs nothing from here. While
zfcpdump is at it the partition begins with a word that says so.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import CorruptError, TruncatedError, UnsupportedError
from vmsieve.formats.files import read_as, read_exactly
from vmsieve.formats.inputs import Container
from vmsieve.formats.os_info import checksum

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile

__all__ = ["FORMAT"]

#: boot_info in the disk's first block: magic, version, that it is for dumps, that the disk is a SCSI one.
_BOOT_AT: Final = 0x70
_BOOT: Final = b"zIPL\x01\x01\x02"
#: Offset of the superblock in bytes.
_BLOCK_AT: Final = 0x78
_MAGIC: Final = 0x5A46435044554D50  # ZFCPDUMP
#: magic, version, part_start, part_size, dump_offset, dump_size, csum_offset, csum_size, csum.
_SUPERBLOCK: Final = struct.Struct(">9Q")
#: What the checksum begins with.
_SEED: Final = bytes.fromhex("12345678")
_CHECKED_MOST: Final = 1 << 20
_BUSY: Final = b"zfcpdump busy"


class _PartFile:
    """A part of a file; see :class:`vmsieve.formats.files.ByteFile`."""

    def __init__(self, outer: ByteFile, start: int, size: int) -> None:
        self.name = outer.name
        self.size = size
        self._outer, self._start = outer, start

    def read_into(self, offset: int, out: memoryview) -> int:
        """See :class:`vmsieve.formats.files.ByteFile`."""
        part = out[: max(self.size - offset, 0)]
        return read_as(self._outer, self._start + offset, part, offset, self.name) if part else 0

    def close(self) -> None:
        """Close the whole file."""
        self._outer.close()


def _open(outer: ByteFile) -> tuple[ByteFile, list[str], bool]:
    head = read_exactly(outer, 0, 512) if outer.size >= 512 else b""
    if head.startswith(_BUSY) or not head:
        raise _busy(outer)
    (at,) = struct.unpack_from(">Q", head, _BLOCK_AT)
    try:
        magic, _, start, size, offset, room, checked_at, checked_size, stored = _SUPERBLOCK.unpack(
            read_exactly(outer, at, _SUPERBLOCK.size)
        )
    except TruncatedError as error:
        raise TruncatedError("the superblock of the dump is not in the file", file=outer.name, offset=at) from error
    if magic != _MAGIC:
        raise CorruptError("the disk has no superblock of zfcpdump", file=outer.name, offset=at, found=magic)
    begin = start + offset
    there = min(room, size - offset, outer.size - begin)
    if there <= 0 or begin < len(head) or checked_size > _CHECKED_MOST:
        raise CorruptError("the superblock of the dump is damaged, or the disk is cut off", file=outer.name, offset=at)
    inner = _PartFile(outer, begin, there)
    if read_exactly(inner, 0, min(len(_BUSY), there)) == _BUSY:
        raise _busy(outer)
    return inner, _judge(outer, start + checked_at, checked_size, stored), False


def _judge(outer: ByteFile, at: int, size: int, stored: int) -> list[str]:
    try:
        found = checksum(_SEED + read_exactly(outer, at, size))
    except TruncatedError:
        found = -1
    return [] if found == stored else ["the dump's partition was written to after the dump: its checksum differs"]


def _busy(file: ByteFile) -> UnsupportedError:
    return UnsupportedError(
        "zfcpdump did not come to the end of this dump", file=file.name,
        hint="it writes the start, without which nothing can be read, last",
    )  # fmt: skip


def _probe(start: bytes) -> bool:
    return start[_BOOT_AT:].startswith(_BOOT) or start.startswith(_BUSY)


FORMAT = Container("zfcpdump", "SCSI disk of zfcpdump", 44, _probe, _open)
