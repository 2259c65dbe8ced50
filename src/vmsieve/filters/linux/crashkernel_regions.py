"""What the regions of a loaded crash kernel are, as far as their first bytes tell: a best guess, for people.

Sources: arch/x86/boot.rst, arch/arm64/booting.rst, arch/riscv/boot-image-header.rst and
driver-api/early-userspace/buffer-format.rst of Documentation, arch/s390/boot/head.S.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from vmsieve.filters.linux.compressed import ARCHIVES, MAGICS, all_zeros, verify_archive, verify_stream
from vmsieve.formats.errors import ReadError
from vmsieve.formats.layouts import elf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.filters.linux.crashkernel import Region
    from vmsieve.formats.inputs import Source

__all__ = ["is_damaged", "any_recognised", "name_regions"]

KERNEL: Final = "kernel"
INITRD: Final = "initrd"
BOOT_PARAMETERS: Final = "boot parameters"
ZEROS: Final = "zeros"
UNKNOWN: Final = "unknown"
#: Bytes of a region that are looked at.
_START: Final = 0x11000
#: A kernel is no smaller.
_KERNEL_LEAST: Final = 1 << 20

_ELF_KINDS: Final = {elf.ET_CORE: "ELF core header", 2: KERNEL, 3: KERNEL}
#: Fixed marks: offset, bytes, what it is. Of an s390x kernel the first 64 KiB may be a region of their own.
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
#: The x86 boot protocol: version; where the compressed kernel is in what follows the real-mode part, since 2.08; that
#: part's size in units of 16 bytes; address and size of the initial RAM disk, low and high halves.
_VERSION_AT: Final = 0x206
_PAYLOAD_VERSION: Final = 0x208
_PAYLOAD_AT: Final = 0x248
_SIZE_AT: Final = 0x1F4
#: Signatures of the file may follow the part, a few kilobytes.
_SIGNATURES: Final = 64 << 10
_RAMDISK_AT, _RAMDISK_HIGH_AT = 0x218, 0xC0


def name_regions(source: Source, regions: Sequence[Region]) -> list[str]:
    """A name for each of the regions; "unknown" where nothing is known."""
    names = [_name(_start(source, region)) for region in regions]
    if BOOT_PARAMETERS in names:
        start = _start(source, regions[names.index(BOOT_PARAMETERS)])
        (low,), (high,) = (struct.unpack_from("<I", start, at) for at in (_RAMDISK_AT, _RAMDISK_HIGH_AT))
        names = [INITRD if r.start == high << 32 | low else name for r, name in zip(regions, names)]
    rest = [i for i, name in enumerate(names) if name == UNKNOWN and regions[i].size >= _KERNEL_LEAST]
    if rest and KERNEL not in names:
        # The part of an x86 kernel that is loaded begins with code.
        names[max(rest, key=lambda i: regions[i].size)] = KERNEL
    return names


def any_recognised(names: Sequence[str]) -> bool:
    """Do ``names`` have one that memory does not get by chance?"""
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
    """Is region ``number`` damaged, as far as it tells itself? None: it does not, or not for all its parts.

    Initial RAM disks are compressed, and so is most of an x86 kernel; gzip, xz, bzip2 and zstd streams hold checksums.
    Memory that is zero for the most part ought to be zero everywhere.
    """
    region = regions[number]
    if names[number] == ZEROS:
        return _not(all_zeros(source, region.start, region.end))
    if names[number] == INITRD:
        return _not(verify_archive(source, region.start, region.end))
    if names[number] == KERNEL and BOOT_PARAMETERS in names:
        parameters = _start(source, regions[names.index(BOOT_PARAMETERS)])
        return _x86_kernel_damaged(source, region, parameters)
    return None


def _not(right: bool | None) -> bool | None:
    return None if right is None else not right


def _x86_kernel_damaged(source: Source, region: Region, parameters: bytes) -> bool | None:
    """Of an x86 kernel: the compressed part, and the room behind it that it unpacks itself into."""
    (version,), (units,) = (
        struct.unpack_from("<H", parameters, _VERSION_AT),
        struct.unpack_from("<I", parameters, _SIZE_AT),
    )
    offset, size = struct.unpack_from("<II", parameters, _PAYLOAD_AT)
    if version < _PAYLOAD_VERSION or not 0 < offset + size <= units * 16 <= region.size:
        return None
    stream = verify_stream(source, region.start + offset, region.start + offset + size)
    room = all_zeros(source, min(region.start + units * 16 + _SIGNATURES, region.end), region.end)
    return True if stream is False or room is False else None
