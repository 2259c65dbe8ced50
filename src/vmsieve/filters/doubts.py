"""Doubts: rules and memory that a scan must not rely on, as an earlier scan gave an implausible result."""

from __future__ import annotations

from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_CONTESTED: Final = 1 << 10  # each is compared with every piece of struct pages


@record
class Doubts:
    """Rules and memory that a classification must not rely on; :mod:`vmsieve.filters.plausibility` adds to them.

    Attributes:
        verify: Every page of a free block is looked at.
        end_uncertain: Memory may go on behind the last struct page.
        contested: Physical memory whose struct pages are not believed: start and end of each piece.
        off: Rules that are off, and why.
    """

    verify: bool = False
    end_uncertain: bool = False
    contested: list[tuple[int, int]] = field(default_factory=list)
    off: dict[str, str] = field(default_factory=dict)

    def contest(self, pieces: Iterable[tuple[int, int]]) -> None:
        """Add ``pieces``; too many of them become one that spans all."""
        known = set(self.contested)
        for start, end in pieces:
            low, high = self.contested[0] if self.contested else (0, 0)
            if (start, end) in known or low <= start < end <= high:
                continue
            if len(self.contested) < _MOST_CONTESTED:
                known.add((start, end))
                self.contested.append((start, end))
            else:
                starts, ends = zip(*self.contested, (start, end))
                known = {(min(starts), max(ends))}
                self.contested[:] = known

    def extent(self) -> tuple[object, ...]:
        """Return a value that differs whenever something was added."""
        return self.verify, self.end_uncertain, self.contested[:1], len(self.contested), len(self.off)
