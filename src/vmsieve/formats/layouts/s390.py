"""Stand-alone dumps of s390x: the headers that the dump tools on DASD, FBA disks and tapes write.

Sources: ``include/dump/s390_dump.h`` and ``zdump/df_s390.c`` of s390-tools. All numbers are big-endian; layouts are
:mod:`struct` formats. What differs by format is what follows the header of 4096 bytes:

* ``s390``: all memory, then the end marker. So do the tape and zgetdump's output.
* ``s390_ext``: segments, each a header of 4096 bytes and its data, the last one with a stop marker; the end marker.
  Memory that no segment holds is zero.
* ``s390mv_ext``: the same over several disks, each with a header and segments of its own.
"""

from __future__ import annotations

from typing import Final

MAGIC: Final = 0xA8190173618F23FD
MAGIC_EXT: Final = 0xA8190173618F23FE

#: magic, version, hdr_size, dump_level, page_size, mem_size, mem_start, mem_end, num_pages, pad, tod, cpu_id, arch,
#: volnr, build_arch, mem_size_real, mvdump, cpu_cnt, real_cpu_cnt, zlib_version_s390, zlib_entry_size.
HEADER: Final = ">QIIIIQQQIIQQIIIQBHHBI"
HEADER_SIZE: Final = 0x1000
PAGE_SIZE: Final = 0x1000
#: What zgetdump and the old tools call their version; extended dumps: 1, or 2 where segments may be compressed.
VERSION: Final = 5
VERSION_ZLIB: Final = 2
LEVEL: Final = 4
ARCH_31: Final = 1
ARCH_64: Final = 2
#: mvdump_sign (:data:`MAGIC_EXT` on a volume of several that zipl signed), mvdump_zipl_time.
SIGN: Final = ">QQ"
SIGN_AT: Final = 0x200
#: lc_vec: the prefixes of ``cpu_cnt`` processors, u32 each.
PREFIXES_AT: Final = 0x800
CPUS_MOST: Final = 512

#: The end marker: text, TOD clock when the dump ended, which is not before ``tod`` of the header.
END: Final = ">8sQ"
END_SIZE: Final = 16
END_TEXT: Final = b"DUMP_END"

#: A segment: start, len, stop_marker, size_on_disk in blocks (0: not compressed).
SEGMENT: Final = ">QQQI"
SEGMENT_SIZE: Final = 0x1000
#: entry_count, then an offset for each entry: blocks from the end of the segment's header.
ENTRIES_AT: Final = 0x30
ENTRIES_MOST: Final = 1011
#: In an entry's offset: stored as it is.
ENTRY_PLAIN: Final = 1 << 31

#: Tapes are written in records of this size; the last one of memory may be padded.
TAPE_RECORD: Final = 0x8000

# The dump tool on a disk of a set: in block 3; magic and a version of one byte.
TOOL_BLOCK: Final = 3
TOOL_SINGLE: Final = b"XECKD64"
TOOL_MULTI: Final = b"XMULT64"
#: Bytes of the multi-volume tool by its version.
TOOL_SIZES: Final = {1: 0x3000, 2: 0x4000}
#: The table of volumes, behind the tool: timestamp, vol_cnt.
VOLUMES: Final = ">QH"
VOLUMES_SIZE: Final = 10
VOLUMES_MOST: Final = 32
#: devno, start_blk, end_blk (the last one), blk_size in units of 256 bytes, bpt, heads; then, behind all of them, a
#: subchannel set of one byte each.
VOLUME: Final = ">HIIBBB"
VOLUME_SIZE: Final = 13
TABLE_SIZE: Final = VOLUMES_SIZE + VOLUMES_MOST * (VOLUME_SIZE + 1)

#: The TOD clock counts from 1900, bit 51 is a microsecond: its value at 1970, and the distance to that.
_TOD_1970: Final = 0x8126D60E46000000 - 0x3C26700 * 1_000_000 * 4096
_TOD_MASK: Final = (1 << 64) - 1


def microseconds(tod: int) -> int:
    """A TOD clock value as microseconds since 1970."""
    return ((tod - _TOD_1970) & _TOD_MASK) >> 12


def tod_clock(microseconds: int) -> int:
    """Microseconds since 1970 as a TOD clock value."""
    return ((microseconds << 12) + _TOD_1970) & _TOD_MASK
