"""Where an s390x kernel has its memory in virtual memory, as far as that is arithmetic; page tables tell the rest.

Until v6.10 virtual and physical addresses of all memory were the same. Since then (Linux commit c98d2ecae08f, "s390/mm:
Uncouple physical vs virtual address spaces") there are an identity mapping, which need not begin at 0, the kernel's
image elsewhere, and the piece for 31-bit code (AMODE31), which stays where it is. VMCOREINFO tells them (378e32aa8197,
"s390/vmcoreinfo: Store virtual memory layout"), and so does os_info (8572f52518f6). What a processor sees from 0 to
0x1fff is its lowcore; dumps have that of the first addresses of memory.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from vmsieve.formats.source import VirtualRange
from vmsieve.formats.layouts import lowcore
from vmsieve.formats.os_info import read_os_info

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmsieve.formats.source import Source

__all__ = ["in_linear", "linear_maps"]

_END: Final = 1 << 64
#: Names of the same number in VMCOREINFO and in os_info.
_NAMES: Final = (
    ("IDENTITYBASE", "IDENTITY_BASE"),
    ("KERNELOFFSET", "KASLR_OFFSET"),
    ("KERNELOFFPHYS", "KASLR_OFF_PHYS"),
    ("SAMODE31", "AMODE31_START"),
    ("EAMODE31", "AMODE31_END"),
)


def linear_maps(source: Source, vmcoreinfo: bytes) -> Iterator[tuple[str, tuple[VirtualRange, ...]]]:
    """The ways that the kernel in ``source`` may have laid out its memory, best first: says who, and the mappings.

    Where mappings overlap, the first one holds. Page tables show which way is right.
    """
    told = {old: _hexadecimal(vmcoreinfo, old) for old, _ in _NAMES}
    if told["KERNELOFFPHYS"] is not None:
        yield "VMCOREINFO", _split(source, {name: value or 0 for name, value in told.items()}, _END)
    info = read_os_info(source)
    if info is not None and info.entry("KASLR_OFFSET") is not None:
        values = {e.name: e.value for e in info.entries}
        numbers = {old: values.get(new, 0) for old, new in _NAMES}
        yield "os_info", _split(source, numbers, values.get("IMAGE_END", 0) or _END)
    yield "an address is the same in virtual memory", (VirtualRange(0, 0, source.end()),)


def in_linear(maps: Sequence[VirtualRange], vaddr: int) -> tuple[int, int] | None:
    """Physical address of ``vaddr`` and for how many bytes both run side by side; None: page tables tell."""
    for i, one in enumerate(maps):
        if one.vaddr <= vaddr < one.vaddr + one.size:
            # Up to where a mapping begins that takes precedence.
            ends = [before.vaddr for before in maps[:i] if before.vaddr > vaddr]
            return vaddr - one.vaddr + one.paddr, min([one.vaddr + one.size, *ends]) - vaddr
    return None


def _split(source: Source, told: dict[str, int], image_end: int) -> tuple[VirtualRange, ...]:
    first, image = told["SAMODE31"], told["KERNELOFFSET"]
    return (
        VirtualRange(0, 0, lowcore.SIZE),
        VirtualRange(first, first, max(told["EAMODE31"] - first, 0)),
        VirtualRange(image, told["KERNELOFFPHYS"], max(image_end - image, 0)),
        VirtualRange(told["IDENTITYBASE"], 0, source.end()),
    )


def _hexadecimal(vmcoreinfo: bytes, key: str) -> int | None:
    line = re.search(rb"^%b=([0-9a-fA-F]{1,16})\r?$" % key.encode(), vmcoreinfo, re.MULTILINE)
    return int(line[1], 16) if line else None
