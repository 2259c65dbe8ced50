"""Holes of a file: bytes that its file system does not store, and that read as zeros.

Loaded for sparse files only.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from bisect import bisect_right

from vmsieve.formats.slim.arrays import array
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Bytes of the shortest hole that is noted: reading less costs nothing.
LEAST: Final = 64 << 10
#: Most holes noted: 1 MiB. What follows counts as data.
_MOST: Final = 1 << 16
#: Most pieces of data that are skipped to find them: half a second.
_MOST_STEPS: Final = 1 << 18
_SAMPLE: Final = 4096


class Holes:
    """The holes of one open regular file, found from its start on, as far as they are asked for. Thread-safe.

    File systems have reported data as holes (OpenZFS bug 15526), so the first and the last page of each hole are
    read. After one that is not zeros, or a change of the file, there are no holes: a file that becomes shorter has one
    behind its new end.
    """

    def __init__(self, fd: int, at_open: os.stat_result, next_data: Callable[[int], int]) -> None:
        """Look for holes of ``fd``, which had the status ``at_open``.

        ``next_data``: returns the offset of the first data at or above an offset, or else the size.
        """
        self._fd, self._size, self._next_data = fd, at_open.st_size, next_data
        self._starts, self._ends = array("Q"), array("Q")
        self._walked = 0  # holes below are noted
        self._steps = 0
        self._lock = allocate_lock()
        self._at_open = at_open

    def within(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of holes within ``start .. end``: start and end of each."""
        with self._lock:
            if self._walked < end:
                self._walk(end)
            status = os.fstat(self._fd)
            if (status.st_size, status.st_mtime_ns) != (self._at_open.st_size, self._at_open.st_mtime_ns):
                self._forget()
        i = max(bisect_right(self._starts, start) - 1, 0)
        while i < len(self._starts) and self._starts[i] < end:
            low, high = max(self._starts[i], start), min(self._ends[i], end)
            if low < high:
                yield low, high
            i += 1

    def _forget(self) -> None:
        self._starts, self._ends, self._walked = array("Q"), array("Q"), self._size

    def _walk(self, end: int) -> None:
        """Note the holes up to ``end``."""
        at = self._walked
        while at < min(end, self._size):
            data = min(self._next_data(at), self._size)
            if data - at >= LEAST:
                if not (self._is_zero(at) and self._is_zero(data - _SAMPLE)):
                    self._forget()
                    return
                self._starts.append(at)
                self._ends.append(data)
            self._steps += 1
            full = len(self._starts) == _MOST or self._steps == _MOST_STEPS
            at = self._size if full or data == self._size else self._behind(data)
        self._walked = at

    def _behind(self, data: int) -> int:
        """The end of the data at offset ``data``."""
        try:
            return max(os.lseek(self._fd, data, os.SEEK_HOLE), data + 1)
        except OSError:
            return self._size

    def _is_zero(self, offset: int) -> bool:
        try:
            return os.pread(self._fd, _SAMPLE, offset) == bytes(_SAMPLE)
        except OSError:
            return False
