"""ELF64 core files as makedumpfile -E writes them: dropped memory is described but not stored.

Layout: ELF header; program headers (notes, then memory); one section header if there are more than 65534 of them;
notes; pages from the next page boundary on. Zero pages are holes. Short rows of dropped pages are stored, as a reader
can't distinguish a page left out within a segment from zeros. For unreadable pages see
:mod:`vmsieve.formats.outputs._unread`, for sources :mod:`vmsieve.formats.layouts.elf`.
"""

from __future__ import annotations

from vmsieve.formats.errors import OutputError
from vmsieve.formats.layouts import elf
from vmsieve.formats.layouts.elf import machine_number
from vmsieve.formats.loops.describe import UNREADABLE
from vmsieve.formats.outputs import FileWriter, OutputFormat
from vmsieve.formats.outputs._ranks import Ranks
from vmsieve.formats.outputs._runs import stored_runs
from vmsieve.formats.outputs._segments import AddressMap, segments
from vmsieve.formats.outputs._unread import MARK, SPARE, Unread
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.outputs import Batch, Description, Place
    from vmsieve.formats.outputs._segments import Segment

#: Shorter rows of dropped pages are stored: PFN_EXCLUDED of makedumpfile's ``makedumpfile.h``.
_BRIDGE: Final = 256
_FLAGS_OFFSET: Final = elf.EHDR.offset("e_flags")
_FLAGS_END: Final = _FLAGS_OFFSET + 4
#: sh_info, the number of program headers, has 32 bits.
_MOST_HEADERS: Final = 0xFFFFFFFF
_MASK: Final = (1 << 64) - 1


class ElfWriter(FileWriter):
    """Writes one ELF core file from uncompressed pages, zero pages without bytes."""

    def __init__(self, description: Description, place: Place) -> None:
        super().__init__(description, place)
        self._map = AddressMap(description.virtual, description.page_size)
        # Every stored page is a kept one, so pages lie in the file by rank, whatever segments they are in.
        self._ranks = Ranks(description.kept)
        self._data = self._end = self._notes = 0
        self._unread = Unread(0, 1)

    def begin(self) -> None:
        count, size = self._measure()
        spare = SPARE if count + SPARE < elf.PN_XNUM else 0
        room = spare if getattr(self._place, "rewrites", False) else 0
        self._unread = Unread(room, 1 + len(self._map.aliases), self._map.breaks)
        headers = (count + spare) * elf.PHDR.size
        notes_offset = elf.EHDR.size + headers + (elf.SHDR.size if count >= elf.PN_XNUM else 0)
        page_size = self._it.page_size
        self._data = -(-(notes_offset + self._notes_size()) // page_size) * page_size
        self._end = self._data + size
        self._put_ehdr(count)
        self._notes = notes_offset
        at = elf.EHDR.size
        for header in self._phdrs():
            self._place.put(at, header)
            at += elf.PHDR.size
        if count >= elf.PN_XNUM:
            # As fill_extnum_info() of Linux's fs/binfmt_elf.c: the only section header has the number.
            shdr = elf.SHDR.pack(self._order, sh_size=1, sh_info=count)
            self._place.put(notes_offset - elf.SHDR.size, shdr)
        self._put_notes(notes_offset)
        self._place.flush()

    def _segments(self) -> Iterator[Segment]:
        return segments(self._it.exists, self._it.kept, self._map.breaks)

    def _placed(self) -> Iterator[tuple[Segment, int]]:
        """Yield the segments with their file offsets."""
        offset = self._data
        for segment in self._segments():
            yield segment, offset
            offset += segment.stored * self._it.page_size

    def _measure(self) -> tuple[int, int]:
        """Number of program headers, and bytes of pages."""
        count = 1
        pages = 0
        for segment in self._segments():
            count += 1 + sum(1 for _ in self._aliases(segment, 0))
            pages += segment.stored
        if count > _MOST_HEADERS:
            raise OutputError("memory is in too many pieces for an ELF file", found=count)
        return count, pages * self._it.page_size

    def _put_ehdr(self, count: int) -> None:
        many = count >= elf.PN_XNUM
        shoff = elf.EHDR.size + count * elf.PHDR.size if many else 0
        data = elf.ELFDATA2LSB if self._it.byte_order == "little" else elf.ELFDATA2MSB
        header = elf.EHDR.pack(
            self._order, e_ident=elf.MAGIC + bytes((elf.ELFCLASS64, data, elf.EV_CURRENT)), e_type=elf.ET_CORE,
            e_machine=machine_number(self._it.machine) or self._it.machine_number, e_version=elf.EV_CURRENT,
            e_phoff=elf.EHDR.size, e_shoff=shoff, e_ehsize=elf.EHDR.size,
            e_phentsize=elf.PHDR.size, e_phnum=min(count, elf.PN_XNUM),
            e_shentsize=elf.SHDR.size if many else 0, e_shnum=int(many),
        )  # fmt: skip
        self._place.put(0, header[:_FLAGS_OFFSET])
        self._place.hold(_FLAGS_OFFSET, self._flags(whole=False), self._flags(whole=True))
        self._place.put(_FLAGS_END, header[_FLAGS_END:])

    def _flags(self, *, whole: bool) -> bytes:
        return elf.EHDR.pack_field("e_flags", 0 if whole else elf.FLAG_INCOMPLETE, self._order)

    def _phdrs(self) -> Iterator[bytes]:
        packer = elf.PHDR.format(self._order)
        size = self._notes_size()
        yield packer.pack(elf.PT_NOTE, 0, self._notes, 0, 0, size, size, 0)
        for offset, vaddr, paddr, stored, size in self._loads():
            yield packer.pack(elf.PT_LOAD, elf.PF_RWX, offset, vaddr & _MASK, paddr, stored, size, 0)

    def _loads(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield offset, virtual and physical address, bytes in the file and in memory of each PT_LOAD."""
        page_size = self._it.page_size
        shifts = self._map.shifts()
        end, shift = 0, 0
        for segment, offset in self._unread.divide(self._placed(), page_size):
            while segment.first >= end:
                end, shift = next(shifts)
            paddr = segment.first * page_size
            yield offset, paddr + shift, paddr, segment.stored * page_size, segment.pages * page_size
            yield from self._aliases(segment, offset)

    def _aliases(self, segment: Segment, offset: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield more PT_LOADs for the aliases of ``segment``; they share its bytes in the file."""
        start = segment.first * self._it.page_size
        stored_end = start + segment.stored * self._it.page_size
        end = start + segment.pages * self._it.page_size
        for alias in self._map.aliases:
            low, high = max(start, alias.paddr), min(end, alias.paddr + alias.size)
            if low < high:
                stored = max(min(stored_end, high) - low, 0)
                yield offset + low - start, alias.vaddr + low - alias.paddr, low, stored, high - low

    def pages(self, batch: Batch) -> None:
        page_size, places = self._it.page_size, self._ranks.places(batch)
        runs, missing = stored_runs(batch, places, page_size)
        if missing:
            mark = memoryview(MARK * (page_size // len(MARK)))
            unread = (k for k in range(batch.count) if batch.flags[k] & UNREADABLE)
            # A page whose segment can end before it needs no content.
            runs += [(places[k], mark) for k in unread if not self._unread.add(batch.pfns[k])]
            runs.sort(key=lambda run: run[0])
        for place, data in runs:
            self._place.put(self._data + place * page_size, data)
        self._took(batch.count, missing)

    def end(self, *, complete: bool) -> None:
        self._all_came(self._it.kept.count(), demanded=complete)
        if complete:
            self._place.extend(self._end)
        if self._unread:
            table = b"".join(self._phdrs())
            self._place.settle(elf.EHDR.size, table)
            count = elf.EHDR.pack_field("e_phnum", len(table) // elf.PHDR.size, self._order)
            self._place.settle(elf.EHDR.offset("e_phnum"), count)
        self._place.settle(_FLAGS_OFFSET, self._flags(whole=complete and not self._missing))


def _torn_mark(start: bytes) -> tuple[int, bytes] | None:
    if not start.startswith(elf.MAGIC) or len(start) < elf.EHDR.size:
        return None
    order = "little" if start[elf.EI_DATA] == elf.ELFDATA2LSB else "big"
    flags = elf.EHDR.unpack(start, order=order).e_flags | elf.FLAG_INCOMPLETE
    return _FLAGS_OFFSET, elf.EHDR.pack_field("e_flags", flags, order)


FORMAT = OutputFormat(
    "elf", "ELF core file", packed=False, sequential=True, bridge=_BRIDGE, writer=ElfWriter, torn_mark=_torn_mark,
    passes=True,
)  # fmt: skip
