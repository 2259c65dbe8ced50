"""Sets of names and numbers as :mod:`vmsieve.formats.loops.lookup` wants them."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from vmsieve.formats.loops.lookup import BASE, MIX, SHIFT, SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KeySet", "hash_name"]

_WORD: Final = (1 << 64) - 1


def hash_name(text: bytes) -> int:
    """The hash of a name, which holds no NUL: with some in front it would be the same."""
    value = 0
    for byte in text:
        value = (value * BASE + byte) & _WORD
    return value


class KeySet:
    """A table of the keys that are wanted, none of them 0.

    Raises:
        ValueError: There are too many of them for the search to be quick.
    """

    def __init__(self, keys: Iterable[int]) -> None:
        self._words = (ctypes.c_uint64 * SLOTS)()
        for taken, key in enumerate(keys):
            if taken >= SLOTS // 2:
                raise ValueError("too many keys are wanted")
            slot = (key * MIX & _WORD) >> SHIFT
            while self._words[slot] not in (0, key):
                slot = (slot + 1) % SLOTS
            self._words[slot] = key

    @property
    def address(self) -> int:
        """Of the table."""
        return ctypes.addressof(self._words)
