"""Pages of the input, half a megabyte at a time, gathered from wherever they lie."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Callable

from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, address_of
from vmsieve.formats.errors import ReadError
from vmsieve.formats.loops import bits
from vmsieve.formats.mapping import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.bitmap import Bitmap
    from vmsieve.formats.inputs import Source

__all__ = ["Gatherer", "PageBatch", "batch_size"]

_BYTES = 512 << 10  # of pages that are read at a time: twice as many cost a hundredth less time and a megabyte more
_BYTES_SHARED = 2 << 20  # the same where threads share the work: handing it over is paid for by the piece
_BYTES_OF_ALL = 16 << 20  # and of all threads together, until each has no more than one alone
_MOST_SPANS = 512
_BRIDGE = 16  # pages worth reading over: 64 KiB cost less than another read
_MAPPED = 4  # pages a span, in the mean, from which on mapping costs less than copying: two calls more a span


def batch_size(threads: int) -> int:
    """Bytes of a buffer of pages when so many threads work, each with one of its own."""
    return _BYTES if threads == 1 else min(_BYTES_SHARED, max(_BYTES, _BYTES_OF_ALL // threads))


class PageBatch:
    """A buffer of pages, filled by :meth:`Gatherer.claim` (which ones) and :meth:`use` (what is in them).

    Attributes:
        room: Pages it has room for.
        raw: Memory for the pages: copies, or the input itself mapped there; page *k* is at ``index[k] * page_size``. To
            be read only.
        address: Of ``raw``.
        count: Pages in it.
        index: Where each is in ``raw``, in pages.
        pfns: Page frame number of each.
        bad: Numbers *k* of the pages that can't be read.
    """

    def __init__(self, page_size: int, *, mapped: bool = False, size: int = _BYTES) -> None:
        """Make an empty buffer of ``size`` bytes; ``mapped``: the input may be mapped instead of copied."""
        self.page_size = page_size
        self.room = max(1, size // page_size)
        self._window = Window(self.room * page_size, mapped=mapped)
        self.raw, self.address = self._window.raw, self._window.address
        self.index = (ctypes.c_uint32 * self.room)()
        self.pfns = (ctypes.c_uint64 * self.room)()
        self.count = 0
        self.bad: list[int] = []
        self._spans = (ctypes.c_uint64 * (2 * _MOST_SPANS))()
        self._result = (ctypes.c_uint64 * bits.GATHER_WORDS)()
        self._base = 0

    def gather(self, kept: int, stored: int, bit: int, base: int, bridge: int) -> int:
        """Choose the next pages of a block of bitmaps; returns the bit to go on from.

        Args:
            kept: Address of a bitmap block: pages that are wanted.
            stored: Address of another: pages that the input has.
            bit: Where to go on in them.
            base: Page frame of their first bit.
            bridge: Pages worth reading over.
        """
        self._base = base
        self.count = bits.gather_pages(
            kept, stored, bit, BLOCK, self.room, self.room, bridge, ctypes.addressof(self._spans), _MOST_SPANS,
            ctypes.addressof(self.index), ctypes.addressof(self.pfns), base, ctypes.addressof(self._result),
        )  # fmt: skip
        return int(self._result[0])

    def use(self, source: Source, work: Callable[[], None]) -> None:
        """Get the chosen pages, and have ``work`` done on them; those that can't be read are listed in ``bad``.

        ``work`` is done again if the input failed meanwhile; ``bad`` is empty the first time then.
        """
        self.bad = []
        # Packed pages can't be mapped. To try costs more than a call: what was there is given up.
        worth = not source.compressed and self._result[3] >= self._result[2] * _MAPPED
        if worth and self._window.map(source, self._pieces()):
            work()
            if not self._window.lost():
                return
        self.read(source)
        work()

    def _pieces(self) -> Iterator[tuple[int, int]]:
        """Physical address and size of each span."""
        size = self.page_size
        for i in range(self._result[2]):
            yield (self._base + self._spans[2 * i]) * size, self._spans[2 * i + 1] * size

    def read(self, source: Source, view: memoryview | None = None) -> None:
        """Copy the chosen pages, to ``view`` if given; those that can't be read are listed in ``bad``."""
        self.bad, view = [], self._window.copies() if view is None else view
        done = 0
        for paddr, size in self._pieces():
            try:
                source.read_into(paddr, view[done : done + size])
            except ReadError as error:
                self._read_singly(source, view, paddr, done // self.page_size, size // self.page_size, error)
            done += size

    def _read_singly(
        self, source: Source, view: memoryview, paddr: int, done: int, pages: int, failed: ReadError
    ) -> None:
        """Read a span page by page: what is readable of it is not given up."""
        size = self.page_size
        first = done + ((failed.offset or 0) - paddr) // size
        hopeless = range(first, first + failed.span // size)
        for k in range(self.count):
            place = self.index[k]
            if not done <= place < done + pages:
                continue
            if place in hopeless:
                self.bad.append(k)
                continue
            try:
                source.read_into(paddr + (place - done) * size, view[place * size : (place + 1) * size])
            except ReadError:
                self.bad.append(k)

    def leave_out_bad(self) -> None:
        """Take the pages that can't be read out of ``index`` and ``pfns``; the others move up."""
        bad = set(self.bad)
        for place, k in enumerate(k for k in range(self.count) if k not in bad):
            self.index[place] = self.index[k]
            self.pfns[place] = self.pfns[k]
        self.count -= len(bad)
        self.bad = []


class Gatherer:
    """Hands out wanted pages, a buffer at a time, in ascending order."""

    def __init__(self, kept: Bitmap, stored: Bitmap, *sources: Source) -> None:
        """Get ready to choose.

        Args:
            kept: Pages that are wanted.
            stored: Pages that can be read.
            sources: What they will be read from.
        """
        self._kept, self._stored = kept, stored
        # A page of a compressed dump costs as much to read over as to read.
        self._bridge = 0 if any(source.compressed for source in sources) else _BRIDGE
        self._numbers = kept.filled()
        self._number = 0
        self._bit = BLOCK
        self._kept_block = bytearray(BLOCK_BYTES)
        self._stored_block = bytearray(BLOCK_BYTES)
        self._addresses = address_of(self._kept_block), address_of(self._stored_block)

    def claim(self, pages: PageBatch) -> bool:
        """Choose the next pages for a buffer; False when there are no more."""
        while True:
            if self._bit >= BLOCK:
                self._number = next(self._numbers, -1)
                if self._number < 0:
                    return False
                self._kept_block[:] = self._kept[self._number]
                self._stored_block[:] = self._stored[self._number]
                self._bit = 0
            self._bit = pages.gather(*self._addresses, self._bit, self._number * BLOCK, self._bridge)
            if pages.count:
                return True
