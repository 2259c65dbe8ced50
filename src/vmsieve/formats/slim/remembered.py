"""Results that are kept for the next time, up to a number of them."""

from __future__ import annotations

from typing import Callable, TypeVar

__all__ = ["remembered"]

V = TypeVar("V")


class _Results(dict[int, V]):
    def __init__(self, find: Callable[[int], V], most: int) -> None:
        super().__init__()
        self._find, self._most = find, most

    def __missing__(self, key: int) -> V:
        found = self._find(key)
        # All at once, which threads can't come between. Whoever walks through memory needs the old ones no more.
        if len(self) >= self._most:
            self.clear()
        self[key] = found
        return found


def remembered(find: Callable[[int], V], most: int) -> Callable[[int], V]:
    """``find``, whose last results are kept, ``most`` of them; what it raises is not. Safe in several threads.

    As :func:`functools.lru_cache`, without what that module brings along.
    """
    return _Results(find, most).__getitem__
