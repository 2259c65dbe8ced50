"""LKCD dumps of s390x, version 8, as vmconvert and the old zfcpdump wrote them.

Source: ``zdump/df_lkcd.h`` of s390-tools. All numbers are big-endian. The header is followed by the machine's header,
and from :data:`DATA_AT` on by one record per page: address, size, flags, then data.
"""

from __future__ import annotations

from vmsieve.formats.layouts import Struct
from vmsieve.formats.slim.typing import Final

MAGIC: Final = 0xA8190173618F23ED
#: utsname: sysname, nodename, release, version, machine, domainname, :data:`UTSNAME_SIZE` bytes each.
HEADER: Final = Struct(
    "struct df_lkcd_hdr",
    "magic:Q version:I hdr_size:I dump_level:I page_size:I mem_size:Q mem_start:Q mem_end:Q num_dump_pages:I"
    " tv_sec:Q@0x134 tv_usec:Q utsname:390s dump_compress:I@0x2d2 dump_flags:I dump_device:I",
    "big",
)
UTSNAME_SIZE: Final = 65

NONE, RLE, GZIP = 0, 1, 2
METHODS: Final = {NONE: "none", RLE: "RLE", GZIP: "gzip (zlib)"}

#: Behind the header, at ``hdr_size``; then prefixes, u32 each.
MACHINE: Final = Struct("struct df_lkcd_hdr_asm", "magic:Q version:I hdr_size:I cpu_cnt:H real_cpu_cnt:H", "big")
MACHINE_MAGIC: Final = 0x733339302D64756D
CPUS_MOST: Final = 512

DATA_AT: Final = 0x10000
RECORD: Final = Struct("struct df_lkcd_pg_hdr", "addr:Q size:I flags:I", "big")
END: Final = 4
