"""The account of memory: every byte that an input stores, computed from its ranges, independently of the bitmaps."""

from __future__ import annotations

from vmsieve.formats.bitmap import set_bits
from vmsieve.formats.inputs import LeftOut
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vmsieve.formats.inputs import MemoryRange, Source

_NAMED: Final = 8  # pieces of memory that are reported one by one


@record
class Survey:
    """Memory that an input stores."""

    stored: int = 0  # bytes
    partial: int = 0  # pages stored in part
    filled: int = 0  # bytes missing from those, which are written as zeros


def survey(source: Source, page_size: int, *, whole: bool = True) -> Survey:
    """Sum up what ``source`` stores; without ``whole``, partly stored pages don't count."""
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
    """Yield address and number of the stored bytes of each partly stored page, ascending."""
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


def add_piece(found: list[LeftOut], start: int, end: int, reason: str) -> None:
    """Append a piece of memory; it is merged into an adjacent one, and all pieces after the first few are merged."""
    if found and (found[-1].end == start or len(found) == _NAMED):
        last = found.pop()
        found.append(LeftOut(last.start, end, last.size + end - start, reason))
    else:
        found.append(LeftOut(start, end, end - start, reason))


class StoredBits:
    """Bitmaps of the pages in a source's ranges, block by block."""

    def __init__(self, source: Source, page_size: int) -> None:
        self._ranges = source.ranges()
        self._open: list[MemoryRange] = []
        self._page_size = page_size

    def block(self, first_pfn: int, count: int) -> tuple[bytearray, bytearray]:
        """Return bitmaps of ``count`` page frames: existing, and stored at least in part. Calls must ascend."""
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
        """Partly stored pages of the last block: first and end offset of the stored part, by page frame."""
        size = self._page_size
        return {at // size: (at % size, at % size + have) for at, have in partial_pages(self._open, size)}
