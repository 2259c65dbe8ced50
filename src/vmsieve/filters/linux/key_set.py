"""Hash tables of names and numbers for :mod:`vmsieve.formats.loops.lookup`."""

from __future__ import annotations

import ctypes

from vmsieve.formats.loops.lookup import BASE, MIX, SHIFT, SLOTS
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORD: Final = (1 << 64) - 1


def hash_name(text: bytes) -> int:
    """Hash a name. It must have no NUL: leading ones do not change the hash."""
    value = 0
    for byte in text:
        value = (value * BASE + byte) & _WORD
    return value


class KeySet:
    """A hash table of non-zero keys."""

    def __init__(self, keys: Iterable[int]) -> None:
        self._words = (ctypes.c_uint64 * SLOTS)()
        for taken, key in enumerate(keys):
            if taken >= SLOTS // 2:
                raise ValueError("too many keys for the table")
            slot = (key * MIX & _WORD) >> SHIFT
            while self._words[slot] not in (0, key):
                slot = (slot + 1) % SLOTS
            self._words[slot] = key

    @property
    def address(self) -> int:
        """Address of the table."""
        return ctypes.addressof(self._words)
