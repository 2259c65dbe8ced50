"""What an s390x kernel says of itself in its os_info page, and where its lowcore says that VMCOREINFO is.

A page can be missing, old or damaged; its checksums tell. Layout: :mod:`vmsieve.formats.layouts.os_info`; the places
that lead to it: :mod:`vmsieve.formats.layouts.lowcore`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import ReadError
from vmsieve.formats.layouts import elf, lowcore
from vmsieve.formats.layouts import os_info as layout
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from vmsieve.formats.source import Source

__all__ = [
    "Entry", "OsInfo", "checksum", "lowcore_vmcoreinfo", "read_bytes", "read_os_info", "vmcoreinfo_note",
]  # fmt: skip

#: Most bytes of an entry, and of a VMCOREINFO text; the kernel's are a page or two.
ENTRY_LIMIT: Final = 1 << 20
_ALL_ONES: Final = 0xFFFFFFFF


@record(frozen=True)
class Entry:
    """One entry of os_info.

    Attributes:
        name: What it is.
        value: Physical address of what it tells of, or a number.
        size: Bytes there; 0 for a number.
        state: ``"empty"``, ``"value"``, ``"OK"``, ``"BAD"`` (its checksum is not that of what is there), or
            ``"missing"`` (what it tells of is not in the dump).
        data: What it tells of, if that is OK.
    """

    name: str
    value: int
    size: int
    state: str
    data: bytes = b""


@record(frozen=True)
class OsInfo:
    """An os_info page.

    Attributes:
        address: Physical address of the page.
        problem: Why the page can't be believed, or None. Then all else is empty.
        version: Major and minor version.
        crashkernel: Physical address and size of the memory reserved for the kdump kernel; (0, 0) if there is none.
        entries: In the order of the page, those up to the last that is not empty.
    """

    address: int
    problem: str | None = None
    version: tuple[int, int] = (0, 0)
    crashkernel: tuple[int, int] = (0, 0)
    entries: tuple[Entry, ...] = ()

    def entry(self, name: str) -> Entry | None:
        """The entry called ``name``, unless it is empty."""
        return next((e for e in self.entries if e.name == name and e.state != "empty"), None)


def checksum(data: bytes) -> int:
    """The 32-bit sum that the CKSM instruction makes: big-endian words, padded with zeros, added with carry around."""
    total = int.from_bytes(data.ljust(-(-len(data) // 4) * 4, b"\0"), "big")
    # Carry around is arithmetic modulo 2**32 - 1, in which only zeros give 0.
    return total % _ALL_ONES or (_ALL_ONES if total else 0)


def read_bytes(source: Source, paddr: int, size: int) -> bytes | None:
    """``size`` bytes of physical memory; None where the dump does not have them."""
    if not 0 <= paddr <= source.end() - size:
        return None
    out = bytearray(size)
    try:
        source.read_into(paddr, memoryview(out))
    except ReadError:
        return None
    return bytes(out)


def _pointer(source: Source, at: int) -> int:
    return int.from_bytes(read_bytes(source, at, 8) or b"", "big")


def read_os_info(source: Source) -> OsInfo | None:
    """The os_info page of the kernel in ``source``; None where the lowcore names none."""
    address = _pointer(source, lowcore.OS_INFO_AT)
    if address == 0:
        return None
    page = read_bytes(source, address, layout.SIZE) if address % layout.SIZE == 0 else None
    if page is None:
        return OsInfo(address, problem="it is not in the dump")
    magic, stored, major, minor, base, size = struct.unpack_from(layout.HEADER, page)
    if magic != layout.MAGIC:
        return OsInfo(address, problem="there is no os_info page at that address")
    if stored != checksum(page[layout.CHECKED_FROM :]):
        return OsInfo(address, problem="its checksum is wrong")
    if major > layout.MAJOR:
        return OsInfo(address, problem=f"its version {major}.{minor} is not known")
    entries = [
        _entry(
            source, name, is_value, *struct.unpack_from(layout.ENTRY, page, layout.ENTRIES_AT + i * layout.ENTRY_SIZE)
        )
        for i, (name, is_value) in enumerate(layout.ENTRIES)
    ]
    while entries and entries[-1].state == "empty":
        entries.pop()
    return OsInfo(address, None, (major, minor), (base, size), tuple(entries))


def _entry(source: Source, name: str, is_value: bool, value: int, size: int, stored: int) -> Entry:
    if value == 0:
        return Entry(name, 0, 0, "empty")
    if is_value or size == 0:
        return Entry(name, value, 0, "value" if is_value else "BAD")
    data = read_bytes(source, value, size) if size <= ENTRY_LIMIT else None
    if data is None:
        return Entry(name, value, size, "missing")
    good = checksum(data) == stored
    return Entry(name, value, size, "OK" if good else "BAD", data if good else b"")


def vmcoreinfo_note(source: Source, paddr: int) -> bytes | None:
    """The text of the VMCOREINFO note at physical address ``paddr``; None where there is no such note."""
    name = elf.NOTE_VMCOREINFO[0] + b"\0"
    start = elf.NHDR_SIZE + -(-len(name) // elf.NOTE_ALIGN) * elf.NOTE_ALIGN
    head = read_bytes(source, paddr, start)
    if head is None:
        return None
    name_size, size, kind = struct.unpack_from(">" + elf.NHDR, head)
    if (name_size, kind) != (len(name), elf.NOTE_VMCOREINFO[1]) or not head.startswith(name, elf.NHDR_SIZE):
        return None
    text = read_bytes(source, paddr + start, size) if 0 < size <= ENTRY_LIMIT else None
    return text if text is not None and b"OSRELEASE=" in text else None


def lowcore_vmcoreinfo(source: Source) -> bytes | None:
    """VMCOREINFO by way of the lowcore's pointer to its note; None where that leads nowhere."""
    address = _pointer(source, lowcore.VMCOREINFO_AT)
    return vmcoreinfo_note(source, address) if address else None
