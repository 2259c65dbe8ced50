"""Partitions of ngdump, the stand-alone dump tool for NVMe and ECKD disks: an ext4 file system with an ELF core.

The core is makedumpfile's. The file ``ngdump.meta`` beside it has lines ``version=1``, ``file=dump.elf`` and
``sha256sum=...`` (``zdump/ngdump.c`` of s390-tools). The sum is not verified, which would mean to read the whole dump.
Layout of the file system: :mod:`vmsieve.formats.layouts.ext4`. The journal is not replayed.
"""

from __future__ import annotations

from vmsieve.formats.errors import CorruptError, UnsupportedError
from vmsieve.formats.extents import Extents
from vmsieve.formats.files import read_exactly
from vmsieve.formats.inputs import Container
from vmsieve.formats.inputs._pieced_file import PiecedFile
from vmsieve.formats.layouts import ext4
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.files import ByteFile

_META: Final = b"ngdump.meta"
_META_MOST: Final = 1 << 16
_VERSION: Final = "1"
_DEEPEST: Final = 5
_DIRECTORY_MOST: Final = 1 << 20
#: Entries of all nodes of a tree, empty ones among them.
_ENTRIES_MOST: Final = 1 << 20


class Ext4:
    """A read-only ext4 file system, reduced to files in the root directory that are mapped by extents."""

    def __init__(self, file: ByteFile) -> None:
        """Read the superblock of ``file``; raises FormatError if it is damaged or unsupported."""
        self._file = file
        head = ext4.SUPERBLOCK.unpack(read_exactly(file, ext4.SUPERBLOCK_AT, 1024))
        self._inode_size, self._inodes = head.s_inode_size, head.s_inodes_per_group
        valid = head.s_log_block_size <= 6 and self._inodes and 128 <= self._inode_size <= 4096
        if not valid or head.s_magic != ext4.MAGIC:
            raise CorruptError(
                "the superblock of the file system is damaged", file=file.name, offset=ext4.SUPERBLOCK_AT
            )
        features = head.s_feature_incompat
        if features & ~ext4.FEATURES:
            raise UnsupportedError(
                "the file system has unsupported features", file=file.name, found=features & ~ext4.FEATURES
            )
        self.dirty = bool(features & ext4.RECOVER)  # the journal has changes that are not in the file system yet
        self._block = 1024 << head.s_log_block_size
        self._group_size = max(head.s_desc_size, 32) if features & ext4.WIDE else 32
        self._groups_at = (head.s_first_data_block + 1) * self._block

    def find(self, directory: int, name: bytes) -> int | None:
        """Inode number of ``name`` in the directory with inode number ``directory``, or None."""
        listing = self.open(directory)
        data = read_exactly(listing, 0, min(listing.size, _DIRECTORY_MOST))
        at = 0
        while at + ext4.DIRECTORY_ENTRY.size <= len(data):
            entry = ext4.DIRECTORY_ENTRY.unpack(data, at)
            if entry.rec_len < ext4.DIRECTORY_ENTRY.size:
                break
            name_at = at + ext4.DIRECTORY_ENTRY.size
            if entry.inode and data[name_at : name_at + entry.name_len] == name:
                return int(entry.inode)
            at += entry.rec_len
        return None

    def open(self, inode: int) -> PiecedFile:
        """Open the file with number ``inode``; raises FormatError if it is damaged or not mapped by extents."""
        number, index = divmod(inode - 1, self._inodes)
        row = read_exactly(self._file, self._groups_at + number * self._group_size, self._group_size)
        group = ext4.GROUP.unpack((row if self._group_size >= 64 else row[:32]).ljust(64, b"\0"))
        table = group.bg_inode_table_lo | group.bg_inode_table_hi << 32
        at = table * self._block + index * self._inode_size
        found = ext4.INODE.unpack(read_exactly(self._file, at, ext4.INODE.size))
        if not found.i_flags & ext4.EXTENTS_FL:
            raise UnsupportedError("a file in the file system is not mapped by extents", file=self._file.name)
        pieces = Extents()
        self._entries = 0
        for start, count, block in self._leaves(found.i_block, _DEEPEST + 1):
            pieces.add(start * self._block, (start + count) * self._block, block * self._block)
        pieces.resolve_overlaps(last_wins=False)
        return PiecedFile(self._file, found.i_size_lo | found.i_size_high << 32, pieces)

    def _leaves(self, node: bytes, above: int) -> Iterator[tuple[int, int, int]]:
        """Yield the extents below a node of the tree: first block of the file, blocks, first block of the disk."""
        head, size = ext4.EXTENT_HEADER.unpack(node), ext4.EXTENT_HEADER.size
        self._entries += 1 + head.eh_entries
        fits = size + ext4.EXTENT.size * head.eh_entries <= len(node)
        if head.eh_magic != ext4.EXTENT_MAGIC or head.eh_depth >= above or not fits or self._entries > _ENTRIES_MOST:
            raise CorruptError("the extent tree of a file in the file system is damaged", file=self._file.name)
        if head.eh_depth:
            for entry in ext4.EXTENT_INDEX.array(node, size, head.eh_entries):
                child = (entry.ei_leaf_lo | entry.ei_leaf_hi << 32) * self._block
                yield from self._leaves(read_exactly(self._file, child, self._block), head.eh_depth)
            return
        for entry in ext4.EXTENT.array(node, size, head.eh_entries):
            if entry.ee_len <= ext4.WRITTEN_MOST:
                yield entry.ee_block, entry.ee_len, entry.ee_start_lo | entry.ee_start_hi << 32


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
