"""Where the page descriptors of a batch belong if batches do not come in ascending order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.formats.bitmap import address_of, count_between
from vmsieve.formats.loops.bits import count_bits
from vmsieve.formats.loops.ranks import rank_runs

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
            rank += count_bits(address_of(self._bits), len(self._bits))

    def runs(self, batch: Batch) -> Iterator[tuple[int, int, int]]:
        """Yield the runs of pages with consecutive ranks: index of the first page, of the one behind, first rank."""
        index = 0
        while index < batch.count:
            number = batch.pfns[index] // self._kept.block
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
            index = self._out[2 * found]
