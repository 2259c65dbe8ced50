"""Partitions of ngdump, the stand-alone dump tool for NVMe and ECKD disks: an ext4 file system with an ELF core.

The core is makedumpfile's. The file ``ngdump.meta`` beside it has lines ``version=1``, ``file=dump.elf`` and
``sha256sum=...`` (``zdump/ngdump.c`` of s390-tools). The sum is not verified, which would mean to read the whole dump.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import UnsupportedError
from vmsieve.formats.files import read_exactly
from vmsieve.formats.inputs import Container
from vmsieve.formats.inputs._ext4 import Ext4
from vmsieve.formats.layouts import ext4

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile

_META: Final = b"ngdump.meta"
_META_MOST: Final = 1 << 16
_VERSION: Final = "1"


def _open(outer: ByteFile) -> tuple[ByteFile, list[str], bool]:
    system = Ext4(outer)
    inode = system.find(ext4.ROOT, _META)
    if inode is None:
        raise UnsupportedError(
            "a file system (ext4), not a dump", file=outer.name,
            hint="mount it and name the dump in it: mount -o ro,loop FILE /mnt",
        )  # fmt: skip
    meta = system.open(inode)
    text = read_exactly(meta, 0, min(meta.size, _META_MOST)).decode("utf-8", "replace")
    facts = dict(line.strip().partition("=")[::2] for line in text.splitlines())
    if facts.get("version") != _VERSION:
        raise UnsupportedError(
            "an unknown version of ngdump.meta", file=outer.name, expected=_VERSION, found=facts.get("version", "none")
        )
    name = facts.get("file", "")
    if not name:
        raise UnsupportedError("the partition is prepared for ngdump, but holds no dump yet", file=outer.name)
    found = system.find(ext4.ROOT, name.encode())
    if found is None:
        raise UnsupportedError("the dump that ngdump.meta names is missing", file=outer.name, found=name[:80])
    remarks = ["the file system was not unmounted: its journal is not replayed"] if system.dirty else []
    return system.open(found), remarks, False


def _probe(start: bytes) -> bool:
    return start[ext4.MAGIC_AT :].startswith(ext4.MAGIC)


# Probed after all other formats, as the magic number is short.
FORMAT = Container("ngdump", "file system of ngdump", 900, _probe, _open)
