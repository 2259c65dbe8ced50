"""ext4 file systems: the structures for reading a file.

Sources: ``fs/ext4/ext4.h`` and ``fs/ext4/ext4_extents.h`` of Linux. All numbers are little-endian.
"""

from __future__ import annotations

from vmsieve.formats.layouts import Struct
from vmsieve.formats.slim.typing import Final

SUPERBLOCK_AT: Final = 1024
SUPERBLOCK: Final = Struct(
    "struct ext4_super_block",
    "s_first_data_block:I@0x14 s_log_block_size:I s_inodes_per_group:I@0x28 s_magic:2s@0x38 s_inode_size:H@0x58"
    " s_feature_incompat:I@0x60 s_desc_size:H@0xfe",
    "little",
)
MAGIC: Final = b"\x53\xef"
MAGIC_AT: Final = SUPERBLOCK_AT + SUPERBLOCK.offset("s_magic")
RECOVER: Final = 0x4
WIDE: Final = 0x80  # EXT4_FEATURE_INCOMPAT_64BIT
#: Bits of s_feature_incompat that change nothing for a reader of plain files, besides.
FEATURES: Final = RECOVER | WIDE | 0x2 | 0x40 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000

#: Without s_feature_incompat's :data:`WIDE` 32 bytes.
GROUP: Final = Struct("struct ext4_group_desc", "bg_inode_table_lo:I@8 bg_inode_table_hi:I@0x28 :@64", "little")

#: Inode of the root directory.
ROOT: Final = 2
INODE: Final = Struct(
    "struct ext4_inode", "i_size_lo:I@4 i_flags:I@0x20 i_block:60s@0x28 i_size_high:I@0x6c :@128", "little"
)
EXTENTS_FL: Final = 0x80000
#: The name follows.
DIRECTORY_ENTRY: Final = Struct("struct ext4_dir_entry_2", "inode:I rec_len:H name_len:B file_type:B", "little")

EXTENT_HEADER: Final = Struct("struct ext4_extent_header", "eh_magic:H eh_entries:H eh_max:H eh_depth:H :4x", "little")
EXTENT_MAGIC: Final = 0xF30A
EXTENT_INDEX: Final = Struct("struct ext4_extent_idx", "ei_block:I ei_leaf_lo:I ei_leaf_hi:H :2x", "little")
EXTENT: Final = Struct("struct ext4_extent", "ee_block:I ee_len:H ee_start_hi:H ee_start_lo:I", "little")
#: Values of ee_len above this: allocated, never written, reads as zeros.
WRITTEN_MOST: Final = 32768
