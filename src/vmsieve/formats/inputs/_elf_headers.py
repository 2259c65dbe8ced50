"""Headers of ELF cores: read, checked, and sorted into what a source needs."""

from __future__ import annotations

from vmsieve.formats.errors import CorruptError, TruncatedError, UnsupportedError
from vmsieve.formats.extents import EXTENTS_LIMIT, Extents
from vmsieve.formats.files import read_exactly
from vmsieve.formats.layouts import elf
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.source import LeftOut, VirtualRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.layouts import Fields

#: Largest valid distance between program headers.
_ENTRY_LIMIT: Final = 4096
#: Bytes of program headers read at a time.
_TABLE_STEP: Final = 64 << 10
#: One above the highest valid physical address: 512 TiB, eight times the largest x86_64 machine with four levels of
#: page tables. A damaged header that claims more would cost hours of scanning empty bitmaps.
_ADDRESS_END: Final = 1 << 49
#: Most bytes of memory without content that are accepted: per stored byte, and in any case. A dump describes such
#: memory with a bit per page; the smallest dump of a machine holds a hundred times more.
_BARE_EACH: Final = 1 << 19
_BARE_LEAST: Final = 1 << 38
#: Most ranges of memory with holes between them. There may be many more segments, as excluded memory is not a hole.
_RANGES_LIMIT: Final = 1 << 20
#: Most virtual ranges, and note segments; no real file has so many.
_VIRTUAL_LIMIT: Final = 1 << 16
_NOTES_LIMIT: Final = 1 << 10
#: Most bytes of section names that are read.
_NAMES_LIMIT: Final = 4096
#: Most distances from physical to virtual address that are tracked.
_DISTANCES_LIMIT: Final = 64
_PROGRAM: Final = "a dump is usually called vmcore; a kernel's vmlinux is given by --vmlinux FILE"
_TYPES: Final = {1: "an object file", 2: "a program or a kernel image", 3: "a program or a shared library"}
_ORDER_NAMES: Final = {elf.ELFDATA2LSB: "little", elf.ELFDATA2MSB: "big"}


def read_header(file: ByteFile) -> Fields:
    """Read the ELF header of ``file``, with ``byte_order``, ``wide`` (ELFCLASS64), and PN_XNUM in ``e_phnum`` resolved.

    Section headers, which QEMU leaves half filled, are used for PN_XNUM only. Raises FormatError if it is damaged, no
    core, or of a 32-bit machine other than i386, which QEMU's cores of x86_64 claim.
    """
    ident = read_exactly(file, 0, 16)
    order, wide = _ORDER_NAMES.get(ident[elf.EI_DATA]), ident[elf.EI_CLASS] == elf.ELFCLASS64
    if not (wide or ident[elf.EI_CLASS] == elf.ELFCLASS32) or order is None:
        raise CorruptError("the ELF header has no valid class or byte order", file=file.name, found=ident.hex(" "))
    layout = elf.EHDR if wide else elf.EHDR_32
    header = layout.unpack(read_exactly(file, 0, layout.size), order=order)
    header.byte_order, header.wide = order, wide
    if header.e_type != elf.ET_CORE:
        kind = _TYPES.get(header.e_type, f"of type {header.e_type}")
        raise UnsupportedError(f"an ELF file, but not a core: it is {kind}", file=file.name, hint=_PROGRAM)
    if not wide and header.e_machine != elf.OTHER_MACHINES["i386"]:
        raise UnsupportedError(
            "an ELF file of a 32-bit machine", file=file.name, hint="only 64-bit machines are supported"
        )
    if header.e_phnum == elf.PN_XNUM:
        header.e_phnum = _extended_count(file, header)
    count, entry_size = header.e_phnum, header.e_phentsize
    least = (elf.PHDR if wide else elf.PHDR_32).size
    if count and not least <= entry_size <= _ENTRY_LIMIT:
        raise CorruptError("the size of a program header is wrong", file=file.name, expected=least, found=entry_size)
    if count > EXTENTS_LIMIT:
        raise UnsupportedError(
            "too many program headers", file=file.name, expected=f"at most {EXTENTS_LIMIT}", found=str(count)
        )
    return header


def _extended_count(file: ByteFile, header: Fields) -> int:
    """The number of program headers of a file with PN_XNUM or more."""
    layout, sections = elf.SHDR if header.wide else elf.SHDR_32, header.e_shoff
    try:
        section = layout.unpack(read_exactly(file, sections, layout.size), order=header.byte_order)
    except TruncatedError as error:
        raise CorruptError(
            "the section header with the number of program headers is not in the file", file=file.name, offset=sections
        ) from error
    return int(section.sh_info)


def read_segments(file: ByteFile, header: Fields) -> Iterator[Fields]:
    """Yield the program headers in order, as :data:`elf.PHDR`; ends early if the file does."""
    if header.e_phnum == 0:
        return
    layout, size = elf.PHDR if header.wide else elf.PHDR_32, header.e_phentsize
    buffer = bytearray(_TABLE_STEP // size * size)
    done = 0
    while done < header.e_phnum:
        offset = header.e_phoff + done * size
        wanted = min(len(buffer) // size, header.e_phnum - done)
        with memoryview(buffer) as view:
            got = file.read_into(offset, view[: wanted * size]) if offset < file.size else 0
        complete = min(wanted, (got + size - layout.size) // size)
        for i in range(complete):
            segment = layout.unpack(buffer, i * size, header.byte_order)
            if not header.wide:
                # Its virtual addresses are not those of a 64-bit kernel.
                segment.p_vaddr = 0
                if segment.p_paddr == elf.NO_PADDR_32:
                    segment.p_paddr = elf.NO_PADDR
            yield segment
        if complete < wanted:
            return
        done += wanted


def _is_dump_core(file: ByteFile) -> bool:
    """True if ``file`` has sections of Xen's dump-core."""
    try:
        ident = read_exactly(file, 0, elf.EHDR.size)
        order = _ORDER_NAMES.get(ident[elf.EI_DATA], "little")
        head = elf.EHDR.unpack(ident, order=order)
        size = elf.SHDR.size
        if not head.e_shstrndx < head.e_shnum or head.e_shentsize != size:
            return False
        names = elf.SHDR.unpack(read_exactly(file, head.e_shoff + head.e_shstrndx * size, size), order=order)
        return elf.XEN_SECTIONS in read_exactly(file, names.sh_offset, min(names.sh_size, _NAMES_LIMIT))
    except TruncatedError:
        return False


class Segments:
    """Program headers, sorted into what a source needs."""

    def __init__(self, file: ByteFile) -> None:
        self.data = Extents()  # stored physical memory, with file offsets
        self.memory = Extents(_RANGES_LIMIT)  # all physical memory; offsets are meaningless
        self.notes: list[tuple[int, int]] = []  # offset and size of each note segment
        self.virtual: list[VirtualRange] = []  # kernel mappings in header order, neighbours joined
        self.cut_off = False  # the file is shorter than its headers claim
        self._file = file
        self.passed_over: list[LeftOut] = []  # stored memory at invalid addresses
        self._seen = self._loads = self._lacking = self._odd_sizes = 0
        self._placed = False
        self._bare = 0  # rejected bytes of memory without content
        # Bytes mapped, by distance from physical to virtual address.
        self._mapped: dict[int, int] = {}

    def take(self, segment: Fields) -> None:
        """Take the next program header."""
        self._seen += 1
        if segment.p_type == elf.PT_NOTE and len(self.notes) < _NOTES_LIMIT:
            self.notes.append((segment.p_offset, segment.p_filesz))
        elif segment.p_type == elf.PT_LOAD and segment.p_paddr != elf.NO_PADDR:
            self._load(segment)

    def _load(self, segment: Fields) -> None:
        self._odd_sizes += segment.p_filesz > segment.p_memsz
        size = max(segment.p_filesz, segment.p_memsz)
        if size == 0:
            return
        start, end = segment.p_paddr, min(segment.p_paddr + size, _ADDRESS_END)
        stored = max(0, min(segment.p_filesz, self._file.size - segment.p_offset))
        if start + stored > end:
            above = max(start, end)
            self._leave_out(above, start + size, start + stored - above)
        if start >= end:
            return
        self._loads += 1
        self._placed |= start != 0
        self._lacking += segment.p_filesz - stored
        self.memory.add(start, end, start)
        self.data.add(start, min(start + stored, end), segment.p_offset)
        self._map(segment.p_vaddr, start, end - start)

    def _leave_out(self, start: int, end: int, stored: int) -> None:
        """Merge stored memory above :data:`_ADDRESS_END` into one entry."""
        for one in self.passed_over:
            start, end, stored = min(start, one.start), max(end, one.end), stored + one.size
        self.passed_over = [LeftOut(start, end, stored, "no machine has such physical addresses")]

    def _map(self, vaddr: int, paddr: int, size: int) -> None:
        if vaddr == 0 and paddr != 0:
            return  # the writer did not know the address
        distance = (vaddr - paddr) % (1 << 64)
        if distance in self._mapped or len(self._mapped) < _DISTANCES_LIMIT:
            self._mapped[distance] = self._mapped.get(distance, 0) + size
        last = self.virtual[-1] if self.virtual else None
        if last is not None and (vaddr, paddr) == (last.vaddr + last.size, last.paddr + last.size):
            self.virtual[-1] = VirtualRange(last.vaddr, last.paddr, last.size + size)
        elif len(self.virtual) < _VIRTUAL_LIMIT:
            self.virtual.append(VirtualRange(vaddr, paddr, size))

    def finish(self, count: int) -> None:
        """Check the segments, after the last of ``count``; raises FormatError if they are no usable machine's."""
        name = self._file.name
        if self._seen < count and not self._loads:
            raise TruncatedError("the program headers are not in the file", file=name, expected=count, found=self._seen)
        if not self._loads and _is_dump_core(self._file):
            raise UnsupportedError(
                "a core of Xen's dump-core: sections by page frame of the domain, and no program headers", file=name,
                hint="crash opens it as it is; dump-guest-memory of QEMU or libvirt writes a core that can be filtered",
            )  # fmt: skip
        if not self._loads:
            raise CorruptError("the ELF core holds no memory", file=name)
        if self._loads > 1 and not self._placed:
            raise UnsupportedError(
                "the core of a process, not of a machine: it has no physical addresses", file=name,
                hint="gdb reads it: 'gdb PROGRAM CORE'",
            )  # fmt: skip
        self.data.resolve_overlaps(last_wins=False)
        self.memory.resolve_overlaps(last_wins=False)
        self._doubt_bare()
        self.cut_off = self._seen < count or self._lacking > 0 or self._bare > 0

    def _doubt_bare(self) -> None:
        """Treat memory without content as holes if the headers claim too much of it."""
        stored = self.data.total()
        bare = self.memory.total() - stored
        if bare > _BARE_LEAST + _BARE_EACH * stored:
            self._bare, self.memory = bare, Extents()
            for start, end in zip(self.data.starts, self.data.ends):
                self.memory.add(start, end, start)
            if not stored:
                raise CorruptError("the ELF core holds no memory, and claims too much", file=self._file.name)

    def remarks(self, count: int) -> Iterator[str]:
        """Yield remarks, after :meth:`finish`."""
        if self._seen < count:
            yield f"the file ends within the program headers: {self._seen} of {count} are in it"
        if self._lacking:
            yield f"the file is cut off: {self._lacking} bytes of memory that the headers describe are not in it"
        yield from map(str, self.passed_over)
        if self._bare:
            yield f"{self._bare} bytes of memory that the headers describe without content are treated as holes"
        if self._odd_sizes:
            yield f"{self._odd_sizes} segments have more bytes in the file than in memory"
        # A second mapping of the same memory, the kernel's text, is normal.
        if self.data.repeated > sum(self._mapped.values()) - max(self._mapped.values(), default=0):
            yield f"{self.data.repeated} bytes of memory are described more than once; the first description holds"
