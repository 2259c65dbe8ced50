"""s390 stand-alone dumps, version 5: as ``zgetdump -f s390``, for every s390x tool.

Layout: header, all memory from address 0 on, end marker (:mod:`vmsieve.formats.layouts.s390`). Left out pages and holes
are zeros: the format can't mark them. Registers lie in memory, in each processor's lowcore: those of the notes are put
there, vector registers at the address in the lowcore, when their page comes or, if it is left out, in its turn; in
several passes, before all others. The marker is written last.
"""

from __future__ import annotations

import struct
from bisect import bisect_left

from vmsieve.formats.bitmap import count_between
from vmsieve.formats.errors import UsageError
from vmsieve.formats.layouts import lowcore, s390
from vmsieve.formats.outputs import FileWriter, OutputFormat
from vmsieve.formats.outputs._runs import stored_runs
from vmsieve.formats.s390_registers import SAVED, parse_notes
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmsieve.formats.outputs import Batch, Description, Place
    from vmsieve.formats.s390_registers import Registers

_PAGE: Final = s390.PAGE_SIZE
#: By page frame: offsets in the page, and the bytes for them.
Patches = dict[int, list[tuple[int, bytes]]]
#: ``(address, size)``: bytes of physical memory, or None if unreadable.
Read = Callable[[int, int], "bytes | None"]


def register_pages(cpus: Sequence[Registers], read: Read | None, size: int) -> Patches:
    """Find the bytes that the registers of ``cpus`` put into memory, by ascending page frame.

    They go into each processor's lowcore; vector registers go to the address in the lowcore, if it has one. Registers
    above ``size`` bytes of memory are dropped.
    """
    found: Patches = {}
    for cpu in cpus:
        for address, data in _saved(cpu, read):
            if address + len(data) <= size:
                found.setdefault(address // _PAGE, []).append((address % _PAGE, data))
    return dict(sorted(found.items()))


def _saved(cpu: Registers, read: Read | None) -> Iterator[tuple[int, bytes]]:
    """Yield addresses and bytes; none crosses a page boundary."""
    if cpu.prefix % lowcore.PREFIX_ALIGN == 0:
        for name in (*SAVED, "prefix"):
            value = getattr(cpu, name)
            yield cpu.prefix + lowcore.LOWCORE.offset(name), lowcore.LOWCORE.pack_field(name, value)
    pointer = read(cpu.prefix + lowcore.LOWCORE.offset("mcesad"), 8) if read is not None else None
    area = int.from_bytes(pointer or b"", "big")
    if area and area % lowcore.VX_ALIGN == 0 and cpu.vxrs_low is not None and cpu.vxrs_high is not None:
        halves = (cpu.fprs[at : at + 8] + cpu.vxrs_low[at : at + 8] for at in range(0, 128, 8))
        yield area, b"".join(halves) + cpu.vxrs_high


def patched(page: bytes | memoryview, patches: list[tuple[int, bytes]]) -> bytearray:
    """Apply ``patches`` to a copy of a page."""
    out = bytearray(page)
    for at, data in patches:
        out[at : at + len(data)] = data
    return out


class S390Writer(FileWriter):
    """Writes one dump from uncompressed pages, zero pages without bytes."""

    def __init__(self, description: Description, place: Place) -> None:
        if (description.machine, description.page_size) != ("s390x", _PAGE):
            raise UsageError("an s390 dump holds the memory of an s390x machine", found=description.machine)
        super().__init__(description, place)
        self._size = description.max_pfn * _PAGE
        self._cpus = parse_notes(description.notes)[: s390.CPUS_MOST]
        #: Registers for pages not written yet, and these pages, ascending.
        self._patches: Patches = {}
        self._waiting: list[int] = []
        self._tod = s390.tod_clock(description.crash_time * 1_000_000) if description.crash_time else 0

    def begin(self) -> None:
        self._patches = register_pages(self._cpus, self._it.read, self._size)
        self._waiting = list(self._patches)
        self._place.put(0, self._header())
        if self._it.passes:
            for pfn in list(self._waiting):
                if not count_between(self._it.kept, pfn, pfn + 1):
                    self._put_registers(pfn)
        self._place.flush()

    def _header(self) -> bytes:
        prefixes = [cpu.prefix for cpu in self._cpus]
        head = s390.HEADER.pack(
            magic=s390.MAGIC, version=s390.VERSION, hdr_size=s390.HEADER_SIZE, dump_level=s390.LEVEL, tod=self._tod,
            page_size=_PAGE, mem_size=self._size, mem_end=self._size - 1, num_pages=self._it.max_pfn & 0xFFFFFFFF,
            arch=s390.ARCH_64, cpu_cnt=len(prefixes),
        )  # fmt: skip
        vector = struct.pack(f">{len(prefixes)}I", *prefixes)
        return (head.ljust(s390.PREFIXES_AT, b"\0") + vector).ljust(s390.HEADER_SIZE, b"\0")

    def pages(self, batch: Batch) -> None:
        runs, missing = stored_runs(batch, batch.pfns, _PAGE)
        for pfn, data in runs:
            self._put_run(pfn, data)
        if self._it.passes and batch.count:
            for pfn in self._due(batch.pfns[0], batch.pfns[batch.count - 1] + 1):
                if batch.pfns[bisect_left(batch.pfns, pfn, 0, batch.count)] == pfn:
                    self._put_registers(pfn)
        self._took(batch.count, missing)

    def _put_run(self, pfn: int, data: memoryview) -> None:
        """Put pages, and registers before and among them."""
        # In several passes, pages before these may still come.
        for due in self._due(pfn if self._it.passes else 0, pfn + len(data) // _PAGE):
            if due >= pfn:
                size = (due - pfn) * _PAGE
                self._put(pfn, data[:size])
                self._put_registers(due, data[size : size + _PAGE])
                pfn, data = due + 1, data[size + _PAGE :]
            else:
                self._put_registers(due)
        self._put(pfn, data)

    def _due(self, start: int, end: int) -> list[int]:
        """Pages from ``start`` up to ``end`` that still lack their registers."""
        return self._waiting[bisect_left(self._waiting, start) : bisect_left(self._waiting, end)]

    def _put_registers(self, pfn: int, page: bytes | memoryview = bytes(_PAGE)) -> None:
        """Put a page with its registers."""
        del self._waiting[bisect_left(self._waiting, pfn)]
        self._put(pfn, patched(page, self._patches.pop(pfn)))

    def _put(self, pfn: int, data: bytes | bytearray | memoryview) -> None:
        self._place.put(s390.HEADER_SIZE + pfn * _PAGE, data)

    def end(self, *, complete: bool) -> None:
        if not self._all_came(self._it.kept.count(), demanded=complete):
            return
        for pfn in list(self._waiting):
            self._put_registers(pfn)
        end = s390.HEADER_SIZE + self._size
        if complete and not self._missing:
            marker = s390.END.pack(text=s390.END_TEXT, tod=self._tod)
            self._place.hold(end, bytes(len(marker)), marker)
            self._place.settle(end, marker)
        else:
            self._place.extend(end)


def _torn_mark(start: bytes) -> tuple[int, bytes] | None:
    head = s390.HEADER.unpack(start.ljust(s390.HEADER.size, b"\0"))
    return (head.hdr_size + head.mem_size, bytes(s390.END.size)) if head.magic == s390.MAGIC else None


FORMAT = OutputFormat(
    "s390", "s390 stand-alone dump", packed=False, sequential=True, bridge=0, writer=S390Writer, torn_mark=_torn_mark,
    passes=True, marks_absent=False,
)  # fmt: skip
