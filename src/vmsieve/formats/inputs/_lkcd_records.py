"""Where the pages of an LKCD dump are: a table of runs, so that its size does not follow that of the dump."""

from __future__ import annotations

from array import array
from ctypes import addressof, c_uint64
from typing import TYPE_CHECKING, Final

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.errors import TruncatedError, UnsupportedError
from vmsieve.formats.extents import Extents
from vmsieve.formats.inputs._zero_filled import ADDRESS_END, PAGE
from vmsieve.formats.loops.page_records import BAD, CUT, END, FULL, RUN_PAGES, WALK_WORDS, walk_records
from vmsieve.formats.layouts import lkcd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.formats.files import ByteFile

__all__ = ["PLACE_BITS", "Walk", "full_size"]

#: A page's place is the number of its run, and in so many bits its offset among the run's pages.
PLACE_BITS: Final = (RUN_PAGES * PAGE).bit_length() - 1
#: Bytes of the file that are looked through at a time, and runs that are taken at a time.
_STEP: Final = 1 << 20
_ROWS: Final = 512
#: Most runs: 64 TiB in order, or as many pages that are not.
_RUNS_LIMIT: Final = 8 << 20


def full_size(end: int) -> int:
    """Bytes of a dump of all pages up to address ``end``, as they are."""
    return lkcd.DATA_AT + end // PAGE * (lkcd.RECORD.size + PAGE) + lkcd.RECORD.size


class Walk:
    """What looking through the records found.

    Attributes:
        data: Which page lies where; a place is made of a run's number and a page's offset in the run.
        runs: Where each run begins in the file, and last where the last one ends, or beyond.
        records: How many pages there are.
        highest: One above the highest address.
        problem: A sentence if there is no end mark; else empty.
    """

    def __init__(self, file: ByteFile) -> None:
        """Nothing yet."""
        self.data = Extents()
        self.runs: Sequence[int] = ()
        self.records = self.highest = 0
        self.problem = ""
        self._file = file

    def full(self, end: int) -> None:
        """Take a dump whose size says that it is :func:`full_size`; each page is looked at when it is read."""
        size = RUN_PAGES * (lkcd.RECORD.size + PAGE)
        self.runs = range(lkcd.DATA_AT, self._file.size + size, size)
        self.records, self.highest = end // PAGE, end
        self.data.add(0, self.highest, 0)

    def all(self) -> None:
        """Go through all records.

        Raises:
            UnsupportedError: They are in too many pieces.
            TruncatedError: There is none.
        """
        runs = self.runs = array("Q")
        state, rows = (c_uint64 * WALK_WORDS)(), (c_uint64 * (3 * _ROWS))()
        buffer = bytearray(_STEP)
        base, got = 0, 0
        state[0] = lkcd.DATA_AT
        while True:
            if state[7] != FULL:
                base = state[0]
                got = self._file.read_into(base, memoryview(buffer)) if base < self._file.size else 0
            found = walk_records(
                address_of(buffer), got, base, self._file.size, ADDRESS_END, addressof(state), addressof(rows), _ROWS
            )  # fmt: skip
            for i in range(found):
                self._add(runs, *rows[3 * i : 3 * i + 3])
            if state[7] == BAD:
                self.problem = f"the dump is damaged at {state[0]:#x}: what follows is passed over"
            if state[7] == CUT or got < lkcd.RECORD.size:
                self.problem = "the dump is not complete: it has no end mark"
            if self.problem or state[7] == END:
                break
        if state[2]:
            self._add(runs, *state[1:4])
        if not runs:
            raise TruncatedError("the dump has no page", file=self._file.name, offset=lkcd.DATA_AT)
        runs.append(state[0])
        self.records, self.highest = state[6], state[5]
        self.data.settle(last_wins=False)

    def _add(self, runs: array[int], first: int, pages: int, place: int) -> None:
        if len(runs) >= _RUNS_LIMIT:
            raise UnsupportedError("the dump is in too many pieces", file=self._file.name)
        self.data.add(first, first + pages * PAGE, len(runs) << PLACE_BITS)
        runs.append(place)
