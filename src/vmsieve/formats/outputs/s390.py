"""s390 stand-alone dumps, version 5: as ``zgetdump -f s390``, for every s390x tool.

Layout: header, all memory from address 0 on, end marker (:mod:`vmsieve.formats.layouts.s390`). Left out pages and holes
are zeros: the format can't mark them. Registers lie in memory, in each processor's lowcore: those of the notes are put
there, vector registers at the address in the lowcore. The marker is written last.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import UsageError
from vmsieve.formats.layouts import s390
from vmsieve.formats.outputs import FileWriter, OutputFormat
from vmsieve.formats.outputs._registers import Patches, patched, register_pages
from vmsieve.formats.outputs._runs import stored_runs
from vmsieve.formats.s390_registers import parse_notes

if TYPE_CHECKING:
    from vmsieve.formats.outputs import Batch, Description, Place

_PAGE: Final = s390.PAGE_SIZE


class S390Writer(FileWriter):
    """Writes one dump from uncompressed pages, zero pages without bytes."""

    def __init__(self, description: Description, place: Place) -> None:
        if (description.machine, description.page_size) != ("s390x", _PAGE):
            raise UsageError("an s390 dump holds the memory of an s390x machine", found=description.machine)
        super().__init__(description, place)
        self._size = description.max_pfn * _PAGE
        self._cpus = parse_notes(description.notes)[: s390.CPUS_MOST]
        #: Registers for pages not written yet.
        self._patches: Patches = {}
        self._tod = s390.tod_clock(description.crash_time * 1_000_000) if description.crash_time else 0

    def begin(self) -> None:
        self._patches = register_pages(self._cpus, self._it.read, self._size)
        self._place.put(0, self._header())
        self._place.flush()

    def _header(self) -> bytes:
        prefixes = [cpu.prefix for cpu in self._cpus]
        head = s390.HEADER.pack(
            magic=s390.MAGIC,
            version=s390.VERSION,
            hdr_size=s390.HEADER_SIZE,
            dump_level=s390.LEVEL,
            page_size=_PAGE,
            mem_size=self._size,
            mem_end=self._size - 1,
            num_pages=self._it.max_pfn & 0xFFFFFFFF,
            tod=self._tod,
            arch=s390.ARCH_64,
            cpu_cnt=len(prefixes),
        )
        vector = struct.pack(f">{len(prefixes)}I", *prefixes)
        return (head.ljust(s390.PREFIXES_AT, b"\0") + vector).ljust(s390.HEADER_SIZE, b"\0")

    def pages(self, batch: Batch) -> None:
        runs, missing = stored_runs(batch, _PAGE)
        for pfn, data in runs:
            self._put_run(pfn, data)
        self._missing += missing
        self._pages += batch.count

    def _put_run(self, pfn: int, data: memoryview) -> None:
        """Put pages, and registers before and among them."""
        end = pfn + len(data) // _PAGE
        while (due := next(iter(self._patches), end)) < end:
            if due >= pfn:
                size = (due - pfn) * _PAGE
                self._put(pfn, data[:size])
                self._put(due, patched(data[size : size + _PAGE], self._patches.pop(due)))
                pfn, data = due + 1, data[size + _PAGE :]
            else:
                self._put(due, patched(bytes(_PAGE), self._patches.pop(due)))
        self._put(pfn, data)

    def _put(self, pfn: int, data: bytes | bytearray | memoryview) -> None:
        self._place.put(s390.HEADER_SIZE + pfn * _PAGE, data)

    def end(self, *, complete: bool) -> None:
        if not self._all_came(self._it.kept.count(), demanded=complete):
            return
        for pfn in list(self._patches):
            self._put(pfn, patched(bytes(_PAGE), self._patches.pop(pfn)))
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
    marks_absent=False,
)  # fmt: skip
