"""The os_info page of an s390x kernel, and the VMCOREINFO note that its lowcore points to.

The page may be missing, outdated or damaged; checksums show it. Layouts: :mod:`vmsieve.formats.layouts.os_info` and
:mod:`vmsieve.formats.layouts.lowcore`.
"""

from __future__ import annotations

from vmsieve.formats.layouts import lowcore
from vmsieve.formats.layouts import os_info as layout
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.source import read_bytes
from vmsieve.formats.vmcoreinfo_search import vmcoreinfo_at

if TYPE_CHECKING:
    from vmsieve.formats.source import Source

#: Most bytes of an entry; the kernel's are a page or two.
ENTRY_LIMIT: Final = 1 << 20
_ALL_ONES: Final = 0xFFFFFFFF


@record(frozen=True)
class Entry:
    """One entry of os_info."""

    name: str  # of :data:`layouts.os_info.ENTRIES`
    value: int  # physical address of the entry's data, or a number
    size: int  # bytes of data; 0 for a number
    #: ``"empty"``, ``"value"``, ``"OK"``, ``"BAD"`` (wrong checksum), or ``"missing"`` (the data are not in the dump).
    state: str
    data: bytes = b""  # the data, if OK


@record(frozen=True)
class OsInfo:
    """An os_info page."""

    address: int  # physical address of the page
    problem: str | None = None  # Why the page is invalid, or None. The rest is empty then.
    version: tuple[int, int] = (0, 0)  # major and minor version
    #: Physical address and size of the memory reserved for the kdump kernel; (0, 0) without one.
    crashkernel: tuple[int, int] = (0, 0)
    entries: tuple[Entry, ...] = ()  # entries in the order of the page, up to the last non-empty one

    def entry(self, name: str) -> Entry | None:
        """The entry called ``name``, unless it is empty."""
        return next((e for e in self.entries if e.name == name and e.state != "empty"), None)


def checksum(data: bytes) -> int:
    """Checksum of the CKSM instruction: the sum of big-endian 32-bit words, zero-padded, with end-around carry."""
    total = int.from_bytes(data.ljust(-(-len(data) // 4) * 4, b"\0"), "big")
    # End-around carry is arithmetic modulo 2**32 - 1, in which only zeros give 0.
    return total % _ALL_ONES or (_ALL_ONES if total else 0)


def _lowcore_pointer(source: Source, field: str) -> int:
    return int.from_bytes(read_bytes(source, lowcore.LOWCORE.offset(field), 8) or b"", "big")


def read_os_info(source: Source) -> OsInfo | None:
    """The os_info page of the kernel in ``source``, or None if the lowcore has no pointer to it."""
    address = _lowcore_pointer(source, "os_info")
    if address == 0:
        return None
    page = read_bytes(source, address, layout.SIZE) if address % layout.SIZE == 0 else None
    if page is None:
        return OsInfo(address, problem="it is not in the dump")
    head = layout.HEADER.unpack(page)
    version = head.version_major, head.version_minor
    if head.magic != layout.MAGIC:
        return OsInfo(address, problem="there is no os_info page at that address")
    if head.csum != checksum(page[layout.HEADER.offset("version_major") :]):
        return OsInfo(address, problem="its checksum is wrong")
    if head.version_major > layout.MAJOR:
        return OsInfo(address, problem="its version {}.{} is unknown".format(*version))
    stored = layout.ENTRY.array(page, layout.HEADER.size, len(layout.ENTRIES))
    entries = [
        _entry(source, name, is_value, entry.val, entry.size, entry.csum)
        for (name, is_value), entry in zip(layout.ENTRIES, stored)
    ]
    while entries and entries[-1].state == "empty":
        entries.pop()
    return OsInfo(address, None, version, (head.crashkernel_addr, head.crashkernel_size), tuple(entries))


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


def lowcore_vmcoreinfo(source: Source) -> bytes | None:
    """VMCOREINFO from the note that the lowcore points to, or None."""
    address = _lowcore_pointer(source, "vmcore_info")
    found = vmcoreinfo_at(source, address) if address else None
    return found[0] if found is not None and found[1] == "big" else None
