"""The account of memory: each byte that an input stores, by the input's own ranges. No bitmap takes part in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.formats.inputs import LeftOut
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vmsieve.formats.inputs import MemoryRange, Source

__all__ = ["StoredBits", "Survey", "add_piece", "beyond", "partial_pages", "survey", "taken_together"]

_NAMED: Final = 8  # pieces of memory that are told one by one


@record
class Survey:
    """What an input stores.

    Attributes:
        stored: Bytes.
        partial: Pages of which only a part is stored.
        filled: Bytes that those lack: zeros take their place.
    """

    stored: int = 0
    partial: int = 0
    filled: int = 0


def survey(source: Source, page_size: int, *, whole: bool = True) -> Survey:
    """Sum up what ``source`` stores; unless ``whole``, pages that are stored in part are left out."""
    found = Survey(sum(one.size for one in source.passed_over))

    def counted() -> Iterator[MemoryRange]:
        for area in source.ranges():
            found.stored += area.stored_end - area.start
            yield area

    for _, size in partial_pages(counted(), page_size):
        found.partial += whole
        found.filled += (page_size - size) * whole
    return found


def partial_pages(ranges: Iterable[MemoryRange], page_size: int) -> Iterator[tuple[int, int]]:
    """Pages of which only a part is stored, ascending: the address of the first byte that is, and their number."""
    pfn = have = begin = 0
    for area in ranges:
        start, end = area.start, area.stored_end
        if start >= end or not (start % page_size or end % page_size):
            continue
        first, last = start // page_size, (end - 1) // page_size
        for at in range(first, last + 1, max(1, last - first)):
            low = max(start, at * page_size)
            size = min(end, (at + 1) * page_size) - low
            if have and at == pfn:
                have += size
                continue
            if 0 < have < page_size:
                yield begin, have
            pfn, have, begin = at, size, low
    if 0 < have < page_size:
        yield begin, have


def beyond(ranges: Iterable[MemoryRange], address: int, reason: str) -> list[LeftOut]:
    """The stored memory from ``address`` on, as left out for ``reason``."""
    pieces = ((max(area.start, address), area.stored_end) for area in ranges)
    return taken_together(((start, end) for start, end in pieces if start < end), reason)


def taken_together(pieces: Iterable[tuple[int, int]], reason: str) -> list[LeftOut]:
    """Pieces of memory, ascending, as left out for ``reason``; those after the first few are one."""
    found: list[LeftOut] = []
    for start, end in pieces:
        add_piece(found, start, end, reason)
    return found


def add_piece(found: list[LeftOut], start: int, end: int, reason: str) -> None:
    """Add a piece of memory that follows those in ``found``; neighbours are one, and so are those after a few."""
    if found and (found[-1].end == start or len(found) == _NAMED):
        last = found.pop()
        found.append(LeftOut(last.start, end, last.size + end - start, reason))
    else:
        found.append(LeftOut(start, end, end - start, reason))


class StoredBits:
    """Which pages the ranges of a source hold, a block of page frames after the other."""

    def __init__(self, source: Source, page_size: int) -> None:
        self._ranges = source.ranges()
        self._open: list[MemoryRange] = []
        self._page_size = page_size

    def block(self, first_pfn: int, count: int) -> tuple[bytearray, bytearray]:
        """Bitmaps of ``count`` page frames: which exist, and which are stored, if only in part. Calls go upward."""
        size, exists, stored = self._page_size, bytearray(count // 8), bytearray(count // 8)
        start, end = first_pfn * size, (first_pfn + count) * size
        while not self._open or self._open[-1].start < end:
            area = next(self._ranges, None)
            if area is None:
                break
            self._open.append(area)
        self._open = [area for area in self._open if area.end > start]
        for area in self._open:
            for bits, stop in ((exists, area.end), (stored, area.stored_end)):
                low, high = max(area.start, start), min(stop, end)
                if low < high:
                    set_bits(bits, (low - start) // size, -(-(high - start) // size))
        return exists, stored

    def partial(self) -> dict[int, tuple[int, int]]:
        """Pages of the last block of which only a part is stored: where that begins and ends in each."""
        size = self._page_size
        return {at // size: (at % size, at % size + have) for at, have in partial_pages(self._open, size)}


def set_bits(bits: bytearray, low: int, high: int) -> None:
    """Set the bits ``low <= bit < high``."""
    start, end = low >> 3, (high + 7) >> 3
    ones = ((1 << (high - low)) - 1) << (low & 7)
    bits[start:end] = (int.from_bytes(bits[start:end], "little") | ones).to_bytes(end - start, "little")
