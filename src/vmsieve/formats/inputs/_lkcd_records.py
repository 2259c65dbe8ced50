"""An index of the pages of an LKCD dump: runs of pages, so that its size does not grow with the dump."""

from __future__ import annotations

from ctypes import addressof, c_uint64

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.errors import TruncatedError, UnsupportedError
from vmsieve.formats.extents import Extents
from vmsieve.formats.inputs._zero_filled import ADDRESS_END, PAGE
from vmsieve.formats.layouts import lkcd
from vmsieve.formats.loops.page_records import BAD, CUT, END, FULL, RUN_PAGES, WALK_WORDS, walk_records
from vmsieve.formats.slim.arrays import array
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.formats.files import ByteFile

#: An index entry of a page: the number of its run, and in these low bits the offset among the run's unpacked pages.
OFFSET_BITS: Final = (RUN_PAGES * PAGE).bit_length() - 1
#: Bytes of the file, and runs, that are scanned at a time.
_STEP: Final = 1 << 20
_ROWS: Final = 512
#: Most runs: 64 TiB of pages in order, or as many pages out of order.
_RUNS_LIMIT: Final = 8 << 20


def full_size(end: int) -> int:
    """Size of a file with all pages up to address ``end``, unpacked."""
    return lkcd.DATA_AT + end // PAGE * (lkcd.RECORD.size + PAGE) + lkcd.RECORD.size


class Walk:
    """A scan of the page records, by :meth:`full` or :meth:`all`."""

    def __init__(self, file: ByteFile) -> None:
        self.data = Extents()  # stored memory, with index entries (:data:`OFFSET_BITS`)
        self.runs: Sequence[int] = ()  # file offset of each run, and of the end of the last one or beyond
        self.records = 0  # pages
        self.highest = 0  # one above the highest address
        self.problem = ""  # a remark if there is no end mark; else empty
        self._file = file

    def full(self, end: int) -> None:
        """Index a dump of :func:`full_size` without a scan; records are checked when pages are read."""
        size = RUN_PAGES * (lkcd.RECORD.size + PAGE)
        self.runs = range(lkcd.DATA_AT, self._file.size + size, size)
        self.records, self.highest = end // PAGE, end
        self.data.add(0, self.highest, 0)

    def all(self) -> None:
        """Scan all records; raises FormatError without records, or with too many runs."""
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
                self.problem = f"the dump is damaged at {state[0]:#x}: the rest is ignored"
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
        self.data.resolve_overlaps(last_wins=False)

    def _add(self, runs: array[int], first: int, pages: int, offset: int) -> None:
        if len(runs) >= _RUNS_LIMIT:
            raise UnsupportedError("the dump is in too many pieces", file=self._file.name)
        self.data.add(first, first + pages * PAGE, len(runs) << OFFSET_BITS)
        runs.append(offset)
