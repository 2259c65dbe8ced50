"""Counts of page frames by class, and by the rule that drops them at a dump level."""

from __future__ import annotations

import ctypes

from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vmsieve.filters.rules import Rule


class Histogram:
    """Page frames by class: 256 counters."""

    def __init__(self) -> None:
        self._words = (ctypes.c_uint64 * 256)()

    @property
    def address(self) -> int:
        """Address of the counters, for loops."""
        return ctypes.addressof(self._words)

    def add(self, other: Histogram) -> None:
        """Add the counts of ``other``."""
        for which, count in other:
            self._words[which] += count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield each class that occurs, with its count."""
        return ((which, count) for which, count in enumerate(self._words) if count)


def dropping(rules: list[Rule], level: int) -> int:
    """Return the class bits that drop a page at dump level ``level``."""
    return sum(1 << i for i, rule in enumerate(rules) if rule.levels & level or not rule.levels)


def tally(histogram: Iterable[tuple[int, int]], rules: list[Rule], level: int) -> dict[str, int]:
    """Count the pages dropped at ``level`` by rule name, each for the first rule that drops it; and ``"kept"``.

    ``histogram``: pairs of a class and how many pages have it.
    """
    counts = {rule.name: 0 for rule in rules}
    counts["kept"] = 0
    drop = dropping(rules, level)
    for which, count in histogram:
        hits = which & drop
        name = rules[(hits & -hits).bit_length() - 1].name if hits else "kept"
        counts[name] += count
    return counts
