"""ELF notes: the blocks of named facts that every dump format carries in the same form.

A note is a header (:data:`~vmsieve.formats.layouts.elf.NHDR`), a name and a descriptor, each padded to 4 bytes
(``include/uapi/linux/elf.h`` of Linux; the gABI, chapter 5). The area between notes may be filled with zeros: a kernel
reserves room for processors that never wrote theirs.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from vmsieve.formats.inputs import Cpu
from vmsieve.formats.layouts import elf
from vmsieve.formats.records import record

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "NOTES_LIMIT",
    "Note",
    "build_note",
    "cpus",
    "each_note",
    "readable_size",
    "vmcoreinfo_place",
    "without_vmcoreinfo",
]

#: Largest area of notes that is read: ten thousand processors' worth of the wordiest machine.
NOTES_LIMIT = 16 << 20

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
    """The notes in order, up to the first that is damaged or cut off."""
    header = struct.Struct(elf.ORDERS[byte_order] + elf.NHDR)
    at = 0
    while (filled := _filled(notes, at)) is not None:
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
    stored_name = name.ljust(_aligned(len(name) + 1), b"\0")
    return header + stored_name + descriptor.ljust(_aligned(len(descriptor)), b"\0")


def vmcoreinfo_place(notes: bytes, byte_order: str) -> tuple[int, int] | None:
    """Offset and size in ``notes`` of the first VMCOREINFO text that is not empty; None if there is none."""
    for note in each_note(notes, byte_order):
        if (note.name, note.type) == elf.NOTE_VMCOREINFO and note.size:
            return note.offset, note.size
    return None


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
