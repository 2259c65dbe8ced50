"""Stand-alone dumps of s390x: the headers that the dump tools on DASD, FBA disks and tapes write.

Sources: ``include/dump/s390_dump.h`` and ``zdump/df_s390.c`` of s390-tools. All numbers are big-endian. The header of
4096 bytes is followed by:

* ``s390``: all memory, then the end marker. So do the tape and zgetdump's output.
* ``s390_ext``: segments, each a header of 4096 bytes and its data, the last one with a stop marker; the end marker.
  Memory that no segment holds is zero.
* ``s390mv_ext``: the same over several disks, each with its own header and segments.
"""

from __future__ import annotations

from vmsieve.formats.layouts import Struct
from vmsieve.formats.slim.typing import Final

MAGIC: Final = 0xA8190173618F23FD
MAGIC_EXT: Final = 0xA8190173618F23FE

#: mvdump_sign: :data:`MAGIC_EXT` on a volume of several that zipl signed. Then, at :data:`PREFIXES_AT`, lc_vec: the
#: prefixes of ``cpu_cnt`` processors, u32 each.
HEADER: Final = Struct(
    "struct df_s390_hdr",
    "magic:Q version:I hdr_size:I dump_level:I page_size:I mem_size:Q mem_start:Q mem_end:Q num_pages:I pad:I tod:Q"
    " cpu_id:Q arch:I volnr:I build_arch:I mem_size_real:Q mvdump:B cpu_cnt:H real_cpu_cnt:H zlib_version_s390:B"
    " zlib_entry_size:I mvdump_sign:Q@0x200 mvdump_zipl_time:Q",
    "big",
)
HEADER_SIZE: Final = 0x1000
PAGE_SIZE: Final = 0x1000
#: Of zgetdump and the old tools; extended dumps have 1, or 2 if segments may be compressed.
VERSION: Final = 5
VERSION_ZLIB: Final = 2
LEVEL: Final = 4
ARCH_31: Final = 1
ARCH_64: Final = 2
PREFIXES_AT: Final = 0x800
CPUS_MOST: Final = 512

#: The end marker; tod: when the dump ended, not before ``tod`` of the header.
END: Final = Struct("struct df_s390_em", "text:8s tod:Q", "big")
END_TEXT: Final = b"DUMP_END"

#: size_on_disk: in blocks; 0: not compressed. Then, at :data:`ENTRIES_AT`, an offset for each entry: blocks from the
#: end of the segment's header.
SEGMENT: Final = Struct(
    "struct df_s390_dump_segm_hdr", "start:Q len:Q stop_marker:Q size_on_disk:I entry_count:I@0x30", "big"
)
SEGMENT_SIZE: Final = 0x1000
ENTRIES_AT: Final = SEGMENT.size
ENTRIES_MOST: Final = 1011
#: Bit of an entry's offset: stored uncompressed.
ENTRY_PLAIN: Final = 1 << 31

#: Tapes are written in records of this size; the last one of memory may be padded.
TAPE_RECORD: Final = 0x8000

# The dump tool on a disk of a set: in block 3; magic and a version of one byte.
TOOL_BLOCK: Final = 3
TOOL_SINGLE: Final = b"XECKD64"
TOOL_MULTI: Final = b"XMULT64"
#: Bytes of the multi-volume tool by its version.
TOOL_SIZES: Final = {1: 0x3000, 2: 0x4000}
#: Behind the tool.
VOLUMES: Final = Struct("table of volumes", "timestamp:Q vol_cnt:H", "big")
VOLUMES_MOST: Final = 32
#: end_blk: the last one; blk_size: in units of 256 bytes. Behind all entries: one byte each, the subchannel set.
VOLUME: Final = Struct("volume", "devno:H start_blk:I end_blk:I blk_size:B bpt:B heads:B", "big")
TABLE_SIZE: Final = VOLUMES.size + VOLUMES_MOST * (VOLUME.size + 1)

#: The TOD clock counts from 1900, bit 51 is a microsecond: its value at 1970.
_TOD_1970: Final = 0x8126D60E46000000 - 0x3C26700 * 1_000_000 * 4096
_TOD_MASK: Final = (1 << 64) - 1


def microseconds(tod: int) -> int:
    """A TOD clock value as microseconds since 1970."""
    return ((tod - _TOD_1970) & _TOD_MASK) >> 12


def tod_clock(microseconds: int) -> int:
    """Microseconds since 1970 as a TOD clock value."""
    return ((microseconds << 12) + _TOD_1970) & _TOD_MASK
