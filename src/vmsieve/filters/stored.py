"""Struct pages that a plain file stores one behind the other: sieved by one call of a loop, which reads them itself.

Here: the words that tell the loop how to read. Whatever is unusual, such as a read that fails, is left to
:mod:`vmsieve.filters.classify`.
"""

from __future__ import annotations

import ctypes

from vmsieve.filters.loops import stored as words
from vmsieve.filters.loops.stored import sieve_stored
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmsieve.filters.histogram import Histogram
    from vmsieve.filters.parameters import Parameters


class StoredStructPages:
    """Reads struct pages from files, and sieves them."""

    def __init__(self, buffer: int, part: int) -> None:
        """Read into memory at address ``buffer``, for as many struct pages as a part has: see the loop's words."""
        library = ctypes.CDLL(None)
        self._words = (ctypes.c_uint64 * words.WORDS)()
        self._address = ctypes.addressof(self._words)
        # Less than the buffer holds: the loop also reads the struct page behind a piece.
        for place, value in (
            (words.READ, ctypes.cast(library.pread, ctypes.c_void_p).value or 0),
            # glibc 2.26, musl 1.2.5.
            (words.TRY, ctypes.cast(getattr(library, "preadv2", 0), ctypes.c_void_p).value or 0),
            (words.BUFFER, buffer),
            (words.ROOM, part // 2),
            (words.STEP, part // 2),
            (words.PART, part),
        ):
            self._words[place // 8] = value

    def sieve(
        self, where: tuple[int, int], parameters: Parameters, pages: tuple[int, int], classes: int, stride: int,
        bitmap: tuple[int, int], drop: int, histogram: Histogram,
    ) -> int:  # fmt: skip
        """Sieve struct pages from file descriptor and offset ``where`` on; returns for how many page frames.

        ``pages``: the first page frame, and how many. ``bitmap``: its address, and the bit of the first page frame. For
        the rest see the loop.
        """
        self._words[words.FILE // 8], place = where
        self._words[words.STRIDE // 8] = stride
        return sieve_stored(parameters.address, self._address, *pages, place, classes, *bitmap, drop, histogram.address)
