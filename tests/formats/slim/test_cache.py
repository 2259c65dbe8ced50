"""Cached results."""

from __future__ import annotations

import pytest

from vmsieve.formats.slim.cache import cached


def test_results_are_cached_up_to_a_limit() -> None:
    """Each key is computed once; again after it was evicted."""
    asked: list[int] = []

    def find(key: int) -> int:
        asked.append(key)
        return key * 2

    lookup = cached(find, 3)
    assert [lookup(key) for key in (1, 2, 1, 3, 2, 3)] == [2, 4, 2, 6, 4, 6]
    assert asked == [1, 2, 3]
    for key in range(100):
        assert lookup(key) == 2 * key
        assert len(lookup.__self__) <= 3  # type: ignore[attr-defined]


def test_errors_are_not_cached() -> None:
    """An error is not cached."""
    answers = [KeyError("not yet"), None]

    def find(key: int) -> int:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return key

    lookup = cached(find, 3)
    with pytest.raises(KeyError, match="not yet"):
        lookup(1)
    assert lookup(1) == 1
