"""Linear mappings of an s390x kernel: virtual memory that is mapped at fixed offsets. Page tables map the rest.

Until v6.10 virtual and physical addresses were the same. Since then (Linux commit c98d2ecae08f, "s390/mm: Uncouple
physical vs virtual address spaces") there are an identity mapping, which need not begin at 0, the kernel image
elsewhere, and 31-bit code (AMODE31) at its physical address. VMCOREINFO exports their addresses (378e32aa8197,
"s390/vmcoreinfo: Store virtual memory layout"), and so does os_info (8572f52518f6). A processor sees its own lowcore
at 0 to 0x1fff; dumps have the one at physical address 0 there.
"""

from __future__ import annotations

import re

from vmsieve.formats.layouts import lowcore
from vmsieve.formats.os_info import read_os_info
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.source import VirtualRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmsieve.formats.source import Source

_END: Final = 1 << 64
#: Names of the same value in VMCOREINFO and in os_info.
_NAMES: Final = (
    ("IDENTITYBASE", "IDENTITY_BASE"),
    ("KERNELOFFSET", "KASLR_OFFSET"),
    ("KERNELOFFPHYS", "KASLR_OFF_PHYS"),
    ("SAMODE31", "AMODE31_START"),
    ("EAMODE31", "AMODE31_END"),
)


def linear_maps(source: Source, vmcoreinfo: bytes) -> Iterator[tuple[str, tuple[VirtualRange, ...]]]:
    """Yield possible layouts of the kernel's memory, best first: where they come from, and the mappings.

    Where mappings overlap, the first one holds. Page tables show which layout is right.
    """
    exported = {name: _hexadecimal(vmcoreinfo, name) for name, _ in _NAMES}
    if exported["KERNELOFFPHYS"] is not None:
        yield "VMCOREINFO", _mappings(source, {name: value or 0 for name, value in exported.items()}, _END)
    info = read_os_info(source)
    if info is not None and info.entry("KASLR_OFFSET") is not None:
        values = {e.name: e.value for e in info.entries}
        numbers = {old: values.get(new, 0) for old, new in _NAMES}
        yield "os_info", _mappings(source, numbers, values.get("IMAGE_END", 0) or _END)
    yield "an address is the same in virtual memory", (VirtualRange(0, 0, source.end()),)


def in_linear(maps: Sequence[VirtualRange], vaddr: int) -> tuple[int, int] | None:
    """Physical address of ``vaddr`` and the number of bytes mapped from there on; None: page tables map it."""
    for i, one in enumerate(maps):
        if one.vaddr <= vaddr < one.vaddr + one.size:
            # Up to where a mapping begins that takes precedence.
            ends = [before.vaddr for before in maps[:i] if before.vaddr > vaddr]
            return vaddr - one.vaddr + one.paddr, min([one.vaddr + one.size, *ends]) - vaddr
    return None


def _mappings(source: Source, values: dict[str, int], image_end: int) -> tuple[VirtualRange, ...]:
    first, image = values["SAMODE31"], values["KERNELOFFSET"]
    return (
        VirtualRange(0, 0, lowcore.SIZE),
        VirtualRange(first, first, max(values["EAMODE31"] - first, 0)),
        VirtualRange(image, values["KERNELOFFPHYS"], max(image_end - image, 0)),
        VirtualRange(values["IDENTITYBASE"], 0, source.end()),
    )


def _hexadecimal(vmcoreinfo: bytes, key: str) -> int | None:
    line = re.search(rb"^%b=([0-9a-fA-F]{1,16})\r?$" % key.encode(), vmcoreinfo, re.MULTILINE)
    return int(line[1], 16) if line else None
