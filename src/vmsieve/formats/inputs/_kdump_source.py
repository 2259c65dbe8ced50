"""The memory of a kdump-compressed file.

Structures: :mod:`vmsieve.formats.layouts.kdump`. Reads header versions 1 to 6, and later ones as version 6, of 64-bit
machines of either byte order. QEMU (``dump/dump.c``) stores the VMCOREINFO note without its offset, and its
``phys_base`` is wrong if the kernel exported a decimal number: neither is relied on.
"""

from __future__ import annotations

import sys

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.errors import ReadError
from vmsieve.formats.files import read_exactly
from vmsieve.formats.inputs import Source
from vmsieve.formats.inputs._kdump_header import read_header
from vmsieve.formats.inputs._kdump_pages import BLOCK, PageMap, PageReader
from vmsieve.formats.layouts import elf, kdump
from vmsieve.formats.loops.descriptors import check_pages, find_bit
from vmsieve.formats.notes import NOTES_LIMIT, NotesReader, set_notes, with_text
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.source import join_ranges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.inputs import MemoryRange

#: Texts that the sub-header points to: title, name in its fields, most bytes (the kernel's VMCOREINFO is one page), and
#: the note that has the text in other formats. Each is put in front of the notes, so that the last one comes first.
_TEXTS: Final = (
    ("erase info", "eraseinfo", NOTES_LIMIT, elf.NOTE_ERASEINFO),
    ("VMCOREINFO", "vmcoreinfo", 1 << 20, elf.NOTE_VMCOREINFO),
)
_LEVELS: Final = 31
#: Page descriptors that are checked at once when the file is opened.
_AT_ONCE: Final = 1 << 15


class KdumpSource(Source):
    """An open kdump-compressed file. Needs 10 bytes per 32768 pages, and about 1 MiB per reading thread."""

    def __init__(self, file: ByteFile) -> None:
        """Read the headers of ``file`` and count its pages; raises FormatError if they are invalid."""
        header = self.head = read_header(file)
        super().__init__(
            file,
            format=f"kdump-compressed, version {header.version}",
            # QEMU labels the machine that it emulates, even if the processor was in 32-bit mode.
            machine=header.utsname[4] or None if header.wide else elf.I386,
            narrow=not header.wide,
            byte_order=header.byte_order,
            page_size=header.page_size,
            compressed=True,
            utsname=header.utsname if any(header.utsname) else (),
            crash_time=header.crash_time or None,
        )
        if header.version > kdump.VERSION:
            self.remarks.append(f"header version {header.version} is unknown: read as version {kdump.VERSION}")
        self.pages = PageMap(file, header)
        #: Offset and size of each text that the sub-header points to, by the name in its fields.
        self.texts: dict[str, tuple[int, int]] = {}
        self._idle: list[PageReader] = []
        self._size = self._unit = header.page_size
        self._end: int | None = None
        self._read_sub_header()
        self._read_notes()
        self._check()

    def _read_sub_header(self) -> None:
        header, sub = self.head, self.head.sub
        self.dump_level = sub.dump_level
        if not 0 <= self.dump_level <= _LEVELS:
            self.remarks.append(f"the dump level {self.dump_level} is invalid: ignored")
            self.dump_level = 0
        self.header = {
            "header version": header.version,
            "status": header.status,
            "block size": header.page_size,
            "page frames": header.pages,
            "stored pages": self.pages.count,
            "processors": header.cpus,
            "phys_base": sub.phys_base,
            "bytes of erase info": sub.size_eraseinfo,
        }

    def _read_notes(self) -> None:
        notes, order = b"", self.byte_order
        if (area := self._text("notes", "note", self.file.size)) is not None:
            reader = NotesReader(self.file, order)
            lacking = reader.take(*area)
            notes, self.large_notes = reader.small, tuple(reader.large)
            if lacking:
                self.remarks.append(f"the notes are damaged: {lacking} bytes are ignored")
        for title, name, limit, wanted in _TEXTS:
            if (area := self._text(title, name, limit)) is not None:
                notes = with_text(notes, order, wanted, read_exactly(self.file, *area))
        set_notes(self, notes)

    def _text(self, title: str, name: str, limit: int) -> tuple[int, int] | None:
        """Offset and size in the sub-header, or None; adds a remark if they are invalid."""
        offset, size = (getattr(self.head.sub, f"{field}_{name}") for field in ("offset", "size"))
        if size == 0 or offset == 0:
            return None
        if size <= limit and 0 < offset <= self.file.size - size:
            self.texts[name] = offset, size
            return offset, size
        self.remarks.append(f"the header places {size} bytes of {title} at {offset:#x}: ignored")
        return None

    def _check(self) -> None:
        """Set ``incomplete`` and ``remarks``."""
        header = self.head
        if header.status & kdump.INCOMPLETE:
            self.incomplete = True
            self.remarks.append("the dump is marked incomplete: its writer could not finish")
        if header.status & kdump.EXCLUDED_VMEMMAP:
            self.remarks.append("the memory map of excluded pages was excluded too (makedumpfile -e)")
        lacking = header.descriptors + self.pages.count * kdump.DESCRIPTOR.size - self.file.size
        if lacking > 0:
            self.incomplete = True
            self.remarks.append(f"the file is cut off: {lacking} bytes of page descriptors and all data are missing")
        else:
            self._check_data()
        if header.exists == header.stored:
            self.remarks.append("there is only one bitmap: excluded pages look like holes")

    def _check_data(self) -> None:
        """Check that the file has the data of all pages, which may be in any order."""
        size, at = kdump.DESCRIPTOR.size, self.head.descriptors
        tally, table = memoryview(bytearray(16)).cast("Q"), bytearray(_AT_ONCE * size)
        missing, swap, zeros = 0, int(self.byte_order != sys.byteorder), 0
        # Zero pages share the first block of data, in makedumpfile's layout.
        zero = kdump.DESCRIPTOR.pack(
            self.byte_order, offset=at + self.pages.count * size, size=self.head.page_size, flags=0, page_flags=0
        )
        for first in range(0, self.pages.count, _AT_ONCE):
            count = min(_AT_ONCE, self.pages.count - first)
            if self.file.read_into(at + first * size, memoryview(table)[: count * size]) < count * size:
                raise ReadError("the file has become shorter", file=self.file.name, offset=at + first * size)
            missing += check_pages(count, address_of(table), swap, self.file.size, address_of(tally))
            zeros += table.count(zero, 0, count * size)
        end, beyond = tally
        lacking = end - self.file.size
        self.described, self.written = self.pages.count, self.pages.count - missing - beyond
        if beyond:
            # Zero pages of lost passes still have descriptors, and which ones these are can't be told.
            self.cut, self.written = True, self.written - zeros
        if lacking > 0:
            self.remarks.append(f"the file is cut off: at least {lacking} bytes of page data are missing")
        if missing:
            self.remarks.append(f"{missing} of {self.pages.count} pages were not written")
        self.incomplete |= lacking > 0 or missing > 0

    def end(self) -> int:
        if self._end is None:
            self._end = self._find_end() * self._size
        return self._end

    def _find_end(self) -> int:
        """One above the highest page frame that exists."""
        first = self.pages.last_block() * BLOCK
        return first + int.from_bytes(self.pages.both(first, BLOCK)[0], "little").bit_length() if first >= 0 else 0

    def next_memory(self, paddr: int) -> int:
        return self._next(paddr, stored=False)

    def next_data(self, paddr: int) -> int:
        return self._next(paddr, stored=True)

    def _next(self, paddr: int, *, stored: bool) -> int:
        block = self.pages.next_block(paddr // self._size // BLOCK, stored=stored)
        return max(paddr, block * BLOCK * self._size) if block >= 0 else self.end()

    def ranges(self) -> Iterator[MemoryRange]:
        return join_ranges(self._runs())

    def _runs(self) -> Iterator[tuple[int, int, int]]:
        """Yield runs of existing pages within a block, stored or not: start, end, and end of stored memory."""
        block = -1
        while (block := self.pages.next_block(block + 1, stored=False)) >= 0:
            base, size = block * BLOCK, self._size
            both = self.pages.both(base, BLOCK)
            exists, stored = (address_of(bits) for bits in both)
            at = find_bit(exists, 0, BLOCK, 1)
            while at < BLOCK:
                last = find_bit(stored, at, BLOCK, 0)
                if last > at:
                    yield (base + at) * size, (base + last) * size, (base + last) * size
                    at = last
                last = find_bit(stored, at, find_bit(exists, at, BLOCK, 0), 1)
                if last > at:
                    yield (base + at) * size, (base + last) * size, (base + at) * size
                at = find_bit(exists, last, BLOCK, 1)

    def memory_bits(self, first_pfn: int, count: int, page_size: int) -> tuple[bytearray, bytearray]:
        """See :class:`Source`.

        makedumpfile's block is the kernel's page. QEMU does not know the page size (``dump/dump.c``): its block is the
        largest page, 64 KiB, on aarch64 and ppc64, and elsewhere that of its own emulation, mostly 4 KiB.
        """
        if page_size == self._size:
            return self.pages.both(first_pfn, count)
        if page_size < self._size:
            return self.pages.divided(first_pfn, count, self._size // page_size)
        self._unit = max(self._unit, page_size)
        return self.pages.joined(first_pfn, count, page_size // self._size)

    def read_into(self, paddr: int, out: memoryview) -> None:
        """See :class:`Source`. Blocks that are not stored read as zeros if another block of their page is stored."""
        at, stored = paddr, 0
        whole = paddr, paddr + len(out)
        for start, end in [whole] if self._unit == self._size else self._stored_blocks(*whole):
            out[at - paddr : start - paddr] = bytes(start - at)
            stored += self.fill(start, out[start - paddr : end - paddr])
            at = end
        if out and not stored:
            first = paddr // self._size * self._size
            raise ReadError("this memory was left out of the dump", file=self.file.name, offset=first)
        out[at - paddr :] = bytes(paddr + len(out) - at)

    def _stored_blocks(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield address ranges of stored blocks in ``start .. end``; raises ReadError if no block of a page exists."""
        size, unit = self._size, self._unit
        first, count = start // unit, -(-end // unit) - start // unit
        low = first // 8 * 8
        exists = self.memory_bits(low, (first + count - low + 7) // 8 * 8, unit)[0]
        hole = find_bit(address_of(exists), first - low, first - low + count, 0)
        if hole < first - low + count:
            raise ReadError("no such physical memory", file=self.file.name, offset=(low + hole) * unit)
        base, last = start // size // 8 * 8, -(-end // size)
        stored = self.pages.both(base, (last - base + 7) // 8 * 8)[1]
        at, stop = start // size - base, last - base
        while (at := find_bit(address_of(stored), at, stop, 1)) < stop:
            following = find_bit(address_of(stored), at, stop, 0)
            yield max((base + at) * size, start), min((base + following) * size, end)
            at = following

    def fill(self, paddr: int, out: memoryview) -> int:
        """As :meth:`read_into`, for pages of one block; returns how many blocks are stored, which may be 0."""
        try:
            reader = self._idle.pop()
        except IndexError:
            reader = PageReader(self.file, self.head, self.pages)
        try:
            return reader.read(paddr, out)
        finally:
            self._idle.append(reader)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
        super().close()
