"""Cells of a map in few bytes: runs of cells that are alike, each with a *mixture* of page kinds.

A mixture has the share of each kind in sixteenths; a kind that occurs but has less than half of one has share 0.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.pipeline.inspect.cells import Cells

SHARES: Final = 16
#: Mixtures that a page can tell apart. Further cells get the most frequent of their kinds: a bound on the page's size.
MOST: Final = 1 << 14
_MOST_KNOWN: Final = 1 << 16  # cells whose mixture is remembered


class Mixtures:
    """The mixtures of a map's cells, numbered by frequency, and the runs of cells that have them."""

    def __init__(self, cells: Cells, spans: list[tuple[int, int]]) -> None:
        """Read the cells of each span, first cell and end."""
        self._cells = cells
        self._numbers: dict[tuple[tuple[int, int], ...], int] = {}
        self._known: dict[bytes, int] = {}
        runs = [
            (number, len(list(run))) for first, end in spans for number, run in groupby(self._mixtures_of(first, end))
        ]
        often = [number for number, _ in Counter(number for number, _ in runs).most_common()]
        place = {number: at for at, number in enumerate(often)}
        found = list(self._numbers)
        #: Kinds and shares of each mixture.
        self.table = [found[number] for number in often]
        #: Mixture and number of cells of each run, span after span.
        self.runs = [(place[number], count) for number, count in runs]

    def _mixtures_of(self, first: int, end: int) -> Iterator[int]:
        known = self._known
        for row in self._cells.rows(first, end):
            number = known.get(row)
            if number is None:
                number = self._number(shares(self._cells.kinds_in(row)))
                if len(known) == _MOST_KNOWN:
                    known.clear()
                known[row] = number
            yield number

    def _number(self, mixture: tuple[tuple[int, int], ...]) -> int:
        if mixture not in self._numbers and len(self._numbers) >= MOST:
            mixture = ((max(mixture, key=lambda part: part[1])[0], SHARES),)
        return self._numbers.setdefault(mixture, len(self._numbers))

    def packed_table(self) -> bytes:
        """Pack the table: for each mixture a byte with its number of kinds, then two bytes for each: kind, share."""
        out = bytearray()
        for mixture in self.table:
            out.append(len(mixture))
            for part in mixture:
                out += bytes(part)
        return bytes(out)

    def packed_runs(self) -> bytes:
        """Pack the runs: mixture and number of cells as LEB128 numbers."""
        out = bytearray()
        for run in self.runs:
            for number in run:
                while number > 0x7F:
                    out.append(number & 0x7F | 0x80)
                    number >>= 7
                out.append(number)
        return bytes(out)


def shares(pages: dict[int, int]) -> tuple[tuple[int, int], ...]:
    """Return the share of each kind; they add up to SHARES. What rounding leaves over goes to the largest rests."""
    total = sum(pages.values())
    parts = {kind: count * SHARES // total for kind, count in pages.items()}
    by_rest = sorted(pages, key=lambda kind: -(pages[kind] * SHARES % total))
    for kind in by_rest[: SHARES - sum(parts.values())]:
        parts[kind] += 1
    return tuple(parts.items())
