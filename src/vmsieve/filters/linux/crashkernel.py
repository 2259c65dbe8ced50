"""Integrity of the loaded crash kernel: the digest that its purgatory would compute, checked beforehand.

The purgatory is a small program that runs between crashed kernel and crash kernel. It has a table of the loaded
regions, computes the SHA-256 digest of all of them in the table's order, and compares it with the one computed when
they were loaded. If they differ, the crash kernel is not started. Table and digest lie in the memory reserved for the
crash kernel, in the purgatory, which is not a region itself; the kernel does not export their addresses.

Sources: ``struct kexec_sha_region``, include/linux/purgatory.h (before v4.20 arch/x86/include/asm/purgatory.h), written
by ``kexec_calculate_store_digests``, kernel/kexec_file.c; ``struct sha256_region`` of kexec-tools, which
``kexec_load`` uses. Both are 16 pairs of 64-bit numbers, start (physical) and length, in the machine's byte order.
"""

from __future__ import annotations

import hashlib
import struct

from vmsieve.filters.linux.arch import find
from vmsieve.filters.linux.kallsyms import find_symbols
from vmsieve.filters.linux.memory import PhysicalMemory, VirtualMemory
from vmsieve.filters.linux.memory_scan import bytes_left_out, scan_memory
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.errors import KernelError, ReadError, VmsieveError
from vmsieve.formats.loops.purgatory import SLOTS, TABLE_SIZE, find_tables
from vmsieve.formats.os_info import read_os_info
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.inputs import Source

#: Most tables to check: one, and a few that earlier crash kernels left behind.
TABLES_MOST: Final = 16
#: Matches in one piece of memory.
_ROOM: Final = 256
#: Offset of the digest from the table: kexec-tools and s390x; the purgatory of the x86 kernel; else it is searched for.
_DIGEST_AT: Final = (-32, TABLE_SIZE)
_NEAR: Final = 4096
_PIECE: Final = 1 << 20


@record(frozen=True)
class Region:
    """Physical memory ``start <= paddr < end``."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


@record(frozen=True)
class Table:
    """A possible table of regions: physical address, and the regions in its order."""

    address: int
    regions: tuple[Region, ...]


@record(frozen=True)
class Check:
    """The result for one table.

    Attributes:
        table: The table.
        digest: SHA-256 of its regions; empty if they can't be read.
        digest_at: Physical address of the same digest in memory, or None.
        problem: Why the table can't be checked, or None.
    """

    table: Table
    digest: bytes = b""
    digest_at: int | None = None
    problem: str | None = None

    @property
    def intact(self) -> bool:
        """True if the regions are unchanged."""
        return self.digest_at is not None


def reserved(source: Source) -> tuple[tuple[Region, ...], str]:
    """The memory that the kernel in ``source`` reserved for a crash kernel, and the source of that; both may be empty.

    It is in the variable ``crashk_res`` (kernel/crash_reserve.c, before v6.9 kernel/crash_core.c or kexec_core.c); the
    loaded image is in ``kexec_crash_image`` (kernel/kexec_core.c). s390x has it in os_info, too
    (arch/s390/kernel/os_info.c).

    Raises:
        KernelError: The kernel reserved no memory, or loaded no crash kernel.
    """
    start, end, origin = _from_variables(source) or _from_os_info(source) or (0, 0, "")
    return ((Region(start, end),) if 0 <= start < end <= source.end() else ()), origin


def _from_os_info(source: Source) -> tuple[int, int, str] | None:
    info = read_os_info(source) if source.machine == "s390x" else None
    if info is None or info.problem is not None:
        return None
    start, size = info.crashkernel
    if size == 0:
        raise KernelError("no memory was reserved for a crash kernel")
    return start, start + size, "os_info"


def _from_variables(source: Source) -> tuple[int, int, str] | None:
    try:
        info, physical = VmcoreInfo(source.vmcoreinfo or b""), PhysicalMemory(source)
        memory = VirtualMemory(physical, find(source.machine).open(physical, info))
        symbols = find_symbols(memory, info, ("crashk_res", "kexec_crash_image"))
        resource = symbols["crashk_res"]
        # struct resource, include/linux/ioport.h: first and last address.
        start, end = memory.u64(resource), memory.u64(resource + 8) + 1
        image = memory.u64(symbols["kexec_crash_image"])
    except (VmsieveError, KeyError):
        return None
    if end <= start + 1:
        raise KernelError("no memory was reserved for a crash kernel")
    if image == 0:
        raise KernelError("no crash kernel was loaded")
    return start, end, "the kernel's crashk_res"


def search_tables(source: Source, area: Region, advance: Callable[[int], None] = lambda _: None) -> Iterator[Table]:
    """Yield tables in the memory ``area`` whose regions are in it too, by address; at most :data:`TABLES_MOST`.

    Unreadable memory is skipped. ``advance`` is called with the number of bytes done.
    """
    low, high = max(area.start, _NEAR), area.end
    layout = struct.Struct((">" if source.byte_order == "big" else "<") + f"{SLOTS * 2}Q")
    swap = int(struct.pack("=H", 1) != struct.pack(layout.format[0] + "H", 1))
    offsets = memoryview(bytearray(_ROOM * 8)).cast("Q")
    behind, count = 0, 0
    # A table may cross the end of a piece, so pieces overlap.
    for paddr, memory in scan_memory(source, area.start, high, keep=TABLE_SIZE - 8, advance=advance):
        found = find_tables(address_of(memory), len(memory), low, high, swap, address_of(offsets.cast("B")), _ROOM)
        for i in range(found):
            address = paddr + offsets[i]
            if address < behind:
                continue  # the rest of the table before
            words = layout.unpack_from(memory, offsets[i])
            pairs = zip(words[::2], words[1::2])
            table = Table(address, tuple(Region(start, start + size) for start, size in pairs if size))
            behind = address + len(table.regions) * 16
            if _believable(table):
                yield table
                count += 1
                if count == TABLES_MOST:
                    return


def _believable(table: Table) -> bool:
    """True if no regions overlap and the table is in none of them: no digest can cover itself."""
    ordered = sorted(table.regions, key=lambda r: r.start)
    apart = all(one.end <= other.start for one, other in zip(ordered, ordered[1:]))
    return apart and not any(r.start < table.address + TABLE_SIZE and table.address < r.end for r in ordered)


def check_table(source: Source, table: Table, advance: Callable[[int], None] = lambda _: None) -> Check:
    """Compute the digest of the table's regions, and look for it near the table."""
    digest = hashlib.sha256()
    piece = bytearray(_PIECE)
    missing = 0
    for region in table.regions:
        missing += bytes_left_out(source, region.start, region.end)
        for at in range(region.start, region.end, _PIECE):
            size = min(_PIECE, region.end - at)
            try:
                source.read_into(at, memoryview(piece)[:size])
            except ReadError as error:
                return Check(table, problem=f"memory of the crash kernel can't be read: {error}")
            digest.update(memoryview(piece)[:size])
            advance(size)
    found = _find_digest(source, table, digest.digest())
    problem = None
    if found is None and missing:
        problem = f"{missing} bytes of the crash kernel's memory were left out of this dump"
    return Check(table, digest.digest(), found, problem)


def _find_digest(source: Source, table: Table, digest: bytes) -> int | None:
    first = max(table.address - _NEAR, 0) // _NEAR * _NEAR
    near = bytearray()
    for page in range(first, table.address + TABLE_SIZE + _NEAR, _NEAR):
        out = bytearray(_NEAR)
        try:
            source.read_into(page, memoryview(out))
        except ReadError:
            out = bytearray(_NEAR)  # absent
        near += out
    for distance in _DIGEST_AT:
        at = table.address - first + distance
        if at >= 0 and near[at : at + len(digest)] == digest:
            return first + at
    at = near.find(digest)
    return first + at if at >= 0 else None
