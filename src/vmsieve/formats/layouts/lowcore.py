"""The lowcore of an s390x processor: 8 KiB at its prefix, where hardware and kernel leave what dumps are read by.

Sources: z/Architecture Principles of Operation, "Assigned Storage Locations" (the save areas);
``arch/s390/include/asm/lowcore.h`` of Linux (``struct lowcore``, the places at 0xe00 that dump tools read);
``arch/s390/include/asm/setup.h`` of Linux (the parameter area at 0x10400). All numbers are big-endian. Offsets are from
the start of the lowcore; those of :data:`VMCOREINFO_AT`, :data:`OS_INFO_AT`, :data:`OLDMEM_BASE_AT` and
:data:`OLDMEM_SIZE_AT` are physical addresses, the lowcore at 0.
"""

from __future__ import annotations

from typing import Final

SIZE: Final = 0x2000
#: Prefixes are multiples of this as far as dumps go: a processor that was never started has prefix 0.
PREFIX_ALIGN: Final = 0x1000

#: u16, the processor's own number.
CPU_ADDRESS: Final = 0x84
#: u64: where v0 to v31 were saved, 512 bytes, at a multiple of :data:`VX_ALIGN`; 0: nowhere. Where there are guarded
#: storage registers, the low bits are the binary logarithm of the area's size (``arch/s390/include/asm/nmi.h``,
#: ``struct mcesa``); stand-alone dumpers take such an address for none and save nothing there, the kernel does.
VX_AREA: Final = 0x11B0
VX_ALIGN: Final = 1024
VX_SIZE: Final = 512
VX_LENGTH: Final = 0xF
#: In an area of at least ``1 << GS_LENGTH`` bytes: the guarded storage control block, offset and size.
GS_LENGTH: Final = 11
GS_CB: Final = (1024, 32)

# The store-status save areas: offset, and size in bytes.
FPRS: Final = (0x1200, 128)
GPRS: Final = (0x1280, 128)
PSW: Final = (0x1300, 16)
PREFIX: Final = (0x1318, 4)
FPC: Final = (0x131C, 4)
TODPREG: Final = (0x1324, 4)
TIMER: Final = (0x1328, 8)
#: Hardware leaves a zero byte, then bits 0 to 55 of the clock comparator.
CLOCK_COMPARATOR: Final = (0x1330, 8)
ACRS: Final = (0x1340, 64)
CRS: Final = (0x1380, 128)
#: All of them.
SAVE_AREA: Final = (0x1200, 0x200)

#: u64, not aligned: where the ELF note of VMCOREINFO is.
VMCOREINFO_AT: Final = 0xE0C
#: u64: where the os_info page is.
OS_INFO_AT: Final = 0xE18
#: u64 each: where the memory was that a kdump kernel runs in, when that kernel was started with its own at 0.
OLDMEM_BASE_AT: Final = 0x10418
OLDMEM_SIZE_AT: Final = 0x10420
