"""ELF notes: the blocks of named facts that every dump format carries in the same form.

A note is a header (:data:`~vmsieve.formats.layouts.elf.NHDR`), a name and a descriptor, each padded to 4 bytes
(``include/uapi/linux/elf.h`` of Linux; the gABI, chapter 5). The area between notes may be filled with zeros: a kernel
reserves room for processors that never wrote theirs.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from vmsieve.formats.files import read_exactly
from vmsieve.formats.source import Cpu, LargeNote
from vmsieve.formats.layouts import elf
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.files import ByteFile

__all__ = [
    "NOTES_LIMIT",
    "Note",
    "NotesReader",
    "build_note",
    "cpus",
    "each_note",
    "note_place",
    "padded",
    "readable_size",
    "vmcoreinfo_place",
    "with_text",
    "without_vmcoreinfo",
    "xen_oddity",
]

#: Most bytes of notes that are held in memory: ten thousand processors' worth of the wordiest machine.
NOTES_LIMIT = 16 << 20
#: Most bytes that are looked at, zeros among them, and most notes.
_LOOKED_AT = 4 * NOTES_LIMIT
_MOST_NOTES = 1 << 18
#: A note that does not fit in so many bytes is a large one.
_PIECE = 1 << 20
_LONGEST_NAME = 256

_STEP = 4096  # bytes that are searched for zeros at a time


@record(frozen=True)
class Note:
    """One note within an area of notes.

    Attributes:
        name: Without its NUL.
        type: ``n_type``.
        offset: Byte offset of the descriptor in the area.
        size: Bytes of the descriptor.
        end: Byte offset after the note, padding included.
    """

    name: bytes
    type: int
    offset: int
    size: int
    end: int


def _aligned(size: int) -> int:
    return -(-size // elf.NOTE_ALIGN) * elf.NOTE_ALIGN


def padded(data: bytes) -> bytes:
    """``data`` with the zeros after which the next note may begin."""
    return data.ljust(_aligned(len(data)), b"\0")


def _filled(notes: bytes, at: int) -> int | None:
    """Offset of the first byte from ``at`` on that is not zero; None if there is none."""
    while at < len(notes):
        piece = notes[at : at + _STEP]
        rest = piece.lstrip(b"\0")
        if rest:
            return at + len(piece) - len(rest)
        at += len(piece)
    return None


def each_note(notes: bytes, byte_order: str) -> Iterator[Note]:
    """The notes in order, up to the first that is damaged or cut off; a quarter of a million at most."""
    header = struct.Struct(elf.ORDERS[byte_order] + elf.NHDR)
    at = 0
    for _ in range(_MOST_NOTES):
        filled = _filled(notes, at)
        if filled is None:
            return
        at = max(at, filled // elf.NOTE_ALIGN * elf.NOTE_ALIGN)
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
    """Bytes up to the end of the last note that can be read; all of ``notes`` when only zeros follow it."""
    end = 0
    for note in each_note(notes, byte_order):
        end = note.end
    return len(notes) if _filled(notes, end) is None else end


def build_note(name: bytes, kind: int, descriptor: bytes, byte_order: str) -> bytes:
    """A note as stored, padding included; ``name`` is given without its NUL."""
    header = struct.pack(elf.ORDERS[byte_order] + elf.NHDR, len(name) + 1, len(descriptor), kind)
    return header + padded(name + b"\0") + padded(descriptor)


def note_place(notes: bytes, byte_order: str, wanted: tuple[bytes, int]) -> tuple[int, int] | None:
    """Offset and size in ``notes`` of the first descriptor of name and type ``wanted`` that is not empty, or None."""
    for note in each_note(notes, byte_order):
        if (note.name, note.type) == wanted and note.size:
            return note.offset, note.size
    return None


def vmcoreinfo_place(notes: bytes, byte_order: str) -> tuple[int, int] | None:
    """Offset and size in ``notes`` of the first VMCOREINFO text that is not empty, or None."""
    return note_place(notes, byte_order, elf.NOTE_VMCOREINFO)


def xen_oddity(notes: bytes, byte_order: str) -> str | None:
    """A sentence on a dump of a Xen host, if ``notes`` are those of one."""
    if any(note.name in elf.XEN_NOTES for note in each_note(notes, byte_order)):
        return "the memory of a Xen host: its hypervisor and all domains; no Linux there can speak for all of it"
    return None


def with_text(notes: bytes, byte_order: str, wanted: tuple[bytes, int], text: bytes) -> bytes:
    """The notes, the first of name and type ``wanted`` being ``text``: put in front unless it is among them so."""
    place = note_place(notes, byte_order, wanted)
    if not text or (place is not None and notes[place[0] : sum(place)] == text):
        return notes
    return build_note(*wanted, text, byte_order) + notes


def without_vmcoreinfo(notes: bytes, byte_order: str) -> bytes:
    """The notes but for those of VMCOREINFO."""
    return b"".join(
        build_note(note.name, note.type, notes[note.offset : note.offset + note.size], byte_order)
        for note in each_note(notes, byte_order)
        if (note.name, note.type) != elf.NOTE_VMCOREINFO
    )


def cpus(notes: bytes, byte_order: str) -> tuple[Cpu, ...]:
    """The processors that left an NT_PRSTATUS note, in order; a note too short to hold registers is passed over."""
    pid = struct.Struct(elf.ORDERS[byte_order] + "i")
    found: list[Cpu] = []
    for note in each_note(notes, byte_order):
        if (note.name, note.type) != elf.NOTE_PRSTATUS or note.size <= elf.PRSTATUS_REGISTERS + elf.PRSTATUS_TAIL:
            continue
        first, end = note.offset + elf.PRSTATUS_REGISTERS, note.offset + note.size - elf.PRSTATUS_TAIL
        found.append(Cpu(len(found), pid.unpack_from(notes, note.offset + elf.PRSTATUS_PID)[0], notes[first:end]))
    return tuple(found)


class NotesReader:
    """Gathers notes from the areas of a file. What a crashed machine's devices left there may have megabytes.

    Attributes:
        small: Notes that are held in memory, as stored.
        large: Those that stay in the file; together no larger than it.
    """

    def __init__(self, file: ByteFile, byte_order: str) -> None:
        self.small = b""
        self.large: list[LargeNote] = []
        self._file = file
        self._header = struct.Struct(elf.ORDERS[byte_order] + elf.NHDR)
        self._byte_order = byte_order
        self._left = file.size
        self._to_look_at = _LOOKED_AT

    def take(self, offset: int, size: int) -> int:
        """Read the area at ``offset``; returns how many of its bytes are damaged, missing or too many."""
        at, end = offset, min(offset + size, self._file.size)
        while at < end:
            room = min(NOTES_LIMIT - len(self.small), self._to_look_at)
            piece = read_exactly(self._file, at, min(_PIECE, end - at, room))
            self._to_look_at -= len(piece)
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
        """Take a note that does not fit into ``piece``, which begins at ``at``; returns how many bytes were used."""
        start = (_filled(piece, 0) or 0) // elf.NOTE_ALIGN * elf.NOTE_ALIGN
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
