"""Chunks of input pages, collected from wherever the pages lie."""

from __future__ import annotations

import ctypes

from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, address_of
from vmsieve.formats.errors import ReadError
from vmsieve.formats.loops import bits
from vmsieve.formats.mapping import Window
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.bitmap import Bitmap
    from vmsieve.formats.inputs import Source

#: Bytes of a batch. Twice as many take 1 % less time and a megabyte more.
_BYTES = 512 << 10
#: Most pages of a batch if some are known to be zeros, which need no space.
_MOST_PAGES = 8192
_MOST_SPANS = 512
BRIDGE = 16  # pages worth reading over: 64 KiB cost less than another read
_MAPPED = 4  # mean pages a span from which mapping costs less than copying: it takes two calls more a span


class Chunk:
    """Kept pages that are worked on in one go, chosen by :meth:`Gatherer.claim`."""

    turn = 0  # number of the pass that the pages are from

    def __init__(self, page_size: int, size: int, *, zeros: bool = False) -> None:
        """Make room for pages of ``size`` bytes; ``zeros``: and for many that are known to be zeros."""
        self.page_size = page_size
        self.most_read = max(1, size // page_size)  # maximum number of pages that are read
        self.room = max(self.most_read, _MOST_PAGES) if zeros else self.most_read  # maximum number of pages
        #: Page *k* is page ``index[k]`` of all spans, one behind the other, unless its index is ``bits.ZERO_PAGE``.
        self.index = (ctypes.c_uint32 * self.room)()
        self.pfns = (ctypes.c_uint64 * self.room)()  # page frame numbers
        self.count = 0
        self.bad: list[int] = []  # numbers *k* of the unreadable pages
        self._spans = (ctypes.c_uint64 * (2 * _MOST_SPANS))()
        self._result = (ctypes.c_uint64 * bits.GATHER_WORDS)()
        self._base = 0
        self._reached = 0, 0  # number of the last span that was read, and bytes before it

    def gather(self, kept: int, stored: int, bit: int, base: int, bridge: int, zeros: int = 0) -> int:
        """Choose the next pages of a bitmap block, from ``bit`` on; returns the bit to continue from.

        ``kept``, ``stored``: addresses of bitmap blocks: pages that are wanted, and that the input stores; ``base``:
        their first page frame; ``bridge``: unwanted pages in a row that are worth reading along;
        ``zeros``: address of a bitmap block of pages that are known to be zeros, or 0.
        """
        self._base, self._reached = base, (0, 0)
        self.count = bits.gather_pages(
            kept, stored, bit, BLOCK, self.room, self.most_read, bridge, ctypes.addressof(self._spans), _MOST_SPANS,
            ctypes.addressof(self.index), ctypes.addressof(self.pfns), base, ctypes.addressof(self._result), zeros,
        )  # fmt: skip
        return int(self._result[0])

    def worth_mapping(self) -> bool:
        """True if the spans are long enough."""
        return bool(self._result[3] >= self._result[2] * _MAPPED)

    def spans(self) -> Iterator[tuple[int, int]]:
        """Physical address and size of each span."""
        return (self._span(number) for number in range(self._result[2]))

    def _span(self, number: int) -> tuple[int, int]:
        size = self.page_size
        return (self._base + self._spans[2 * number]) * size, self._spans[2 * number + 1] * size

    def read_spans(self, source: Source, view: memoryview, start: int = 0) -> None:
        """Copy the part of all spans that begins ``start`` bytes behind their first; lists pages in ``bad``."""
        number, at = self._reached if start >= self._reached[1] else (0, 0)
        end = start + len(view)
        while at < end:
            paddr, size = self._span(number)
            low, high = max(at, start), min(at + size, end)
            if low < high:
                self._read_span(source, paddr + low - at, view[low - start : high - start], low // self.page_size)
            if at + size > end:
                break
            number, at = number + 1, at + size
        self._reached = number, at

    def _read_span(self, source: Source, paddr: int, out: memoryview, done: int) -> None:
        """Copy pages from ``paddr`` on; ``done`` pages of all spans are before them."""
        try:
            source.read_into(paddr, out)
        except ReadError as error:
            self._read_singly(source, out, paddr, done, error)

    def _read_singly(self, source: Source, out: memoryview, paddr: int, done: int, failed: ReadError) -> None:
        """Read a span page by page, for its readable pages."""
        size = self.page_size
        first = done + ((failed.offset or 0) - paddr) // size
        hopeless = range(first, first + failed.span // size)
        for k in range(self.count):
            at = self.index[k]
            if not done <= at < done + len(out) // size:
                continue
            if at in hopeless:
                self.bad.append(k)
                continue
            try:
                source.read_into(paddr + (at - done) * size, out[(at - done) * size : (at - done + 1) * size])
            except ReadError:
                self.bad.append(k)


class PageBatch(Chunk):
    """A chunk that is in memory as a whole."""

    def __init__(self, page_size: int, *, mapped: bool = False, zeros: bool = False) -> None:
        """Make an empty batch.

        ``mapped``: the input may be mapped instead of copied; ``zeros``: pages may be known to be zeros.
        """
        super().__init__(page_size, _BYTES, zeros=zeros)
        self._window = Window(self.most_read * page_size, mapped=mapped)
        #: Memory of the pages, copied or mapped, read-only; page *k* is at ``index[k] * page_size``.
        self.raw, self.address = self._window.raw, self._window.address

    def use(self, source: Source, work: Callable[[], object]) -> None:
        """Map or read the chosen pages and call ``work``; unreadable ones are listed in ``bad``.

        ``work`` is called again if a mapped page failed meanwhile; ``bad`` is empty at the first call.
        """
        self.bad = []
        # Packed pages can't be mapped, and the attempt costs more than a call: it unmaps the previous pages.
        worth = not source.compressed and self.worth_mapping()
        if worth and self._window.map(source, self.spans()):
            work()
            if not self._window.lost():
                return
        self.read(source)
        work()

    def read(self, source: Source, view: memoryview | None = None) -> None:
        """Copy the chosen pages, to ``view`` if given; unreadable ones are listed in ``bad``."""
        self.bad, view = [], self._window.writable() if view is None else view
        self.read_spans(source, view[: self._result[3] * self.page_size])

    def leave_out_bad(self) -> None:
        """Remove the unreadable pages from ``index`` and ``pfns``."""
        bad = set(self.bad)
        for to, k in enumerate(k for k in range(self.count) if k not in bad):
            self.index[to] = self.index[k]
            self.pfns[to] = self.pfns[k]
        self.count -= len(bad)
        self.bad = []


class Gatherer:
    """Chooses the wanted pages of a dump, chunk by chunk, in ascending order."""

    def __init__(self, kept: Bitmap, stored: Bitmap, *sources: Source, zeros: bool = False) -> None:
        """Choose pages that are in ``kept``, and in ``stored``, which ``sources`` provide.

        ``zeros``: pages that are known to be zeros need not be read.
        """
        self._kept, self._stored = kept, stored
        # Reading an unwanted page along only pays if pages are not compressed.
        self._bridge = 0 if any(source.compressed for source in sources) else BRIDGE
        self._numbers = kept.filled()
        self._number = 0
        self._bit = BLOCK
        self._kept_block = bytearray(BLOCK_BYTES)
        self._stored_block = bytearray(BLOCK_BYTES)
        self._addresses = address_of(self._kept_block), address_of(self._stored_block)
        self._source = sources[0] if zeros else None
        self._zeros: bytearray | None = None

    def claim(self, pages: Chunk) -> bool:
        """Choose the next pages for a batch; False if none is left."""
        while True:
            if self._bit >= BLOCK:
                self._number = next(self._numbers, -1)
                if self._number < 0:
                    return False
                self._kept_block[:] = self._kept[self._number]
                self._stored_block[:] = self._stored[self._number]
                self._bit = 0
                if self._source is not None:
                    self._zeros = self._source.zero_bits(self._number * BLOCK, BLOCK, pages.page_size)
            zeros = address_of(self._zeros) if self._zeros is not None else 0
            self._bit = pages.gather(*self._addresses, self._bit, self._number * BLOCK, self._bridge, zeros)
            if pages.count:
                return True
