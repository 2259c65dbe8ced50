"""A bounded cache of results, instead of :func:`functools.lru_cache`."""

from __future__ import annotations

from vmsieve.formats.slim.typing import Callable, TypeVar

V = TypeVar("V")


class _Results(dict[int, V]):
    def __init__(self, find: Callable[[int], V], most: int) -> None:
        super().__init__()
        self._find, self._most = find, most

    def __missing__(self, key: int) -> V:
        found = self._find(key)
        # clear() is atomic, unlike evicting the oldest. Callers walk through memory and rarely return to old keys.
        if len(self) >= self._most:
            self.clear()
        self[key] = found
        return found


def cached(find: Callable[[int], V], most: int) -> Callable[[int], V]:
    """Cache up to ``most`` results of ``find``, but no exceptions. Thread-safe."""
    return _Results(find, most).__getitem__
