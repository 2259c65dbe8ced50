"""Partitions with a file system: ngdump's, the stand-alone dump tool for NVMe and ECKD disks.

It runs makedumpfile in a kernel of its own, into a file ``dump.elf`` of an ext4 file system beside ``ngdump.meta``
(``zdump/ngdump.c`` of s390-tools). File systems are the kernel's to read: here it is only told what the file is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import UnsupportedError
from vmsieve.formats.inputs import Container

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile

__all__ = ["FORMAT"]

#: s_magic of the superblock at 1024, little-endian on every machine (``fs/ext4/ext4.h`` of Linux).
_MAGIC_AT: Final = 1024 + 0x38
_MAGIC: Final = b"\x53\xef"


def _open(outer: ByteFile) -> tuple[ByteFile, list[str], bool]:
    raise UnsupportedError(
        "a file system (ext4), not a dump", file=outer.name,
        hint="mount it and name the dump in it: mount -o ro,loop FILE /mnt; ngdump's is /mnt/dump.elf",
    )  # fmt: skip


def _probe(start: bytes) -> bool:
    return start[_MAGIC_AT:].startswith(_MAGIC)


# After all formats: the magic number is short.
FORMAT = Container("ngdump", "file system of ngdump", 900, _probe, _open)
