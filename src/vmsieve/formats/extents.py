"""Extents: a map from addresses to file offsets."""

from __future__ import annotations

from bisect import bisect_right
from heapq import heappop, heappush, merge

from vmsieve.formats.bitmap import set_bits
from vmsieve.formats.errors import UnsupportedError
from vmsieve.formats.slim.arrays import array
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Default limit of pieces: 96 MiB, and as much again while they are sorted.
EXTENTS_LIMIT: Final = 4 << 20
#: Most ascending sequences of pieces that are merged into one, and most pieces that overlap at one address. A real file
#: has a handful of the former and two of the latter.
_DISORDER_LIMIT: Final = 1 << 16


class Extents:
    """A table of pieces: addresses ``starts[i] .. ends[i]`` are at ``offsets[i]`` of the file.

    Filled with :meth:`add`, with up to ``limit`` pieces, then :meth:`resolve_overlaps` makes them disjoint and
    ascending. 24 bytes per piece.
    """

    def __init__(self, limit: int = EXTENTS_LIMIT) -> None:
        self.starts = array("Q")  # first address of each piece
        self.ends = array("Q")  # one above its last address
        self.offsets = array("Q")  # file offset of its first byte
        self.repeated = 0  # bytes that were in more than one piece, counted once per repetition
        self._limit = limit
        self._sequences = [0]
        self._disjoint = True

    def add(self, start: int, end: int, offset: int) -> None:
        """Add ``start .. end``; empty pieces are ignored, and one that continues the last piece is joined with it.

        Raises UnsupportedError if there are too many pieces or sequences.
        """
        if start >= end:
            return
        if self.starts:
            last = self.ends[-1]
            if start == last and offset - self.offsets[-1] == start - self.starts[-1]:
                self.ends[-1] = end
                return
            if start < self.starts[-1]:
                self._sequences.append(len(self.starts))
            self._disjoint &= start >= last
        if len(self.starts) >= self._limit or len(self._sequences) > _DISORDER_LIMIT:
            raise UnsupportedError("the input is in too many pieces", expected=f"at most {self._limit}")
        self.starts.append(start)
        self.ends.append(end)
        self.offsets.append(offset)

    def resolve_overlaps(self, *, last_wins: bool) -> None:
        """Sort the pieces; where they overlap, keep the one added last or first. Raises as :meth:`add`."""
        if self._disjoint:
            return
        sequences = [range(a, b) for a, b in zip(self._sequences, [*self._sequences[1:], len(self.starts)])]
        order = merge(*sequences, key=self.starts.__getitem__)
        before = self.total()
        table = self._flatten(order, -1 if last_wins else 1)
        self.starts, self.ends, self.offsets = table.starts, table.ends, table.offsets
        self.repeated = before - self.total()
        self._sequences, self._disjoint = [0], True

    def _flatten(self, order: Iterable[int], sign: int) -> Extents:
        """The pieces, in ``order`` of start, without the parts that others hide; rank: ``sign`` times the index."""
        out = Extents(self._limit)
        # A heap of the pieces at the current address, best rank first: rank, end, offset minus address.
        open_pieces: list[tuple[int, int, int]] = []
        at = 0
        for i in order:
            at = _emit(out, open_pieces, at, self.starts[i])
            if open_pieces and open_pieces[0][0] < sign * i and open_pieces[0][1] >= self.ends[i]:
                continue
            if len(open_pieces) > _DISORDER_LIMIT:
                raise UnsupportedError("too many pieces of the input overlap", offset=at)
            heappush(open_pieces, (sign * i, self.ends[i], self.offsets[i] - self.starts[i]))
        _emit(out, open_pieces, at, max(self.ends))
        return out

    def total(self) -> int:
        """Bytes in all pieces."""
        return sum(self.ends) - sum(self.starts)

    def next_address(self, address: int, end: int) -> int:
        """The first address in a piece from ``address`` on; ``end`` if there is none."""
        i = self.find(address)
        return max(address, self.starts[i]) if i < len(self.starts) else end

    def page_bits(self, first_pfn: int, count: int, page_size: int) -> bytearray:
        """A bitmap of ``count`` pages from ``first_pfn`` (multiples of 8), set for pages with any byte in a piece."""
        bits = bytearray(count // 8)
        start, end = first_pfn * page_size, (first_pfn + count) * page_size
        for low, high, _ in self.pieces(start, end):
            set_bits(bits, (low - start) // page_size, -(-(high - start) // page_size))
        return bits

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield the parts of pieces within ``start .. end``: start, end, and offset of each."""
        for i in range(self.find(start), len(self.starts)):
            low, high = max(start, self.starts[i]), min(end, self.ends[i])
            if low >= high:
                return
            yield low, high, self.offsets[i] + low - self.starts[i]

    def find(self, address: int) -> int:
        """Index of the first piece that ends above ``address``."""
        i = bisect_right(self.starts, address) - 1
        return i if i >= 0 and self.ends[i] > address else i + 1


def joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort ranges and join those that touch or overlap."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            start, end = found[-1][0], max(end, found.pop()[1])
        found.append((start, end))
    return found


def _emit(out: Extents, open_pieces: list[tuple[int, int, int]], at: int, until: int) -> int:
    """Add the best open pieces of ``at .. until`` to ``out``; returns ``until``."""
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
