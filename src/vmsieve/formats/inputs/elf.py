"""ELF cores of 64-bit machines, in either ELF class: /proc/vmcore, QEMU's dump-guest-memory, makedumpfile -E.

Each PT_LOAD segment maps physical memory to a part of the file. Writers differ:

* The first segment of /proc/vmcore is often the kernel's text, which a later segment maps again at another virtual
  address (``kexec-tools``; Linux ``arch/*/kernel/crash.c``).
* Memory behind ``p_filesz`` exists and is not stored: makedumpfile excludes pages this way.
* Segments need not begin or end at a page boundary; the rest of the page reads as zeros.
* QEMU (up to 8.0, ``dump/dump.c``) writes garbage to ``e_ehsize`` and the section fields, and does not put the program
  headers behind the ELF header, but at ``e_phoff``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import ReadError
from vmsieve.formats.files import PlainFile, read_memory
from vmsieve.formats.inputs import InputFormat, MemoryRange, Source
from vmsieve.formats.inputs._elf_headers import Segments, read_header, read_segments, unsupported_32
from vmsieve.formats.layouts import elf
from vmsieve.formats.machines import I386, machine_name
from vmsieve.formats.notes import NotesReader, set_notes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.files import ByteFile

#: Largest page of Linux; assumed if VMCOREINFO does not have the page size.
_LARGEST_PAGE: Final = 64 << 10
_PAGE_SIZE: Final = b"PAGESIZE="


class ElfSource(Source):
    """An open ELF core.

    Attributes:
        wide: True for ELFCLASS64.
    """

    def __init__(self, file: ByteFile) -> None:
        """Read the headers and notes of ``file``.

        Raises:
            FormatError: They are unusable.
        """
        header = read_header(file)
        machine = machine_name(header.e_machine, header.byte_order)
        super().__init__(
            file, format="ELF core", machine=machine, machine_number=header.e_machine, byte_order=header.byte_order
        )
        self.wide = header.wide
        if machine is None:
            self.remarks.append(f"machine number {header.e_machine} is unknown")
        segments = Segments(file)
        for segment in read_segments(file, header):
            segments.take(segment)
        segments.finish(header.e_phnum)
        self._data, self._memory = segments.data, segments.memory
        self.virtual = tuple(segments.virtual)
        self.incomplete = segments.cut_off or bool(header.e_flags & elf.FLAG_INCOMPLETE)
        self.remarks += segments.remarks(header.e_phnum)
        self.passed_over += segments.passed_over
        if header.e_flags & elf.FLAG_INCOMPLETE:
            self.remarks.append("the dump is marked incomplete: its writer could not finish")
        self._read_notes(segments.notes)
        self.header = {
            "machine number": header.e_machine,
            "flags": header.e_flags,
            "program headers": header.e_phnum,
            "pieces of memory": len(self._data.starts),
        }

    def _read_notes(self, areas: list[tuple[int, int]]) -> None:
        reader = NotesReader(self.file, self.byte_order)
        lacking = sum(reader.take(offset, size) for offset, size in areas)
        if lacking:
            stated = sum(size for _, size in areas)
            self.remarks.append(f"{lacking} of {stated} bytes of notes are damaged, missing or over the limit")
        if not areas:
            self.remarks.append("there is no note segment: no registers and no VMCOREINFO")
        set_notes(self, reader.small)
        self.large_notes = tuple(reader.large)
        self._granule = _page_size(self.vmcoreinfo or b"") or _LARGEST_PAGE

    def end(self) -> int:
        return self._memory.ends[-1]

    def next_memory(self, paddr: int) -> int:
        return self._memory.next_address(paddr, self.end())

    def next_data(self, paddr: int) -> int:
        return self._data.next_address(paddr, self.end())

    def ranges(self) -> Iterator[MemoryRange]:
        data, i = self._data, 0
        for start, end in zip(self._memory.starts, self._memory.ends):
            while start < end:
                stored = start
                while i < len(data.starts) and data.starts[i] == stored:
                    stored = data.ends[i]
                    i += 1
                following = data.starts[i] if i < len(data.starts) else end
                yield MemoryRange(start, min(following, end), stored)
                start = min(following, end)

    def memory_bits(self, first_pfn: int, count: int, page_size: int) -> tuple[bytearray, bytearray]:
        wanted = first_pfn, count, page_size
        return self._memory.page_bits(*wanted), self._data.page_bits(*wanted)

    def read_into(self, paddr: int, out: memoryview) -> None:
        data, at, end = self._data, paddr, paddr + len(out)
        self._check_span(paddr, end)
        i = data.find(paddr)
        while at < end:
            start = min(data.starts[i], end) if i < len(data.starts) else end
            if at < start:
                out[at - paddr : start - paddr] = bytes(start - at)
                at = start
                continue
            stop = min(data.ends[i], end)
            read_memory(self.file, data.offsets[i] + at - start, out[at - paddr : stop - paddr], at)
            at, i = stop, i + 1

    def map_at(self, address: int, paddr: int, size: int) -> bool:
        data, i = self._data, self._data.find(paddr)
        whole = i < len(data.starts) and data.starts[i] <= paddr and paddr + size <= data.ends[i]
        if not whole or not isinstance(self.file, PlainFile):
            return False
        return self.file.map_at(address, data.offsets[i] + paddr - data.starts[i], size)

    def _check_span(self, paddr: int, end: int) -> None:
        """Raise ReadError if a page of ``paddr .. end`` does not exist, or none is stored."""
        memory, page, at = self._memory, self._granule, paddr
        i = memory.find(paddr // page * page)
        while at < end:
            if i >= len(memory.starts) or memory.starts[i] // page * page > at:
                raise ReadError("no such physical memory", file=self.file.name, offset=at)
            at = max(at, -(-memory.ends[i] // page) * page)
            i += 1
        i = self._data.find(paddr // page * page)
        if i >= len(self._data.starts) or self._data.starts[i] >= -(-end // page) * page:
            raise ReadError("this memory was left out of the dump", file=self.file.name, offset=paddr)


def _page_size(vmcoreinfo: bytes) -> int | None:
    """PAGESIZE of VMCOREINFO, or None if it is missing or invalid."""
    values = (line[len(_PAGE_SIZE) :] for line in vmcoreinfo.split(b"\n") if line.startswith(_PAGE_SIZE))
    size = next((int(number) for number in values if number.isdigit() and 4 <= len(number) <= 6), 0)
    return size if 4096 <= size <= _LARGEST_PAGE and size & (size - 1) == 0 else None


def _probe(start: bytes) -> bool:
    return start.startswith(elf.MAGIC)


def _open(file: ByteFile) -> ElfSource:
    source = ElfSource(file)
    if source.machine in (None, I386):
        from vmsieve.formats.inputs import _machine

        _machine.complete(source)
        if source.machine == I386 and not source.wide:
            raise unsupported_32(file)
    if (source.machine, source.byte_order) == ("s390x", "big"):
        from vmsieve.formats.inputs._s390 import complete

        complete(source)  # QEMU's cores lack VMCOREINFO
    elif source.machine in ("ppc64", "ppc64le") and source.vmcoreinfo is None:
        from vmsieve.formats.inputs import _ppc64

        _ppc64.complete(source)  # QEMU's cores lack VMCOREINFO, and have the wrong byte order
    return source


FORMAT = InputFormat("elf", "ELF core", 30, _probe, _open)
