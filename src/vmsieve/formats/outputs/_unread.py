"""Unreadable pages of an ELF core, distinguishable from zeros.

In a rewritable file their segment ends before them: its p_memsz covers them, its p_filesz does not. Program headers
precede the pages, so space for more of them is reserved. In a stream, or when the space is used up, such a page is
filled with :data:`MARK`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.formats.outputs._segments import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Content of such a page; its length is a power of two.
MARK: Final = b"vmsieve: unreadable memory here\n"
#: Program headers reserved.
SPARE: Final = 64


class Unread:
    """Rows of unreadable pages that segments must end before."""

    def __init__(self, room: int, cost: int) -> None:
        """Start empty; ``room``: program headers that may be added, ``cost``: most that a row takes."""
        self._room, self._cost = room, cost
        self._rows: list[tuple[int, int]] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, pfn: int, segment: Segment) -> bool:
        """Add a page of ``segment``, above all others; False if there is no room."""
        if self._rows and self._rows[-1][1] == pfn and segment.first <= self._rows[-1][0]:
            self._rows[-1] = (self._rows[-1][0], pfn + 1)
            return True
        if self._room < self._cost:
            return False
        self._room -= self._cost
        self._rows.append((pfn, pfn + 1))
        return True

    def divide(self, placed: Iterator[tuple[Segment, int]], page_size: int) -> Iterator[tuple[Segment, int]]:
        """Cut segments with offsets, ascending, before and behind each row; their bytes stay in place."""
        rows = iter(self._rows)
        row = next(rows, None)
        for segment, offset in placed:
            start, stored_end, end = segment.first, segment.first + segment.stored, segment.first + segment.pages
            while row is not None and row[0] < end:
                stop = row[1] if row[1] < stored_end else end
                yield Segment(start, row[0] - start, stop - start), offset + (start - segment.first) * page_size
                start, row = stop, next(rows, None)
            if start < end:
                yield Segment(start, stored_end - start, end - start), offset + (start - segment.first) * page_size
