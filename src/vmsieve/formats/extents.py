"""Which bytes of an address space lie where in a file."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from heapq import heappop, heappush, merge
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["EXTENTS_LIMIT", "Extents"]

#: Most pieces that a table takes unless it is told otherwise: 96 MiB of it, and as much again while it is sorted.
EXTENTS_LIMIT: Final = 4 << 20
#: Most rows of pieces in ascending order that a table sorts into one, and most pieces that lie over each other in one
#: place. A real file has a handful of the former and two of the latter.
_DISORDER_LIMIT: Final = 1 << 16


class Extents:
    """A table of pieces: addresses ``starts[i] .. ends[i]`` lie at ``places[i]`` of the file.

    Filled with :meth:`add`, then made ready by :meth:`settle`: from there on the pieces are disjoint and ascending.
    Costs 24 bytes a piece.

    Attributes:
        starts: First address of each piece.
        ends: One above its last address.
        places: Where its first byte is in the file.
        repeated: Bytes that were in more than one piece, once for each repetition; known after :meth:`settle`.
    """

    def __init__(self, limit: int = EXTENTS_LIMIT) -> None:
        """An empty table for up to ``limit`` pieces."""
        self.starts = array("Q")
        self.ends = array("Q")
        self.places = array("Q")
        self.repeated = 0
        self._limit = limit
        self._rows = [0]
        self._disjoint = True

    def add(self, start: int, end: int, place: int) -> None:
        """Take ``start .. end``; an empty piece is passed over, one that continues the last one is joined with it.

        Raises:
            UnsupportedError: There are too many pieces, or in too great a disorder.
        """
        if start >= end:
            return
        if self.starts:
            last = self.ends[-1]
            if start == last and place - self.places[-1] == start - self.starts[-1]:
                self.ends[-1] = end
                return
            if start < self.starts[-1]:
                self._rows.append(len(self.starts))
            self._disjoint &= start >= last
        if len(self.starts) >= self._limit or len(self._rows) > _DISORDER_LIMIT:
            raise UnsupportedError("the input is in too many pieces", expected=f"at most {self._limit}")
        self.starts.append(start)
        self.ends.append(end)
        self.places.append(place)

    def settle(self, *, last_wins: bool) -> None:
        """Sort the pieces; where some lie over each other, keep the one added last or first.

        Raises:
            UnsupportedError: Too many lie over each other in one place.
        """
        if self._disjoint:
            return
        rows = [range(a, b) for a, b in zip(self._rows, [*self._rows[1:], len(self.starts)])]
        order = merge(*rows, key=self.starts.__getitem__)
        before = sum(self.ends) - sum(self.starts)
        table = self._lay_out(order, -1 if last_wins else 1)
        self.starts, self.ends, self.places = table.starts, table.ends, table.places
        self.repeated = before - (sum(self.ends) - sum(self.starts))
        self._rows, self._disjoint = [0], True

    def _lay_out(self, order: Iterable[int], sign: int) -> Extents:
        """The pieces, taken by ascending start, without what lower ranks hide; ``sign`` times its number is a rank."""
        out = Extents(self._limit)
        # What lies over each other at the moment, best rank first: rank, end, distance from address to place.
        open_pieces: list[tuple[int, int, int]] = []
        at = 0
        for i in order:
            at = _emit(out, open_pieces, at, self.starts[i])
            if open_pieces and open_pieces[0][0] < sign * i and open_pieces[0][1] >= self.ends[i]:
                continue
            if len(open_pieces) > _DISORDER_LIMIT:
                raise UnsupportedError("too many pieces of the input lie over each other", offset=at)
            heappush(open_pieces, (sign * i, self.ends[i], self.places[i] - self.starts[i]))
        _emit(out, open_pieces, at, max(self.ends))
        return out

    def page_bits(self, first_pfn: int, count: int, page_size: int) -> bytearray:
        """A bitmap of ``count`` pages from ``first_pfn`` on (multiples of 8): those that pieces hold any byte of."""
        bits = bytearray(count // 8)
        start, end = first_pfn * page_size, (first_pfn + count) * page_size
        i = self.find(start)
        while i < len(self.starts) and self.starts[i] < end:
            low, high = max(self.starts[i], start), min(self.ends[i], end)
            _set_bits(bits, (low - start) // page_size, -(-(high - start) // page_size))
            i += 1
        return bits

    def find(self, address: int) -> int:
        """Index of the first piece that ends above ``address``."""
        i = bisect_right(self.starts, address) - 1
        return i if i >= 0 and self.ends[i] > address else i + 1


def _set_bits(bits: bytearray, low: int, high: int) -> None:
    """Set the bits ``low <= bit < high``, at least one."""
    first, last = low >> 3, (high - 1) >> 3
    head, tail = 0xFF << (low & 7) & 0xFF, 0xFF >> (-high & 7)
    if first == last:
        bits[first] |= head & tail
        return
    bits[first] |= head
    bits[first + 1 : last] = b"\xff" * (last - first - 1)
    bits[last] |= tail


def _emit(out: Extents, open_pieces: list[tuple[int, int, int]], at: int, until: int) -> int:
    """Move what the open pieces hold of ``at .. until`` to ``out``; returns ``until``."""
    while open_pieces:
        _, end, distance = open_pieces[0]
        if end <= at:
            heappop(open_pieces)
        elif at < until:
            stop = min(end, until)
            out.add(at, stop, at + distance)
            at = stop
        else:
            break
    return until
