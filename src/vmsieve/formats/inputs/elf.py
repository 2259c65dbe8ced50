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

from vmsieve.formats.bitmap import set_bits
from vmsieve.formats.inputs import InputFormat, begins_with
from vmsieve.formats.inputs._elf_headers import Segments, read_header, read_segments
from vmsieve.formats.inputs._pieces import StoredPieces
from vmsieve.formats.layouts import elf
from vmsieve.formats.layouts.elf import machine_name
from vmsieve.formats.notes import NotesReader, set_notes
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile

#: Largest page of Linux; assumed if VMCOREINFO does not have the page size.
_LARGEST_PAGE: Final = 64 << 10
_PAGE_SIZE: Final = b"PAGESIZE="


class ElfSource(StoredPieces):
    """An open ELF core."""

    def __init__(self, file: ByteFile) -> None:
        """Read the headers and notes of ``file``; raises FormatError if they are unusable."""
        header = read_header(file)
        machine = machine_name(header.e_machine, header.byte_order)
        super().__init__(
            file, format="ELF core", machine=machine, machine_number=header.e_machine, byte_order=header.byte_order
        )
        self.narrow = not header.wide
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

    def knows_zeros(self) -> bool:
        return bool(getattr(self.file, "sparse", False))

    def zero_bits(self, first_pfn: int, count: int, page_size: int) -> bytearray | None:
        if not self.knows_zeros():
            return None
        bits, base = bytearray(count // 8), first_pfn * page_size
        for start, end, offset in self._pieces(base, base + count * page_size):
            for hole, data in self.file.holes(offset, offset + end - start):  # type: ignore[attr-defined]
                low, high = hole - offset + start - base, data - offset + start - base
                low, high = -(-low // page_size), high // page_size
                if low < high:
                    set_bits(bits, low, high)
        return bits

    def will_read(self, spans: list[tuple[int, int]]) -> bool:
        will_read = getattr(self.file, "will_read", None)
        if will_read is None:
            return False
        found = (piece for paddr, size in spans for piece in self._data.pieces(paddr, paddr + size))
        return bool(will_read([(offset, end - start) for start, end, offset in found]))

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


def _page_size(vmcoreinfo: bytes) -> int | None:
    """PAGESIZE of VMCOREINFO, or None if it is missing or invalid."""
    values = (line[len(_PAGE_SIZE) :] for line in vmcoreinfo.split(b"\n") if line.startswith(_PAGE_SIZE))
    size = next((int(number) for number in values if number.isdigit() and 4 <= len(number) <= 6), 0)
    return size if 4096 <= size <= _LARGEST_PAGE and size & (size - 1) == 0 else None


FORMAT = InputFormat("elf", "ELF core", 30, begins_with(elf.MAGIC), ElfSource)
