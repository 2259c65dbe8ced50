"""Writing of notes: those in memory, then large ones, copied piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.formats.notes import padded

if TYPE_CHECKING:
    from vmsieve.formats.outputs import Description, Place

_STEP: Final = 256 << 10


def notes_size(description: Description) -> int:
    """Bytes of all notes."""
    return len(description.notes) + sum(len(note.head) + note.size + -note.size % 4 for note in description.large_notes)


def put_notes(place: Place, offset: int, description: Description) -> None:
    """Put all notes at ``offset``."""
    place.put(offset, description.notes)
    offset += len(description.notes)
    read = description.read_note
    for note in description.large_notes:
        place.put(offset, note.head)
        offset += len(note.head)
        for at in range(0, note.size, _STEP):
            piece = bytearray(min(_STEP, note.size - at))
            if read is not None:
                read(note.offset + at, memoryview(piece))
            place.put(offset + at, padded(bytes(piece)))
        offset += note.size + -note.size % 4
