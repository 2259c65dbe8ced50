"""os_info: the page in which an s390x kernel describes itself to its kdump kernel and to dump tools.

Source: ``arch/s390/include/asm/os_info.h`` of Linux. All numbers are big-endian.
"""

from __future__ import annotations

from vmsieve.formats.layouts import Struct
from vmsieve.formats.slim.typing import Final

MAGIC: Final = b"OSINFOSZ"
SIZE: Final = 4096
#: The highest supported major version; the kernel refuses others too.
MAJOR: Final = 1

#: csum: of the rest of the page, from version_major on. The entries follow.
HEADER: Final = Struct(
    "struct os_info",
    "magic:8s csum:I version_major:H version_minor:H crashkernel_addr:Q crashkernel_size:Q",
    "big",
)
#: val: an address, or with size 0 a value; csum: of the bytes at that address.
ENTRY: Final = Struct("struct os_info_entry", "val:Q size:Q csum:I", "big")

#: Names of the entries in order, and True for values. Linux commit 8572f52518f6 ("s390/os_info: Store virtual memory
#: layout"), v6.10, added all but the first three; until then the page ends in zeros.
ENTRIES: Final = (
    ("VMCOREINFO", False),
    ("REIPL_BLOCK", False),
    ("FLAGS", False),
    ("RESERVED", False),
    ("IDENTITY_BASE", True),
    ("KASLR_OFFSET", True),
    ("KASLR_OFF_PHYS", True),
    ("VMEMMAP", True),
    ("AMODE31_START", True),
    ("AMODE31_END", True),
    ("IMAGE_START", True),
    ("IMAGE_END", True),
    ("IMAGE_PHYS", True),
)
