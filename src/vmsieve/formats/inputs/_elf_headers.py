"""The headers of an ELF core: found, bounded and told apart from what is not a memory dump."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import CorruptError, TruncatedError, UnsupportedError
from vmsieve.formats.extents import EXTENTS_LIMIT, Extents
from vmsieve.formats.files import read_exactly
from vmsieve.formats.inputs import LeftOut, VirtualRange
from vmsieve.formats.layouts import elf
from vmsieve.formats.machines import machine_name
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.files import ByteFile

__all__ = ["ElfHeader", "Segment", "Segments", "read_header", "read_segments", "unsupported_32"]

#: Largest distance from one program header to the next that is believed.
_ENTRY_LIMIT: Final = 4096
#: Bytes of program headers read at a time.
_TABLE_STEP: Final = 64 << 10
#: One above the highest physical address that is believed: 512 TiB, eight times the largest x86_64 machine of four
#: levels of page tables. A damaged header that claims more would cost hours of looking at bitmaps of nothing.
_ADDRESS_END: Final = 1 << 49
#: Memory without content that is believed, in bytes: for each stored byte, and whatever is stored. A dump describes it
#: with a bit a page; the smallest dump of a machine holds a hundred times more.
_BARE_EACH: Final = 1 << 19
_BARE_LEAST: Final = 1 << 38
#: Most ranges of memory with holes between them. Segments may be many more: memory that was left out is no hole.
_RANGES_LIMIT: Final = 1 << 20
#: Most virtual ranges, and note segments, that are remembered. No real file has so many.
_VIRTUAL_LIMIT: Final = 1 << 16
_NOTES_LIMIT: Final = 1 << 10
#: Bytes of the names of sections that are looked at.
_NAMES_LIMIT: Final = 4096
#: Most distances from physical to virtual address that are told apart.
_DISTANCES_LIMIT: Final = 64
_TYPES: Final = {1: "an object file", 2: "a program or a kernel image", 3: "a program or a shared library"}
_ORDER_NAMES: Final = {elf.ELFDATA2LSB: "little", elf.ELFDATA2MSB: "big"}


@record
class Segment:
    """A program header: Elf64_Phdr, in the order of its fields."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


@record(frozen=True)
class ElfHeader:
    """What matters of Elf64_Ehdr.

    Attributes:
        byte_order: ``"little"`` or ``"big"``.
        machine: As ``uname -m``; None for a machine unknown here.
        machine_number: ``e_machine``.
        wide: It is an ELFCLASS64 file.
        flags: ``e_flags``.
        table: Where the program headers are in the file.
        entry_size: Bytes from one program header to the next.
        count: Program headers, PN_XNUM resolved.
    """

    byte_order: str
    machine: str | None
    machine_number: int
    wide: bool
    flags: int
    table: int
    entry_size: int
    count: int


def read_header(file: ByteFile) -> ElfHeader:
    """Read the ELF header of ``file``. Section headers, which QEMU leaves half filled, are used for PN_XNUM only.

    Raises:
        UnsupportedError: It is no core, or one of a 32-bit machine that can't be a 64-bit one in disguise.
        FormatError: It is damaged.
    """
    ident = read_exactly(file, 0, 16)
    byte_order, wide = _ORDER_NAMES.get(ident[elf.EI_DATA]), ident[elf.EI_CLASS] == elf.ELFCLASS64
    if not (wide or ident[elf.EI_CLASS] == elf.ELFCLASS32) or byte_order is None:
        raise CorruptError("the ELF header names no class or byte order", file=file.name, found=ident.hex(" "))
    layout, size = (elf.EHDR, elf.EHDR_SIZE) if wide else (elf.EHDR_32, elf.EHDR_SIZE_32)
    fields = struct.unpack(elf.ORDERS[byte_order] + layout, read_exactly(file, 0, size))
    _, kind, number, _, _, table, sections, flags, _, entry_size, count, _, _, _ = fields
    if kind != elf.ET_CORE:
        what = _TYPES.get(kind, f"of type {kind}")
        raise UnsupportedError(f"an ELF file, but not a core: it is {what}", file=file.name)
    if not wide and number != elf.OTHER_MACHINES["i386"]:
        raise unsupported_32(file)
    if count == elf.PN_XNUM:
        count = _extended_count(file, byte_order, sections, wide=wide)
    least = elf.PHDR_SIZE if wide else elf.PHDR_SIZE_32
    if count and not least <= entry_size <= _ENTRY_LIMIT:
        raise CorruptError("the size of a program header is wrong", file=file.name, expected=least, found=entry_size)
    if count > EXTENTS_LIMIT:
        raise UnsupportedError(
            "too many program headers", file=file.name, expected=f"at most {EXTENTS_LIMIT}", found=str(count)
        )
    return ElfHeader(
        byte_order, machine_name(number, byte_order), number, wide, flags, table, entry_size, count
    )  # fmt: skip


def unsupported_32(file: ByteFile) -> UnsupportedError:
    """The error that ``file`` is of a 32-bit machine."""
    return UnsupportedError("an ELF file of a 32-bit machine", file=file.name, hint="only 64-bit machines are known")


def _extended_count(file: ByteFile, byte_order: str, sections: int, *, wide: bool) -> int:
    """The number of program headers of a file that has more than fit in ``e_phnum``."""
    layout, size = (elf.SHDR, elf.SHDR_SIZE) if wide else (elf.SHDR_32, elf.SHDR_SIZE_32)
    try:
        section = struct.unpack(elf.ORDERS[byte_order] + layout, read_exactly(file, sections, size))
    except TruncatedError as error:
        raise CorruptError(
            "the number of program headers is in a section header that is not in the file",
            file=file.name,
            offset=sections,
        ) from error
    count: int = section[7]
    return count


def read_segments(file: ByteFile, header: ElfHeader) -> Iterator[Segment]:
    """The program headers in order; ends early where the file does."""
    if header.count == 0:
        return
    layout = struct.Struct(elf.ORDERS[header.byte_order] + (elf.PHDR if header.wide else elf.PHDR_32))
    make = Segment if header.wide else _narrow
    buffer = bytearray(_TABLE_STEP // header.entry_size * header.entry_size)
    done = 0
    while done < header.count:
        offset = header.table + done * header.entry_size
        wanted = min(len(buffer) // header.entry_size, header.count - done)
        with memoryview(buffer) as view:
            got = file.read_into(offset, view[: wanted * header.entry_size]) if offset < file.size else 0
        there = min(wanted, (got + header.entry_size - layout.size) // header.entry_size)
        for i in range(there):
            yield make(*layout.unpack_from(buffer, i * header.entry_size))
        if there < wanted:
            return
        done += wanted


def _total(extents: Extents) -> int:
    return sum(extents.ends) - sum(extents.starts)


def _is_dump_core(file: ByteFile) -> bool:
    """Whether ``file`` has sections that Xen's dump-core alone writes."""
    try:
        ident = read_exactly(file, 0, elf.EHDR_SIZE)
        order = elf.ORDERS[_ORDER_NAMES.get(ident[elf.EI_DATA], "little")]
        *_, table, _, _, _, _, size, count, names = struct.unpack(order + elf.EHDR, ident)
        if not names < count or size != elf.SHDR_SIZE:
            return False
        _, _, _, _, at, length, *_ = struct.unpack(order + elf.SHDR, read_exactly(file, table + names * size, size))
        return elf.XEN_SECTIONS in read_exactly(file, at, min(length, _NAMES_LIMIT))
    except TruncatedError:
        return False


def _narrow(*fields: int) -> Segment:
    """A program header of a 32-bit file. Its virtual addresses are none of a 64-bit kernel."""
    kind, offset, _, paddr, filesz, memsz, flags, align = fields
    return Segment(kind, flags, offset, 0, elf.NO_PADDR if paddr == elf.NO_PADDR_32 else paddr, filesz, memsz, align)


class Segments:
    """Sorts program headers into what a source needs to know.

    Attributes:
        data: Which physical memory is stored where.
        memory: Which physical memory there was; its places mean nothing.
        notes: Offset and size of each note segment.
        virtual: Kernel mappings in header order, neighbours joined.
        cut_off: The file ends before what its headers promise.
        passed_over: Stored memory at addresses that no machine has.
    """

    def __init__(self, file: ByteFile) -> None:
        self.data = Extents()
        self.memory = Extents(_RANGES_LIMIT)
        self.notes: list[tuple[int, int]] = []
        self.virtual: list[VirtualRange] = []
        self.cut_off = False
        self._file = file
        self.passed_over: list[LeftOut] = []
        self._seen = self._loads = self._lacking = self._odd_sizes = 0
        self._placed = False
        self._bare = 0  # bytes of memory without content that are not believed
        # Bytes mapped, by distance from physical to virtual address.
        self._mapped: dict[int, int] = {}

    def take(self, segment: Segment) -> None:
        """Take the next program header."""
        self._seen += 1
        if segment.type == elf.PT_NOTE and len(self.notes) < _NOTES_LIMIT:
            self.notes.append((segment.offset, segment.filesz))
        elif segment.type == elf.PT_LOAD and segment.paddr != elf.NO_PADDR:
            self._load(segment)

    def _load(self, segment: Segment) -> None:
        self._odd_sizes += segment.filesz > segment.memsz
        size = max(segment.filesz, segment.memsz)
        if size == 0:
            return
        start, end = segment.paddr, min(segment.paddr + size, _ADDRESS_END)
        there = max(0, min(segment.filesz, self._file.size - segment.offset))
        if start + there > end:
            above = max(start, end)
            self._leave_out(above, start + size, start + there - above)
        if start >= end:
            return
        self._loads += 1
        self._placed |= start != 0
        self._lacking += segment.filesz - there
        self.memory.add(start, end, start)
        self.data.add(start, min(start + there, end), segment.offset)
        self._map(segment.vaddr, start, end - start)

    def _leave_out(self, start: int, end: int, stored: int) -> None:
        """Sum up what lies beyond all believable addresses."""
        for one in self.passed_over:
            start, end, stored = min(start, one.start), max(end, one.end), stored + one.size
        self.passed_over = [LeftOut(start, end, stored, "no machine has such physical addresses")]

    def _map(self, vaddr: int, paddr: int, size: int) -> None:
        if vaddr == 0 and paddr != 0:
            return  # the writer did not know
        distance = (vaddr - paddr) % (1 << 64)
        if distance in self._mapped or len(self._mapped) < _DISTANCES_LIMIT:
            self._mapped[distance] = self._mapped.get(distance, 0) + size
        last = self.virtual[-1] if self.virtual else None
        if last is not None and (vaddr, paddr) == (last.vaddr + last.size, last.paddr + last.size):
            self.virtual[-1] = VirtualRange(last.vaddr, last.paddr, last.size + size)
        elif len(self.virtual) < _VIRTUAL_LIMIT:
            self.virtual.append(VirtualRange(vaddr, paddr, size))

    def finish(self, count: int) -> None:
        """All headers that are in the file were taken; ``count`` should have been."""
        name = self._file.name
        if self._seen < count and not self._loads:
            raise TruncatedError("the program headers are not in the file", file=name, expected=count, found=self._seen)
        if not self._loads and _is_dump_core(self._file):
            raise UnsupportedError(
                "a core of Xen's dump-core: sections by page frame of the domain, and no program headers", file=name,
                hint="crash opens it as it is; QEMU's and libvirt's dump-guest-memory write one that can be filtered",
            )  # fmt: skip
        if not self._loads:
            raise CorruptError("the ELF core holds no memory", file=name)
        if self._loads > 1 and not self._placed:
            raise UnsupportedError("the core of a process, not of a machine: it has no physical addresses", file=name)
        self.data.settle(last_wins=False)
        self.memory.settle(last_wins=False)
        self._doubt_bare()
        self.cut_off = self._seen < count or self._lacking > 0 or self._bare > 0

    def _doubt_bare(self) -> None:
        """Take memory for holes of which nothing is stored, where there is more of it than can be."""
        stored = _total(self.data)
        bare = _total(self.memory) - stored
        if bare > _BARE_LEAST + _BARE_EACH * stored:
            self._bare, self.memory = bare, Extents()
            for start, end in zip(self.data.starts, self.data.ends):
                self.memory.add(start, end, start)
            if not stored:
                raise CorruptError("the ELF core holds no memory, and describes more than can be", file=self._file.name)

    def oddities(self, count: int) -> Iterator[str]:
        """What is unusual, in sentences; known after :meth:`finish`."""
        if self._seen < count:
            yield f"the file ends within the program headers: {self._seen} of {count} are there"
        if self._lacking:
            yield f"the file is cut off: {self._lacking} bytes of memory that the headers describe are not in it"
        yield from map(str, self.passed_over)
        if self._bare:
            yield f"{self._bare} bytes of memory that the headers describe without content are taken for holes"
        if self._odd_sizes:
            yield f"{self._odd_sizes} segments have more bytes in the file than in memory"
        # A second mapping of the same memory (the kernel's text) is no oddity.
        if self.data.repeated > sum(self._mapped.values()) - max(self._mapped.values(), default=0):
            yield f"{self.data.repeated} bytes of memory are described more than once; the first description holds"
