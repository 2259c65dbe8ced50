"""The lowcore of an s390x processor: 8 KiB at its prefix, which hardware and kernel fill for dump tools.

Sources: z/Architecture Principles of Operation, "Assigned Storage Locations" (save areas, from 0x1200 on);
``arch/s390/include/asm/lowcore.h`` of Linux (``struct lowcore``); ``arch/s390/include/asm/setup.h`` of Linux (the
parameter area at 0x10400). All numbers are big-endian.
"""

from __future__ import annotations

from vmsieve.formats.layouts import Struct
from vmsieve.formats.slim.typing import Final

#: vmcore_info: address of the ELF note of VMCOREINFO; mcesad: where v0 to v31 were saved, at a multiple of
#: :data:`VX_ALIGN`, or 0. On machines with guarded storage registers the low bits of mcesad are the binary logarithm of
#: that area's size (``arch/s390/include/asm/nmi.h``, ``struct mcesa``); stand-alone dumpers treat such an address as
#: invalid and save nothing there, the kernel does save. clock_comparator: a zero byte, then bits 0 to 55.
LOWCORE: Final = Struct(
    "struct lowcore",
    "cpu_addr:H@0x84 vmcore_info:Q@0xe0c os_info:Q@0xe18 mcesad:Q@0x11b0 fprs:128s@0x1200 gprs:128s psw:16s"
    " prefix:I@0x1318 fpc:I todpreg:I@0x1324 timer:Q clock_comparator:Q acrs:64s@0x1340 crs:128s :@0x2000",
    "big",
)
SIZE: Final = LOWCORE.size
#: Dumps have prefixes at multiples of this; a processor that was never started has prefix 0.
PREFIX_ALIGN: Final = 0x1000

VX_ALIGN: Final = 1024
VX_SIZE: Final = 512
VX_LENGTH: Final = 0xF
#: In an area of at least ``1 << GS_LENGTH`` bytes: the guarded storage control block, offset and size.
GS_LENGTH: Final = 11
GS_CB: Final = (1024, 32)

#: Physical address of the memory of a kdump kernel before it was started, when it was swapped with that at 0.
OLDMEM: Final = Struct("parameter area", "oldmem_base:Q oldmem_size:Q", "big")
OLDMEM_AT: Final = 0x10418
