"""kdump-compressed files, version 6, in makedumpfile's layout.

See :mod:`vmsieve.formats.layouts.kdump` for the parts and sources. makedumpfile's choices: notes follow the sub-header;
the VMCOREINFO text is located within the notes; data follow the page descriptors directly; if zero pages are left out
(dump level 1), data begin with the one block of zeros that they share.
"""

from __future__ import annotations

import sys

from vmsieve.formats.bitmap import address_of, count_between
from vmsieve.formats.errors import OutputError
from vmsieve.formats.layouts import kdump
from vmsieve.formats.layouts.elf import machine_number
from vmsieve.formats.loops.describe import describe_pages
from vmsieve.formats.outputs import FileWriter, OutputFormat
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.formats.bitmap import PageBits
    from vmsieve.formats.outputs import Batch, Description, Place
    from vmsieve.formats.outputs._ranks import Ranks

_STATUS_AT: Final = kdump.HEADER.offset("status")
_STATUS_END: Final = _STATUS_AT + 4
#: Dump level bit: zero pages are not stored.
_LEAVE_ZERO: Final = 1
_MASK: Final = (1 << 64) - 1
#: Defaults for unknown names: libkdumpfile ignores all if sysname, release, version or machine is empty. The others are
#: Linux's initial values (``include/linux/uts.h``).
_NAMELESS: Final = ("Linux", "(none)", "Unknown", "Unknown", "Unknown", "(none)")


def _names(description: Description) -> list[str]:
    *names, machine, domain = description.utsname
    if not machine_number(machine):
        machine = description.machine or machine
    return [name or other for name, other in zip((*names, machine, domain), _NAMELESS)]


class KdumpWriter(FileWriter):
    """Writes one kdump-compressed file from compressed pages, zero pages without bytes."""

    def __init__(self, description: Description, place: Place) -> None:
        super().__init__(description, place)
        block = description.page_size
        self._sub_blocks = -(-(kdump.SUB_HEADER.size + self._notes_size()) // block)
        self._bitmap_size = -(-description.max_pfn // (8 * block)) * block
        self._bitmaps = (1 + self._sub_blocks) * block
        self._descriptors = self._bitmaps + 2 * self._bitmap_size
        kept = description.kept.count()
        self._announced = kept if description.part is None else count_between(description.kept, *description.part)
        # Each file of a split dump has space for all page descriptors: a reader finds the block of zeros right behind.
        self._at = self._descriptors + kdump.DESCRIPTOR.size * kept
        self._ranks: Ranks | None = None
        self._zero = 0
        self._begun = False

    def begin(self) -> None:
        if 2 * self._bitmap_size // self._it.page_size > kdump.MAX_MAPNR_32:
            raise OutputError("too much memory for a kdump-compressed file", found=self._it.max_pfn)
        self._put_headers()
        if self._it.dump_level & _LEAVE_ZERO or self._it.share_zeros:
            self._zero = self._at
            self._place.put(self._at, bytes(self._it.page_size))
            self._at += self._it.page_size
        self.overhead = self._at
        if self._it.passes:
            # Imported here: a dump in address order needs none.
            from vmsieve.formats.outputs._ranks import Ranks

            self._ranks = Ranks(self._it.kept, self._it.part[0] if self._it.part is not None else 0)
        self._place.flush()
        self._begun = True

    def _put_headers(self) -> None:
        """Put everything before the page descriptors."""
        self._put_header()
        self._put_sub_header()
        # The mark of an incomplete dump comes first, before a full disk.
        self._place.flush()
        self._put_bitmap(self._bitmaps, self._it.exists)
        self._put_bitmap(self._bitmaps + self._bitmap_size, self._it.kept)

    def _put_header(self) -> None:
        it = self._it
        names = b"".join(
            name.encode(errors="replace")[: kdump.UTSNAME_FIELD - 1].ljust(kdump.UTSNAME_FIELD, b"\0")
            for name in _names(it)
        )
        header = kdump.HEADER.pack(
            self._order, signature=kdump.SIGNATURE, header_version=kdump.VERSION, utsname=names,
            tv_sec=min(it.crash_time, _MASK >> 1), nr_cpus=it.cpus, max_mapnr=min(it.max_pfn, kdump.MAX_MAPNR_32),
            block_size=it.page_size, sub_hdr_size=self._sub_blocks, bitmap_blocks=2 * self._bitmap_size // it.page_size,
        )  # fmt: skip
        self._place.put(0, header[:_STATUS_AT])
        self._place.hold(_STATUS_AT, self._status(whole=False), self._status(whole=True))
        self._place.put(_STATUS_END, header[_STATUS_END:])

    def _status(self, *, whole: bool) -> bytes:
        flag = self._it.codec.flag if self._it.codec is not None else 0
        return kdump.HEADER.pack_field("status", flag if whole else flag | kdump.INCOMPLETE, self._order)

    def _put_sub_header(self) -> None:
        it = self._it
        notes, size = it.page_size + kdump.SUB_HEADER.size, self._notes_size()
        start, end = it.part or (0, 0)
        texts: dict[str, int] = {}
        for name, text in (("vmcoreinfo", it.vmcoreinfo), ("note", (0, size)), ("eraseinfo", it.eraseinfo)):
            if text and text[1]:
                texts[f"offset_{name}"], texts[f"size_{name}"] = notes + text[0], text[1]
        header = kdump.SUB_HEADER.pack(
            self._order, phys_base=it.phys_base & _MASK, dump_level=it.dump_level, split=int(it.part is not None),
            start_pfn=min(start, kdump.MAX_MAPNR_32), end_pfn=min(end, kdump.MAX_MAPNR_32),
            start_pfn_64=start, end_pfn_64=end, max_mapnr_64=it.max_pfn, **texts,
        )  # fmt: skip
        self._place.put(it.page_size, header)
        self._put_notes(notes)

    def _put_bitmap(self, offset: int, bits: PageBits) -> None:
        for number in bits.filled():
            at = number * (bits.block // 8)
            self._place.put(offset + at, bits[number][: self._bitmap_size - at])

    def pages(self, batch: Batch) -> None:
        if batch.count == 0:
            return
        if self._pages + batch.count > self._announced:
            raise AssertionError(f"more pages came than the {self._announced} announced")
        table = bytearray(batch.count * kdump.DESCRIPTOR.size)
        tally = memoryview(bytearray(16)).cast("Q")
        stored = describe_pages(
            batch.count, address_of(batch.sizes), address_of(batch.flags), self._at, self._zero, self._it.page_size,
            int(self._it.byte_order != sys.byteorder), address_of(table), address_of(tally),
        )  # fmt: skip
        zeros, missing = tally
        if stored != len(batch.data) or (zeros and not self._zero):
            raise AssertionError(f"{stored} bytes of pages in {len(batch.data)}, {zeros} zero pages")
        self._place.put(self._at, batch.data)
        if missing < batch.count:
            size = kdump.DESCRIPTOR.size
            runs = self._ranks.runs(batch) if self._ranks is not None else [(0, batch.count, self._pages)]
            for start, end, rank in runs:
                part = memoryview(table)[start * size : end * size]
                self._place.put(self._descriptors + rank * size, part, unit=size)
        self._at += stored
        self._took(batch.count, missing)

    def end(self, *, complete: bool) -> None:
        self._all_came(self._announced, demanded=complete)
        if self._begun:
            # Unwritten page descriptors then read as zeros even if no data follow.
            self._place.extend(self._at)
        self._place.settle(_STATUS_AT, self._status(whole=complete and self._missing == 0))


def _torn_mark(start: bytes) -> tuple[int, bytes] | None:
    if not start.startswith(kdump.SIGNATURE) or len(start) < kdump.HEADER.size:
        return None
    # The version is a small number in the file's byte order.
    order = "little" if kdump.HEADER.unpack(start, order="little").header_version < 1 << 16 else "big"
    status = kdump.HEADER.unpack(start, order=order).status | kdump.INCOMPLETE
    return _STATUS_AT, kdump.HEADER.pack_field("status", status, order)


FORMAT = OutputFormat(
    "kdump", "kdump-compressed, for crash, drgn and libkdumpfile", packed=True, sequential=False, bridge=0,
    writer=KdumpWriter, torn_mark=_torn_mark, passes=True,
)  # fmt: skip
