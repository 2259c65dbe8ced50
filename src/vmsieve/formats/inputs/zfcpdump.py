"""Whole SCSI disks with a dump of zfcpdump: one partition holds a plain ELF core.

Sources: ``include/boot/boot_defs.h`` (``struct scsi_mbr``, ``struct boot_info``, ``struct scsi_dump_sb``) and
``zfcpdump/zfcpdump_part.c`` of s390-tools. The partition alone is the core itself, which :mod:`.elf` reads.
While zfcpdump writes, the partition begins with :data:`_BUSY`.
"""

from __future__ import annotations

from vmsieve.formats.errors import CorruptError, TruncatedError, UnsupportedError
from vmsieve.formats.extents import Extents
from vmsieve.formats.files import read_exactly
from vmsieve.formats.inputs import Container
from vmsieve.formats.inputs._pieced_file import PiecedFile
from vmsieve.formats.layouts import Struct
from vmsieve.formats.os_info import checksum
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile

#: boot_info in the first block: magic, version, dump, SCSI.
_BOOT_AT: Final = 0x70
_BOOT: Final = b"zIPL\x01\x01\x02"
#: Offset of the superblock in bytes.
_BLOCK_AT: Final = 0x78
_MAGIC: Final = 0x5A46435044554D50  # ZFCPDUMP
_SUPERBLOCK: Final = Struct(
    "struct scsi_dump_sb",
    "magic:Q version:Q part_start:Q part_size:Q dump_offset:Q dump_size:Q csum_offset:Q csum_size:Q csum:Q",
    "big",
)
#: Precedes the checked bytes in the checksum.
_SEED: Final = bytes.fromhex("12345678")
_CHECKED_MOST: Final = 1 << 20
_BUSY: Final = b"zfcpdump busy"


def _open(outer: ByteFile) -> tuple[ByteFile, list[str], bool]:
    head = read_exactly(outer, 0, 512) if outer.size >= 512 else b""
    if head.startswith(_BUSY) or not head:
        raise _busy(outer)
    at = int.from_bytes(head[_BLOCK_AT : _BLOCK_AT + 8], "big")
    try:
        block = _SUPERBLOCK.unpack(read_exactly(outer, at, _SUPERBLOCK.size))
    except TruncatedError as error:
        raise TruncatedError("the superblock of the dump is not in the file", file=outer.name, offset=at) from error
    if block.magic != _MAGIC:
        raise CorruptError("the disk has no superblock of zfcpdump", file=outer.name, offset=at, found=block.magic)
    begin = block.part_start + block.dump_offset
    size = min(block.dump_size, block.part_size - block.dump_offset, outer.size - begin)
    if size <= 0 or begin < len(head) or block.csum_size > _CHECKED_MOST:
        raise CorruptError("the superblock of the dump is damaged, or the disk is cut off", file=outer.name, offset=at)
    partition = Extents()
    partition.add(0, size, begin)
    inner = PiecedFile(outer, size, partition)
    if read_exactly(inner, 0, min(len(_BUSY), size)) == _BUSY:
        raise _busy(outer)
    try:
        found = checksum(_SEED + read_exactly(outer, block.part_start + block.csum_offset, block.csum_size))
    except TruncatedError:
        found = -1
    changed = found != block.csum
    return inner, ["the dump's partition was written to after the dump: its checksum differs"] * changed, False


def _busy(file: ByteFile) -> UnsupportedError:
    return UnsupportedError(
        "zfcpdump did not finish this dump", file=file.name,
        hint="it writes the start of the file last: nothing can be read",
    )  # fmt: skip


def _probe(start: bytes) -> bool:
    return start[_BOOT_AT:].startswith(_BOOT) or start.startswith(_BUSY)


FORMAT = Container("zfcpdump", "SCSI disk of zfcpdump", 44, _probe, _open)
