"""Names of the regions of a loaded crash kernel, guessed from their first bytes, and checks of their contents.

Sources: arch/x86/boot.rst, arch/arm64/booting.rst, arch/riscv/boot-image-header.rst and
driver-api/early-userspace/buffer-format.rst of Documentation, arch/s390/boot/head.S.
"""

from __future__ import annotations

import struct

from vmsieve.filters.linux.compressed import ARCHIVES, MAGICS, all_zeros, verify_archive, verify_stream
from vmsieve.formats.errors import ReadError
from vmsieve.formats.layouts import elf
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.filters.linux.crashkernel import Region
    from vmsieve.formats.inputs import Source

KERNEL: Final = "kernel"
INITRD: Final = "initrd"
BOOT_PARAMETERS: Final = "boot parameters"
ZEROS: Final = "zeros"
UNKNOWN: Final = "unknown"
#: Bytes of a region to read.
_START: Final = 0x11000
#: Smallest kernel.
_KERNEL_LEAST: Final = 1 << 20

_ELF_KINDS: Final = {elf.ET_CORE: "ELF core header", 2: KERNEL, 3: KERNEL}
#: Marks: offset, bytes, name. The first 64 KiB of an s390x kernel may be a region of their own.
_MARKS: Final = (
    (0x202, b"HdrS", BOOT_PARAMETERS),
    (0x38, b"ARM\x64", KERNEL),
    (0x38, b"RSC\x05", KERNEL),
    (0x10008, b"S390EP", KERNEL),
    (0x8, b"S390EP", KERNEL),
    (0, b"\xd0\x0d\xfe\xed", "device tree"),
    *((0, magic, INITRD) for magic in (*ARCHIVES, *MAGICS)),
    (0, b"MZ", KERNEL),
)
#: The x86 boot protocol: version; since 2.08 offset and size of the compressed kernel within the protected-mode part;
#: that part's size in units of 16 bytes; address of the initial RAM disk, low and high halves.
_VERSION_AT: Final = 0x206
_PAYLOAD_VERSION: Final = 0x208
_PAYLOAD_AT: Final = 0x248
_SIZE_AT: Final = 0x1F4
#: Most bytes of signatures, which may follow that part.
_SIGNATURES: Final = 64 << 10
_RAMDISK_AT, _RAMDISK_HIGH_AT = 0x218, 0xC0


def name_regions(source: Source, regions: Sequence[Region]) -> list[str]:
    """Name each region; "unknown" if nothing matches."""
    names = [_name(_start(source, region)) for region in regions]
    if BOOT_PARAMETERS in names:
        start = _start(source, regions[names.index(BOOT_PARAMETERS)])
        (low,), (high,) = (struct.unpack_from("<I", start, at) for at in (_RAMDISK_AT, _RAMDISK_HIGH_AT))
        names = [INITRD if r.start == high << 32 | low else name for r, name in zip(regions, names)]
    rest = [i for i, name in enumerate(names) if name == UNKNOWN and regions[i].size >= _KERNEL_LEAST]
    if rest and KERNEL not in names:
        # The loaded part of an x86 kernel begins with code, without a mark.
        names[max(rest, key=lambda i: regions[i].size)] = KERNEL
    return names


def any_recognised(names: Sequence[str]) -> bool:
    """True if ``names`` has one that memory rarely matches by chance."""
    return any(name in (KERNEL, INITRD, BOOT_PARAMETERS, "ELF core header") for name in names)


def _start(source: Source, region: Region) -> bytes:
    out = bytearray(min(region.size, _START))
    try:
        source.read_into(region.start, memoryview(out))
    except ReadError:
        return b""
    return bytes(out)


def _name(start: bytes) -> str:
    if start.startswith(elf.MAGIC) and len(start) >= 20:
        kind = min(start[16], start[17]) or max(start[16], start[17])  # in either byte order
        return _ELF_KINDS.get(kind, UNKNOWN)
    for at, mark, name in _MARKS:
        if start[at : at + len(mark)] == mark:
            return name
    return UNKNOWN if any(start) else ZEROS


def is_damaged(source: Source, regions: Sequence[Region], names: Sequence[str], number: int) -> bool | None:
    """True if region ``number`` is damaged, by its own checksums; None if they do not cover all of it.

    Initial RAM disks are compressed, and so is most of an x86 kernel; gzip, xz, bzip2 and zstd streams have checksums.
    A region that begins with zeros should be all zeros.
    """
    region = regions[number]
    if names[number] == KERNEL and BOOT_PARAMETERS in names:
        parameters = _start(source, regions[names.index(BOOT_PARAMETERS)])
        return _x86_kernel_damaged(source, region, parameters)
    check = {ZEROS: all_zeros, INITRD: verify_archive}.get(names[number])
    right = check(source, region.start, region.end) if check is not None else None
    return None if right is None else not right


def _x86_kernel_damaged(source: Source, region: Region, parameters: bytes) -> bool | None:
    """Check the compressed part of an x86 kernel, and the zeros behind it, where it unpacks itself."""
    (version,) = struct.unpack_from("<H", parameters, _VERSION_AT)
    (units,) = struct.unpack_from("<I", parameters, _SIZE_AT)
    offset, size = struct.unpack_from("<II", parameters, _PAYLOAD_AT)
    if version < _PAYLOAD_VERSION or not 0 < offset + size <= units * 16 <= region.size:
        return None
    stream = verify_stream(source, region.start + offset, region.start + offset + size)
    room = all_zeros(source, min(region.start + units * 16 + _SIGNATURES, region.end), region.end)
    return True if stream is False or room is False else None
