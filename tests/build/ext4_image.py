"""Small ext4 file systems made by hand, after ``fs/ext4/ext4.h`` of Linux; one group, files in the root directory."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

EXTENTS = 0x80000
TYPICAL = 0x2 | 0x40 | 0x200  # filetype, extents, flex_bg


def node(depth: int, rows: list[bytes]) -> bytes:
    """A node of an extent tree."""
    return struct.pack("<HHHHI", 0xF30A, len(rows), 4, depth, 0) + b"".join(rows)


def leaf(start: int, count: int, place: int) -> bytes:
    """``count`` blocks of the file from ``start`` on, at ``place`` of the disk."""
    return struct.pack("<IHHI", start, count, place >> 32, place & 0xFFFFFFFF)


@dataclass
class Image:
    """A file system with files by name.

    Attributes:
        files: Their contents.
        block: Bytes per block.
        features: s_feature_incompat.
        inode_size: Bytes an inode.
        piece: Maximum number of blocks per extent; a file of more than four extents gets a tree of two levels.
        flags: i_flags of the files.
        sizes: i_size where it differs from the content's.
    """

    files: dict[bytes, bytes]
    block: int = 1024
    features: int = TYPICAL
    inode_size: int = 256
    piece: int = 2
    flags: int = EXTENTS
    sizes: dict[bytes, int] = field(default_factory=dict)

    def build(self) -> bytes:
        """The image. Blocks of a file lie in reverse order; a block of zeros is a hole."""
        self._disk: dict[int, bytes] = {}
        first = 1 if self.block == 1024 else 0
        self._next = 40
        names = [(12 + i, name) for i, name in enumerate(self.files)]
        listing = b"".join(self._entry(inode, name) for inode, name in [(2, b"."), (2, b".."), *names])
        inodes = {2: self._inode(listing.ljust(self.block, b"\0"), EXTENTS, None)}
        for inode, name in names:
            inodes[inode] = self._inode(self.files[name], self.flags, self.sizes.get(name))
        wide = self.features & 0x80
        row = struct.pack("<III", 0, 0, 10).ljust(64 if wide else 32, b"\0")
        table = b"".join(inodes.get(i, b"").ljust(self.inode_size, b"\0") for i in range(1, 64))
        self._put(first + 1, row)
        self._put(10, table)
        out = bytearray(max(self._disk) * self.block + self.block)
        for number, data in self._disk.items():
            out[number * self.block : number * self.block + len(data)] = data
        head = bytearray(1024)
        struct.pack_into("<II", head, 0x14, first, self.block.bit_length() - 11)
        struct.pack_into("<I", head, 0x28, 64)
        head[0x38:0x3A] = b"\x53\xef"
        struct.pack_into("<H", head, 0x58, self.inode_size)
        struct.pack_into("<I", head, 0x60, self.features)
        struct.pack_into("<H", head, 0xFE, 64 if wide else 0)
        out[1024:2048] = head
        return bytes(out)

    def _put(self, number: int, data: bytes) -> None:
        for at in range(0, len(data), self.block):
            self._disk[number + at // self.block] = data[at : at + self.block]

    def _entry(self, inode: int, name: bytes) -> bytes:
        size = -(-(8 + len(name)) // 4) * 4
        return struct.pack("<IHBB", inode, size, len(name), 1) + name.ljust(size - 8, b"\0")

    def _inode(self, content: bytes, flags: int, size: int | None) -> bytes:
        step = self.block * self.piece
        parts = [(at // self.block, content[at : at + step]) for at in range(0, len(content), step)]
        parts = [(start, part) for start, part in parts if any(part)]
        rows = []
        for start, part in reversed(parts):
            self._put(self._next, part)
            rows.append(leaf(start, -(-len(part) // self.block), self._next))
            self._next += -(-len(part) // self.block) + 1
        rows.reverse()
        depth = 0
        while len(rows) > 4:
            parents = []
            for i in range(0, len(rows), 40):
                self._put(self._next, node(depth, rows[i : i + 40]))
                parents.append(rows[i][:4] + struct.pack("<IHH", self._next, 0, 0))
                self._next += 1
            rows, depth = parents, depth + 1
        size = len(content) if size is None else size
        out = bytearray(self.inode_size)
        struct.pack_into("<HHI", out, 0, 0x81A4, 0, size & 0xFFFFFFFF)
        struct.pack_into("<I", out, 0x20, flags)
        tree = node(depth, rows)
        out[0x28 : 0x28 + len(tree)] = tree
        struct.pack_into("<I", out, 0x6C, size >> 32)
        return bytes(out)
