"""A source that records which of its memory is read."""

from __future__ import annotations

from vmsieve.formats.extents import joined
from vmsieve.formats.inputs import MemoryRange, Source
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.mapping import FilePiece

_UNIT: Final = 4096  # bytes of a recorded unit: no machine has smaller pages
_SMALL: Final = 16  # units up to which a read is recorded unit by unit, as the same few are read over and over


class Through(Source):
    """Passes everything through to another source: a base class for sources that change something."""

    def __init__(self, inner: Source) -> None:
        self.__dict__.update(inner.__dict__)
        self._inner = inner

    def end(self) -> int:
        return self._inner.end()

    def ranges(self) -> Iterator[MemoryRange]:
        return self._inner.ranges()

    def next_memory(self, paddr: int) -> int:
        return self._inner.next_memory(paddr)

    def next_data(self, paddr: int) -> int:
        return self._inner.next_data(paddr)

    def memory_bits(self, first_pfn: int, count: int, page_size: int) -> tuple[bytearray, bytearray]:
        return self._inner.memory_bits(first_pfn, count, page_size)

    def will_read(self, spans: list[tuple[int, int]]) -> bool:
        return self._inner.will_read(spans)

    def knows_zeros(self) -> bool:
        return self._inner.knows_zeros()

    def zero_bits(self, first_pfn: int, count: int, page_size: int) -> bytearray | None:
        return self._inner.zero_bits(first_pfn, count, page_size)

    def read_into(self, paddr: int, out: memoryview) -> None:
        self._inner.read_into(paddr, out)


class Watched(Through):
    """A source that records what is read."""

    def __init__(self, inner: Source) -> None:
        super().__init__(inner)
        self._single: set[int] = set()
        self._spans: list[tuple[int, int]] = []

    def read_into(self, paddr: int, out: memoryview) -> None:
        self._inner.read_into(paddr, out)
        self._record(paddr, len(out))

    def file_pieces(self, paddr: int, size: int) -> list[FilePiece] | None:
        pieces = self._inner.file_pieces(paddr, size)
        if pieces is not None:
            self._record(paddr, size)
        return pieces

    def _record(self, paddr: int, size: int) -> None:
        first, end = paddr // _UNIT, -(-(paddr + size) // _UNIT)
        if end - first <= _SMALL:
            self._single.update(range(first, end))
        elif self._spans and self._spans[-1][0] <= first <= self._spans[-1][1]:
            self._spans[-1] = self._spans[-1][0], max(end, self._spans[-1][1])
        else:
            self._spans.append((first, end))

    def read_spans(self, page_size: int) -> list[tuple[int, int]]:
        """Return what was read so far: ascending, disjoint spans of page frames, as first and end."""
        units = page_size // _UNIT
        pages = [(first // units, -(-end // units)) for first, end in self._spans]
        pages += [(unit // units, unit // units + 1) for unit in self._single]
        return joined(pages)
