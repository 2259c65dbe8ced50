"""os_info: the page in which an s390x kernel tells the kdump kernel and dump tools about itself.

Source: ``arch/s390/include/asm/os_info.h`` of Linux (``struct os_info``). All numbers are big-endian.
"""

from __future__ import annotations

from typing import Final

MAGIC: Final = b"OSINFOSZ"
SIZE: Final = 4096
#: The highest major version that is understood here; the kernel refuses others too.
MAJOR: Final = 1

#: magic, csum, version_major, version_minor, crashkernel_addr, crashkernel_size; then the entries.
HEADER: Final = ">8sIHHQQ"
#: The checksum is over everything from here to the end of the page.
CHECKED_FROM: Final = 0x0C
ENTRIES_AT: Final = 0x20
#: Address (or, with size 0, a value), size, csum of what is at that address.
ENTRY: Final = ">QQI"
ENTRY_SIZE: Final = 20

#: Names of the entries in order, and whether each is a value. What follows the first three came with Linux commit
#: 8572f52518f6 ("s390/os_info: Store virtual memory layout"), v6.10; until then the page ends in zeros.
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
VMCOREINFO: Final = 0
REIPL_BLOCK: Final = 1
