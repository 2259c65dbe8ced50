"""VMDUMP files: what z/VM's VMDUMP command writes of a guest, as they come from the spool.

Source: ``zdump/df_vmdump.h`` and ``zdump/dfi_vmdump.c`` of s390-tools. Records of 4096 bytes, numbered from 1; numbers
are big-endian, names are EBCDIC; layouts are :mod:`struct` formats. Behind the record named ASIZBK come bitmaps and the
pages: an index page (a bit for 4096 pages, most significant first), for each bit that is set a key page (a byte a page;
its lowest bit: the page is stored), the next index page; then the stored pages, ascending.
"""

from __future__ import annotations

from typing import Final

RECORD: Final = 4096

# Record 1, the symptom record.
MAGIC: Final = bytes.fromhex("e2d9")  # SR
KIND_AT: Final = 0x38
KIND: Final = bytes.fromhex("e5d4c4e4d4d74040")  # VMDUMP
#: CPU model, serial number, time zone, TOD clock; and the node's name.
SYMPTOM: Final = ">2xI6sIQ"
NODE: Final = (0x22, 8)

# Record 2, the file map: record numbers of the information record and of the access list.
MAP_MAGIC: Final = bytes.fromhex("c8c3d7c4c6d4c2d2")  # HCPDFMBK
MAP: Final = ">8sI4xI"

# The information record, with the registers of the first processor. Offset, and size in bytes.
INFO_SIZE: Final = 0x450
FORMAT_AT: Final = 0xBB
FORMAT_64BIG: Final = 2
FORMATS_OLD: Final = {0x00: "31-bit", 0x82: "64-bit, of an old z/VM"}
#: Processors besides the first.
OTHERS: Final = (0x390, 2)
INFO: Final = {
    "gprs": (0x10, 128),
    "prefix": (0x90, 4),
    "timer": (0xA9, 8),
    "psw": (0xC0, 16),
    "crs": (0xD0, 128),
    "fprs": (0x150, 128),
    "clock_comparator": (0x1D1, 8),
    "acrs": (0x230, 64),
    "fpc": (0x3C8, 4),
}
#: What follows for each of the others.
OTHER_SIZE: Final = 0x228
OTHER: Final = {
    "fprs": (0x10, 128),
    "gprs": (0x90, 128),
    "psw": (0x110, 16),
    "prefix": (0x128, 4),
    "fpc": (0x12C, 4),
    "timer": (0x138, 8),
    "clock_comparator": (0x140, 8),
    "acrs": (0x150, 64),
    "crs": (0x190, 128),
}

# The record behind the access list.
SPACE_MAGIC: Final = bytes.fromhex("c1e2c9e9c2d24040")  # ASIZBK
STORAGE: Final = (0x48, 8)
RANGES: Final = (0xD8, 4)
RANGES_MOST: Final = 64
#: First and last address of each range that was asked for.
RANGES_AT: Final = 0x160
RANGE: Final = ">QQ"

#: Pages that a key page tells of; bits of an index page.
KEYS: Final = 4096
INDEX_BITS: Final = 32768
