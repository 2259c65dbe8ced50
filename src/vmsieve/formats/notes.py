"""ELF notes, which most dump formats contain.

A note is a header (:data:`~vmsieve.formats.layouts.elf.NHDR`), a name and a descriptor, each padded to 4 bytes
(``include/uapi/linux/elf.h`` of Linux; the gABI, chapter 5). Zeros may lie between notes: the kernel reserves space for
processors that never write theirs.
"""

from __future__ import annotations

from vmsieve.formats.files import read_exactly
from vmsieve.formats.layouts import elf
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.formats.source import Cpu, LargeNote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.source import Source

#: Most bytes of notes held in memory: 10,000 processors of the machine with the longest notes.
NOTES_LIMIT = 16 << 20
#: Most bytes that are read, zeros included, and most notes.
_READ_LIMIT = 4 * NOTES_LIMIT
_MOST_NOTES = 1 << 18
#: Bytes read at a time; a note that does not fit is a :class:`LargeNote`.
_PIECE = 1 << 20
_LONGEST_NAME = 256

_STEP = 4096  # bytes searched for zeros at a time


@record(frozen=True)
class Note:
    """One note within an area of notes."""

    name: bytes  # without its NUL
    type: int  # ``n_type``
    offset: int  # byte offset of the descriptor in the area
    size: int  # bytes of the descriptor
    end: int  # byte offset behind the note, padding included


def _aligned(size: int) -> int:
    return -(-size // elf.NOTE_ALIGN) * elf.NOTE_ALIGN


def padded(data: bytes) -> bytes:
    """``data`` padded to the alignment of notes."""
    return data.ljust(_aligned(len(data)), b"\0")


def _first_nonzero(notes: bytes, at: int) -> int | None:
    """Offset of the first non-zero byte from ``at`` on, or None."""
    while at < len(notes):
        piece = notes[at : at + _STEP]
        rest = piece.lstrip(b"\0")
        if rest:
            return at + len(piece) - len(rest)
        at += len(piece)
    return None


def each_note(notes: bytes, byte_order: str) -> Iterator[Note]:
    """Yield the notes in order, up to the first damaged or truncated one; 262144 at most."""
    header = elf.NHDR.format(byte_order)
    at = 0
    for _ in range(_MOST_NOTES):
        start = _first_nonzero(notes, at)
        if start is None:
            return
        at = max(at, start // elf.NOTE_ALIGN * elf.NOTE_ALIGN)
        if at + header.size > len(notes):
            return
        name_size, size, kind = header.unpack_from(notes, at)
        name_at = at + header.size
        offset = name_at + _aligned(name_size)
        if offset + size > len(notes) or name_size == 0:
            return
        at = min(offset + _aligned(size), len(notes))
        yield Note(notes[name_at : name_at + name_size].rstrip(b"\0"), kind, offset, size, at)


def readable_size(notes: bytes, byte_order: str) -> int:
    """Bytes up to the end of the last valid note; all of ``notes`` if only zeros follow."""
    end = 0
    for note in each_note(notes, byte_order):
        end = note.end
    return len(notes) if _first_nonzero(notes, end) is None else end


def build_note(name: bytes, kind: int, descriptor: bytes, byte_order: str) -> bytes:
    """A note as stored, padding included; ``name`` lacks its NUL."""
    header = elf.NHDR.pack(byte_order, n_namesz=len(name) + 1, n_descsz=len(descriptor), n_type=kind)
    return header + padded(name + b"\0") + padded(descriptor)


def find_note(notes: bytes, byte_order: str, wanted: tuple[bytes, int]) -> tuple[int, int] | None:
    """Offset and size of the first non-empty descriptor of a note with name and type ``wanted``, or None."""
    for note in each_note(notes, byte_order):
        if (note.name, note.type) == wanted and note.size:
            return note.offset, note.size
    return None


def note_text(notes: bytes, byte_order: str, wanted: tuple[bytes, int]) -> bytes | None:
    """The descriptor that :func:`find_note` finds, or None."""
    found = find_note(notes, byte_order, wanted)
    return None if found is None else notes[found[0] : sum(found)]


def with_text(notes: bytes, byte_order: str, wanted: tuple[bytes, int], text: bytes) -> bytes:
    """``notes``, with a note ``wanted`` of ``text`` in front unless the first such note has that text already."""
    found = note_text(notes, byte_order, wanted)
    if not text or found == text:
        return notes
    return build_note(*wanted, text, byte_order) + notes


def without_note(notes: bytes, byte_order: str, unwanted: tuple[bytes, int]) -> bytes:
    """``notes`` without those of this name and type."""
    return b"".join(
        build_note(note.name, note.type, notes[note.offset : note.offset + note.size], byte_order)
        for note in each_note(notes, byte_order)
        if (note.name, note.type) != unwanted
    )


def cpus(notes: bytes, byte_order: str) -> tuple[Cpu, ...]:
    """The processors with an NT_PRSTATUS note, in order; notes too short for registers are skipped."""
    found: list[Cpu] = []
    for note in each_note(notes, byte_order):
        if (note.name, note.type) != elf.NOTE_PRSTATUS or note.size <= elf.PRSTATUS.size + elf.PRSTATUS_TAIL:
            continue
        first, end = note.offset + elf.PRSTATUS.size, note.offset + note.size - elf.PRSTATUS_TAIL
        pid = elf.PRSTATUS.unpack(notes, note.offset, byte_order).pr_pid
        found.append(Cpu(len(found), pid, notes[first:end]))
    return tuple(found)


def set_notes(source: Source, notes: bytes) -> None:
    """Set the notes of ``source``, its processors and VMCOREINFO; a Xen host's are ``mixed``."""
    order = source.byte_order
    source.notes, source.cpus = notes, cpus(notes, order)
    source.vmcoreinfo = note_text(notes, order, elf.NOTE_VMCOREINFO)
    if any(note.name in elf.XEN_NOTES for note in each_note(notes, order)):
        source.mixed = True
        source.remarks.append(
            "the memory of a Xen host: its hypervisor and all domains; none of their kernels describes all of it"
        )


class NotesReader:
    """Collects notes from areas of a file. Device dumps of a crashed machine may have megabytes."""

    def __init__(self, file: ByteFile, byte_order: str) -> None:
        self.small = b""  # notes held in memory, as stored
        self.large: list[LargeNote] = []  # notes left in the file; together no larger than the file
        self._file = file
        self._header = elf.NHDR.format(byte_order)
        self._byte_order = byte_order
        self._left = file.size
        self._to_read = _READ_LIMIT

    def take(self, offset: int, size: int) -> int:
        """Read the area at ``offset``; returns the number of bytes that are damaged, missing or over the limit."""
        at, end = offset, min(offset + size, self._file.size)
        while at < end:
            limit = min(NOTES_LIMIT - len(self.small), self._to_read)
            piece = read_exactly(self._file, at, min(_PIECE, end - at, limit))
            self._to_read -= len(piece)
            good = readable_size(piece, self._byte_order)
            if not good:
                good = self._take_large(at, end, piece)
            elif any(piece):
                self.small = padded(self.small + piece[:good])
            if not good:
                break
            at += good
        return offset + size - min(at, offset + size)

    def _take_large(self, at: int, end: int, piece: bytes) -> int:
        """Take a note that exceeds ``piece``, read at ``at``; returns the number of bytes used."""
        start = (_first_nonzero(piece, 0) or 0) // elf.NOTE_ALIGN * elf.NOTE_ALIGN
        if start + self._header.size > len(piece):
            return start
        name_size, size, _ = self._header.unpack_from(piece, start)
        head = piece[start : start + self._header.size + _aligned(name_size)]
        offset = at + start + self._header.size + _aligned(name_size)
        if not 0 < name_size <= _LONGEST_NAME or offset + size > end or _aligned(size) > self._left:
            return 0
        self._left -= _aligned(size)
        self.large.append(LargeNote(head, offset, size))
        return min(offset + _aligned(size), end) - at
