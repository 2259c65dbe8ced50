"""VMDUMP files: z/VM's VMDUMP command writes them of a guest; this is their form in the spool.

Source: ``zdump/df_vmdump.h`` and ``zdump/dfi_vmdump.c`` of s390-tools. Records of 4096 bytes, numbered from 1; numbers
are big-endian, names are EBCDIC. The record ASIZBK is followed by bitmaps and pages: an index page (a bit for 4096
pages, most significant first), a key page for each set bit (a byte per page, whose lowest bit is set if the page is
stored), the next index page; then the stored pages, ascending.
"""

from __future__ import annotations

from vmsieve.formats.layouts import Struct
from vmsieve.formats.slim.typing import Final

RECORD: Final = 4096

#: Record 1.
SYMPTOM: Final = Struct(
    "symptom record", "magic:2s cpu_model:I serial:6s time_zone:I tod:Q node:8s@0x22 kind:8s@0x38", "big"
)
MAGIC: Final = bytes.fromhex("e2d9")  # SR
KIND: Final = bytes.fromhex("e5d4c4e4d4d74040")  # VMDUMP

#: Record 2; info, access: record numbers of the information record and of the access list.
MAP: Final = Struct("file map record", "magic:8s info:I access:I@0x10", "big")
MAP_MAGIC: Final = bytes.fromhex("c8c3d7c4c6d4c2d2")  # HCPDFMBK

#: With the registers of the first processor; others: processors besides the first.
INFO: Final = Struct(
    "information record",
    "gprs:128s@0x10 prefix:I@0x90 timer:Q@0xa9 format:B@0xbb psw:16s@0xc0 crs:128s fprs:128s clock_comparator:Q@0x1d1"
    " acrs:64s@0x230 others:H@0x390 fpc:I@0x3c8 :@0x450",
    "big",
)
FORMAT_64BIG: Final = 2
FORMATS_OLD: Final = {0x00: "31-bit", 0x82: "64-bit, of an old z/VM"}
#: One for each of the other processors follows.
OTHER: Final = Struct(
    "information of a further processor",
    "fprs:128s@0x10 gprs:128s psw:16s@0x110 prefix:I@0x128 fpc:I timer:Q@0x138 clock_comparator:Q acrs:64s@0x150"
    " crs:128s :@0x228",
    "big",
)

#: The record behind the access list.
SPACE: Final = Struct("ASIZBK record", "magic:8s storage:Q@0x48 range_count:I@0xd8 :@0x160", "big")
SPACE_MAGIC: Final = bytes.fromhex("c1e2c9e9c2d24040")  # ASIZBK
#: Behind it: first and last address of each requested range.
RANGE: Final = Struct("range", "first:Q last:Q", "big")
RANGES_MOST: Final = 64

#: Pages that a key page covers; bits of an index page.
KEYS: Final = 4096
INDEX_BITS: Final = 32768
