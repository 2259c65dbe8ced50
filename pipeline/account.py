"""The account of memory: each byte that an input stores, by the input's own ranges. No bitmap takes part in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.formats.inputs import LeftOut
from vmsieve.formats.records import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vmsieve.formats.inputs import MemoryRange, Source

__all__ = ["Survey", "beyond", "partial_pages", "survey", "taken_together"]

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
        if len(found) < _NAMED:
            found.append(LeftOut(start, end, end - start, reason))
        else:
            last = found[-1]
            found[-1] = LeftOut(last.start, end, last.size + end - start, reason)
    return found
