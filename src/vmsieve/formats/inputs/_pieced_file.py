"""Files that are stored in pieces of a file."""

from __future__ import annotations

from vmsieve.formats.files import clear, read_as
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmsieve.formats.extents import Extents
    from vmsieve.formats.files import ByteFile


class PiecedFile:
    """A file made of pieces of another, with zeros between them; see :class:`vmsieve.formats.files.ByteFile`."""

    def __init__(self, outer: ByteFile, size: int, pieces: Extents) -> None:
        """Take a settled table: offsets in this file, with offsets in ``outer``."""
        self.name = outer.name
        self.size = size
        self._outer, self._pieces = outer, pieces

    def read_into(self, offset: int, out: memoryview) -> int:
        at, end = offset, min(offset + len(out), self.size)
        for start, stop, place in self._pieces.pieces(offset, end):
            clear(out[at - offset : start - offset])
            part = out[start - offset : stop - offset]
            got = read_as(self._outer, place, part, start, self.name) if place < self._outer.size else 0
            if got < len(part):
                return start + got - offset
            at = stop
        clear(out[at - offset : max(end - offset, 0)])
        return max(end - offset, 0)

    def next_data(self, offset: int) -> int:
        """See :func:`vmsieve.formats.files.next_data`."""
        return self._pieces.next_address(offset, self.size)

    def close(self) -> None:
        self._outer.close()
