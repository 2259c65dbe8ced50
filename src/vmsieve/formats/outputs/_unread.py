"""Unreadable pages of an ELF core, distinguishable from zeros.

In a rewritable file their segment ends before them: its p_memsz covers them, its p_filesz does not. Program headers
precede the pages, so space for more of them is reserved. In a stream, or when the space is used up, such a page is
filled with :data:`MARK`.
"""

from __future__ import annotations

from bisect import bisect_left

from vmsieve.formats.outputs._segments import Segment
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Content of such a page; its length is a power of two.
MARK: Final = b"vmsieve: unreadable memory here\n"
#: Program headers reserved.
SPARE: Final = 64


class Unread:
    """Rows of unreadable pages that segments must end before, ascending."""

    def __init__(self, room: int, cost: int, breaks: Sequence[int] = ()) -> None:
        """Start empty.

        ``room``: program headers that may be added, ``cost``: most that a row takes, ``breaks``: page frames that no
        row goes across, ascending.
        """
        self._room, self._cost, self._breaks = room, cost, breaks
        self._rows: list[tuple[int, int]] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, pfn: int) -> bool:
        """Add a page; False if there is no room."""
        rows, at = self._rows, bisect_left(self._rows, (pfn, 0))
        below = at > 0 and rows[at - 1][1] == pfn and not self._is_break(pfn)
        above = at < len(rows) and rows[at][0] == pfn + 1 and not self._is_break(pfn + 1)
        cost = self._cost * (1 - below - above)
        if self._room < cost:
            return False
        self._room -= cost
        start, end = rows[at - 1][0] if below else pfn, rows[at][1] if above else pfn + 1
        rows[at - below : at + above] = [(start, end)]
        return True

    def _is_break(self, pfn: int) -> bool:
        at = bisect_left(self._breaks, pfn)
        return at < len(self._breaks) and self._breaks[at] == pfn

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
