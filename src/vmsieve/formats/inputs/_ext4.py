"""Enough of ext4 to find one file in the root directory and read it. Nothing is ever written.

Sources: ``fs/ext4/ext4.h`` and ``fs/ext4/ext4_extents.h`` of Linux. All numbers are little-endian. The journal is not
replayed; files that are not mapped by extents are refused.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import CorruptError, UnsupportedError
from vmsieve.formats.extents import Extents
from vmsieve.formats.files import read_exactly
from vmsieve.formats.inputs._pieced_file import PiecedFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.files import ByteFile

__all__ = ["MAGIC", "MAGIC_AT", "ROOT", "Ext4"]

#: The superblock, and s_magic in it.
_SUPERBLOCK: Final = 1024
MAGIC_AT: Final = _SUPERBLOCK + 0x38
MAGIC: Final = b"\x53\xef"
#: Features of s_feature_incompat: those that change nothing for a reader of plain files, and one that is told.
_FEATURES: Final = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000
_RECOVER: Final = 0x4
_64BIT: Final = 0x80
#: Inode of the root directory.
ROOT: Final = 2
_USES_EXTENTS: Final = 0x80000
_TREE_MAGIC: Final = 0xF30A
_DEEPEST: Final = 5
#: ee_len from here on: reserved, never written, reads as zeros.
_UNWRITTEN: Final = 32768
_DIRECTORY_MOST: Final = 1 << 20
#: Entries of all nodes of a tree, empty ones among them.
_ENTRIES_MOST: Final = 1 << 20


class Ext4:
    """An ext4 file system.

    Attributes:
        dirty: Its journal holds what is not yet where it belongs.
    """

    def __init__(self, file: ByteFile) -> None:
        """Read the superblock of ``file``.

        Raises:
            FormatError: It is of a kind that is not read here.
        """
        self._file = file
        head = read_exactly(file, _SUPERBLOCK, 1024)
        (first, log_size), (inodes,) = struct.unpack_from("<II", head, 0x14), struct.unpack_from("<I", head, 0x28)
        (self._inode_size,), (features,) = struct.unpack_from("<H", head, 0x58), struct.unpack_from("<I", head, 0x60)
        (row,) = struct.unpack_from("<H", head, 0xFE)
        if log_size > 6 or not inodes or not 128 <= self._inode_size <= 4096 or head[0x38:0x3A] != MAGIC:
            raise CorruptError("the superblock of the file system is damaged", file=file.name, offset=_SUPERBLOCK)
        if features & ~_FEATURES:
            raise UnsupportedError(
                "the file system has features that are not known here", file=file.name, found=features & ~_FEATURES
            )
        self.dirty = bool(features & _RECOVER)
        self._block = 1024 << log_size
        self._inodes = inodes
        self._row = max(row, 32) if features & _64BIT else 32
        self._rows_at = (first + 1) * self._block

    def find(self, directory: int, name: bytes) -> int | None:
        """Inode of the file called ``name`` in a directory; None if there is none."""
        listing = self.open(directory)
        data = read_exactly(listing, 0, min(listing.size, _DIRECTORY_MOST))
        at = 0
        while at + 8 <= len(data):
            inode, size, length = struct.unpack_from("<IHB", data, at)
            if size < 8:
                break
            if inode and data[at + 8 : at + 8 + length] == name:
                return int(inode)
            at += size
        return None

    def open(self, inode: int) -> PiecedFile:
        """The file of an inode.

        Raises:
            FormatError: It can't be read here.
        """
        group, number = divmod(inode - 1, self._inodes)
        row = read_exactly(self._file, self._rows_at + group * self._row, self._row)
        (table,) = struct.unpack_from("<I", row, 8)
        table |= struct.unpack_from("<I", row, 0x28)[0] << 32 if self._row >= 64 else 0
        data = read_exactly(self._file, table * self._block + number * self._inode_size, 128)
        (low,), (flags,), (high,) = (struct.unpack_from("<I", data, at) for at in (4, 0x20, 0x6C))
        if not flags & _USES_EXTENTS:
            raise UnsupportedError("a file in the file system is not mapped by extents", file=self._file.name)
        pieces = Extents()
        self._entries = 0
        for start, count, place in self._leaves(data[0x28 : 0x28 + 60], _DEEPEST + 1):
            pieces.add(start * self._block, (start + count) * self._block, place * self._block)
        pieces.settle(last_wins=False)
        return PiecedFile(self._file, low | high << 32, pieces)

    def _leaves(self, node: bytes, above: int) -> Iterator[tuple[int, int, int]]:
        """What a node of the tree maps: first block of the file, blocks, first block of the disk."""
        magic, count, _, depth = struct.unpack_from("<HHHH", node)
        self._entries += 1 + count
        if magic != _TREE_MAGIC or depth >= above or 12 + 12 * count > len(node) or self._entries > _ENTRIES_MOST:
            raise CorruptError("the map of a file in the file system is damaged", file=self._file.name)
        for at in range(12, 12 + 12 * count, 12):
            if depth:
                _, low, high = struct.unpack_from("<IIH", node, at)
                child = read_exactly(self._file, (low | high << 32) * self._block, self._block)
                yield from self._leaves(child, depth)
            else:
                start, blocks, high, low = struct.unpack_from("<IHHI", node, at)
                if blocks <= _UNWRITTEN:
                    yield start, blocks, low | high << 32
