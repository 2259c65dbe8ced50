"""kdump-compressed files (``diskdump`` format), as makedumpfile and QEMU write them on 64-bit machines.

Sources: ``diskdump_mod.h`` of makedumpfile and ``diskdump.h`` of crash (``struct disk_dump_header``,
``struct kdump_sub_header``, ``struct page_desc``), ``include/sysemu/dump.h`` of QEMU. Everything is in the byte order
of the machine that crashed.

The file is a row of blocks of ``block_size`` bytes: the main header in block 0, the sub-header in block 1 and
``sub_hdr_size`` blocks long, the two bitmaps (memory that exists, pages that are stored), one descriptor a stored page
in ascending order of page frames, then the pages' data.

A layout is a :mod:`struct` format without its byte order; put :data:`ORDERS` ``[byte_order]`` before it.
"""

from __future__ import annotations

from typing import Final

#: Prefix of a struct format by name of the byte order.
ORDERS: Final = {"little": "<", "big": ">"}

SIGNATURE: Final = b"KDUMP   "
#: The signature of diskdump, the ancestor of kdump.
OLD_SIGNATURE: Final = b"DISKDUMP"
#: The newest header version; what is written.
VERSION: Final = 6

#: struct disk_dump_header: signature, header_version, utsname (six strings of 65 bytes), timestamp (seconds,
#: microseconds), status, block_size, sub_hdr_size (blocks), bitmap_blocks (of both bitmaps), max_mapnr (32 bits),
#: total_ram_blocks, device_blocks, written_blocks, current_cpu, nr_cpus.
HEADER: Final = "8si390s6xqqIiiIIIIIIi"
HEADER_SIZE: Final = 464
UTSNAME_FIELD: Final = 65
UTSNAME_FIELDS: Final = ("sysname", "nodename", "release", "version", "machine", "domainname")
#: Byte offset of ``status`` in the main header.
STATUS_OFFSET: Final = 424

#: struct kdump_sub_header of version 6: phys_base, dump_level, split, start_pfn, end_pfn, offset_vmcoreinfo,
#: size_vmcoreinfo, offset_note, size_note, offset_eraseinfo, size_eraseinfo, start_pfn_64, end_pfn_64, max_mapnr_64.
SUB_HEADER: Final = "QiiQQqQqQqQQQQ"
SUB_HEADER_SIZE: Final = 104
#: The same of i386, whose numbers lie at multiples of 4 bytes: time in two 32-bit words; phys_base, start_pfn, end_pfn
#: and the sizes are 32-bit words.
HEADER_32: Final = "8si390s2xiiIiiIIIIIIi"
HEADER_SIZE_32: Final = 452
SUB_HEADER_32: Final = "IiiIIqIqIqIQQQ"
SUB_HEADER_SIZE_32: Final = 80
#: Header version that a field came with: older files have something else in its place.
SINCE_DUMP_LEVEL: Final = 1
SINCE_SPLIT: Final = 2
SINCE_VMCOREINFO: Final = 3
SINCE_NOTES: Final = 4
SINCE_ERASEINFO: Final = 5
SINCE_WIDE_PFNS: Final = 6
#: Largest value of the 32-bit ``max_mapnr``; higher ones are in ``max_mapnr_64`` alone.
MAX_MAPNR_32: Final = 0xFFFFFFFF

#: struct page_desc: offset of the packed page in the file (0: the page is missing), size, flags, page_flags.
DESCRIPTOR: Final = "qIIQ"
DESCRIPTOR_SIZE: Final = 24

#: ``status`` bits and a descriptor's flags. The codecs' bits are the codecs' own.
INCOMPLETE: Final = 0x8
EXCLUDED_VMEMMAP: Final = 0x10

#: Block sizes that can be: from a page of 4 KiB up to the largest that any machine could have.
BLOCK_SIZES: Final = tuple(1 << shift for shift in range(12, 21))
