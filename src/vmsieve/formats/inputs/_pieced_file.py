"""Files that are scattered over another file in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmsieve.formats.files import read_as

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
        """See :class:`vmsieve.formats.files.ByteFile`."""
        pieces, end = self._pieces, min(offset + len(out), self.size)
        at, i = offset, pieces.find(offset)
        while at < end:
            start = min(pieces.starts[i], end) if i < len(pieces.starts) else end
            if at < start:
                out[at - offset : start - offset] = bytes(start - at)
                at = start
                continue
            stop = min(pieces.ends[i], end)
            outer_at = pieces.offsets[i] + at - start
            part = out[at - offset : stop - offset]
            got = read_as(self._outer, outer_at, part, at, self.name) if outer_at < self._outer.size else 0
            if got < stop - at:
                return at + got - offset
            at, i = stop, i + 1
        return max(0, end - offset)

    def next_data(self, offset: int) -> int:
        """See :func:`vmsieve.formats.files.next_data`."""
        return self._pieces.next_address(offset, self.size)

    def close(self) -> None:
        """Close the outer file."""
        self._outer.close()
