"""Where the pages or page descriptors of a batch belong, whatever order batches come in."""

from __future__ import annotations

from vmsieve.formats.bitmap import address_of, count_between, count_ones
from vmsieve.formats.loops.ranks import count_up, rank_runs
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.bitmap import PageBits
    from vmsieve.formats.outputs import Batch

_ROOM: Final = 256


class Ranks:
    """Ranks of kept pages. Needs 8 bytes and one uncompressed block for each filled block of the bitmap.

    Args:
        kept: The kept pages.
        first: First page frame of the file, for a part of a split dump: ranks count from there.
    """

    def __init__(self, kept: PageBits, first: int = 0) -> None:
        self._kept = kept
        self._before: dict[int, int] = {}
        self._number = -1
        self._bits = bytearray(kept.block // 8)
        self._out = memoryview(bytearray(16 * (_ROOM + 1))).cast("Q")
        rank = -count_between(kept, 0, first) if first else 0
        for number in kept.filled():
            self._before[number] = rank
            self._bits[:] = kept[number]
            rank += count_ones(self._bits)

    def runs(self, batch: Batch) -> Iterator[tuple[int, int, int]]:
        """Yield the runs of pages with consecutive ranks: index of the first page, of the one behind, first rank.

        AssertionError: a page is not kept.
        """
        index = 0
        while index < batch.count:
            number = batch.pfns[index] // self._kept.block
            if number not in self._before:
                break
            if number != self._number:
                self._bits[:] = self._kept[number]
                self._number = number
            found = rank_runs(
                address_of(self._bits), number * self._kept.block, self._kept.block, address_of(batch.pfns), index,
                batch.count, address_of(self._out), _ROOM,
            )  # fmt: skip
            for i in range(found):
                start, rank, end = self._out[2 * i : 2 * i + 3]
                yield start, end, self._before[number] + rank
            if not found:
                break
            index = self._out[2 * found]
        if index < batch.count:
            raise AssertionError(f"page frame {batch.pfns[index]} was not announced")

    def places(self, batch: Batch) -> memoryview:
        """The rank of each page, native 64-bit words."""
        row = memoryview(bytearray(8 * batch.count))
        for start, end, rank in self.runs(batch):
            count_up(rank, end - start, address_of(row[8 * start :]))
        return row.cast("Q")
