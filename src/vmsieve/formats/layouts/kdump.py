"""kdump-compressed files (``diskdump`` format), as makedumpfile and QEMU write them on 64-bit machines.

Sources: ``diskdump_mod.h`` of makedumpfile, ``diskdump.h`` of crash, ``include/sysemu/dump.h`` of QEMU. All numbers are
in the byte order of the crashed machine.

The file consists of blocks of ``block_size`` bytes: the main header in block 0, from block 1 on the sub-header
(``sub_hdr_size`` blocks), two bitmaps (existing memory, stored pages), one page descriptor per stored page in ascending
order of page frames, then page data.
"""

from __future__ import annotations

from vmsieve.formats.layouts import Struct
from vmsieve.formats.slim.typing import Final

SIGNATURE: Final = b"KDUMP   "
#: The signature of diskdump, the ancestor of kdump.
OLD_SIGNATURE: Final = b"DISKDUMP"
#: The newest header version; writers use it.
VERSION: Final = 6

_HEAD: Final = "signature:8s header_version:i utsname:390s "
_TAIL: Final = (
    " status:I block_size:i sub_hdr_size:i bitmap_blocks:I max_mapnr:I total_ram_blocks:I device_blocks:I"
    " written_blocks:I current_cpu:I nr_cpus:i"
)
#: tv_sec, tv_usec: ``timestamp``; bitmap_blocks: of both bitmaps; max_mapnr: capped at :data:`MAX_MAPNR_32`.
HEADER: Final = Struct("struct disk_dump_header", f"{_HEAD} tv_sec:q@408 tv_usec:q {_TAIL}")
#: The same on i386, whose numbers are aligned to 4 bytes.
HEADER_32: Final = Struct("struct disk_dump_header", f"{_HEAD} tv_sec:i@404 tv_usec:i {_TAIL}")
UTSNAME_FIELD: Final = 65
UTSNAME_FIELDS: Final = ("sysname", "nodename", "release", "version", "machine", "domainname")

_SUB_HEADER: Final = (
    "phys_base:{0} dump_level:i split:i start_pfn:{0} end_pfn:{0} offset_vmcoreinfo:q size_vmcoreinfo:{0}"
    " offset_note:q size_note:{0} offset_eraseinfo:q size_eraseinfo:{0} start_pfn_64:Q end_pfn_64:Q max_mapnr_64:Q"
)
SUB_HEADER: Final = Struct("struct kdump_sub_header", _SUB_HEADER.format("Q"))
SUB_HEADER_32: Final = Struct("struct kdump_sub_header", _SUB_HEADER.format("I"))
#: Fields of the sub-header that a header version added; in older files something else is in their place.
SINCE: Final = {
    2: ("split", "start_pfn", "end_pfn"),
    3: ("offset_vmcoreinfo", "size_vmcoreinfo"),
    4: ("offset_note", "size_note"),
    5: ("offset_eraseinfo", "size_eraseinfo"),
    6: ("start_pfn_64", "end_pfn_64", "max_mapnr_64"),
}
#: Largest value of the 32-bit ``max_mapnr``; ``max_mapnr_64`` has higher ones.
MAX_MAPNR_32: Final = 0xFFFFFFFF

#: offset: of the packed page in the file; 0: the page is missing.
DESCRIPTOR: Final = Struct("struct page_desc", "offset:q size:I flags:I page_flags:Q")

#: Bits of ``status`` and of a page descriptor's flags. The codecs' bits are in :mod:`vmsieve.formats.codecs`.
INCOMPLETE: Final = 0x8
EXCLUDED_VMEMMAP: Final = 0x10

#: Valid block sizes: from a page of 4 KiB to 1 MiB, more than any machine's page.
BLOCK_SIZES: Final = tuple(1 << shift for shift in range(12, 21))
