"""LKCD dumps of s390x, version 8: what vmconvert and the old zfcpdump wrote.

Source: ``zdump/df_lkcd.h`` of s390-tools. All numbers are big-endian; layouts are :mod:`struct` formats. The header is
followed by that of the machine, and at :data:`DATA_AT` by a record for each page: address, bytes, flags, then data.
"""

from __future__ import annotations

from typing import Final

MAGIC: Final = 0xA8190173618F23ED
#: magic, version, header_size, dump_level, page_size, memory_size, memory_start, memory_end, num_dump_pages.
HEADER: Final = ">QIIIIQQQI"
#: seconds, microseconds since 1970.
TIME: Final = ">QQ"
TIME_AT: Final = 0x134
#: sysname, nodename, release, version, machine, domainname.
UTSNAME_AT: Final = 0x144
UTSNAME_SIZE: Final = 65
UTSNAME_COUNT: Final = 6
#: dump_compress, dump_flags, dump_device.
METHOD: Final = ">III"
METHOD_AT: Final = 0x2D2
HEADER_SIZE: Final = 0x2DE

NONE, RLE, GZIP = 0, 1, 2
METHODS: Final = {NONE: "none", RLE: "RLE", GZIP: "gzip (zlib)"}

#: What follows the header: magic, version, header_size, cpu_cnt, real_cpu_cnt; then prefixes, u32 each.
MACHINE: Final = ">QIIHH"
MACHINE_SIZE: Final = 20
MACHINE_MAGIC: Final = 0x733339302D64756D
CPUS_MOST: Final = 512

DATA_AT: Final = 0x10000
#: addr, size, flags.
RECORD: Final = ">QII"
RECORD_SIZE: Final = 16
RAW: Final = 1
COMPRESSED: Final = 2
END: Final = 4
