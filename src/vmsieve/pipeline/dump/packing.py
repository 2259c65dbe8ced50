"""Packing of a chunk: its pages are mapped or read, checked for zeros and packed in one call of a loop."""

from __future__ import annotations

import ctypes

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.codecs import codec_number
from vmsieve.formats.codecs._pack import pack_pages
from vmsieve.formats.loops.bits import ZERO_PAGE
from vmsieve.formats.loops.describe import UNREADABLE
from vmsieve.formats.mapping import anonymous
from vmsieve.formats.outputs import Batch
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.view import View
from vmsieve.pipeline.dump.batches import Chunk

if TYPE_CHECKING:
    from vmsieve.formats.codecs import Codec
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.dump.batches import PageBatch
    from vmsieve.pipeline.dump.order import Claim

#: Bytes of the window on the input. Tried on an AMD EPYC, tmpfs: half as many take 2 % more CPU and 0.5 MiB less; with
#: MAP_POPULATE 3 to 9 % more CPU (it walks the page tables for each page), with pread instead of mmap 2 to 9 % more.
_WINDOW = 1 << 20
#: Bytes of a batch: packed pages that are written at a time.
_BATCH = 512 << 10
#: Bytes of a chunk.
_CHUNK = 8 << 20
#: The same with several threads: what it is packed to waits in memory.
_CHUNK_SHARED: Final = 2 << 20
_CHUNK_LEAST: Final = 512 << 10
#: Bytes of the chunks of all threads, unless that is less than _CHUNK_LEAST for each.
_CHUNK_OF_ALL: Final = 16 << 20
_MASK: Final = (1 << 64) - 1


def chunk_size(threads: int) -> int:
    """Bytes of a chunk when ``threads`` threads work, each on its own chunk."""
    return _CHUNK if threads == 1 else min(_CHUNK_SHARED, max(_CHUNK_LEAST, _CHUNK_OF_ALL // threads))


class PackedPages:
    """Memory for packed pages as in :class:`~vmsieve.formats.outputs.Batch`, and a codec's state, for one thread."""

    def __init__(self, codec: Codec, level: int, room: int, page_size: int, size: int | None = None) -> None:
        """Make room for ``room`` pages, packed to ``size`` bytes and one page more; None: whatever their sizes."""
        self._number, self._flag = codec_number(codec.name), codec.flag
        self._state = codec.open_compressor(level, page_size)
        self.provider = self._state.provider  # the library that packs
        self.sizes, self.flags = (ctypes.c_uint32 * room)(), (ctypes.c_uint32 * room)()
        self.out = memoryview(anonymous((room * page_size if size is None else size) + page_size))
        self._addresses = ctypes.addressof(self.sizes), ctypes.addressof(self.flags), address_of(self.out)
        self.packed = 0  # bytes of packed pages in ``out``

    def pack(self, pages: PageBatch, count: int, *, drop_zero: bool) -> None:
        """Pack the first ``count`` pages of a batch that is in memory."""
        self.packed = 0
        self.add(pages, 0, count, pages.address, drop_zero=drop_zero)

    def add(
        self, pages: Chunk, first: int, count: int, memory: int, *, drop_zero: bool, view: int = 0
    ) -> None:  # fmt: skip
        """Pack ``count`` pages from number ``first`` on, behind what is packed; see :func:`pack_pages`."""
        sizes, flags, out = self._addresses
        self.packed += pack_pages(
            self._number, self._state.address, count, memory, ctypes.addressof(pages.index) + 4 * first,
            pages.page_size, int(drop_zero), self._flag, sizes + 4 * first, flags + 4 * first, out + self.packed, view,
        )  # fmt: skip


class PackedChunk(Chunk):
    """A chunk that is packed batch by batch: the current one has its pages from number ``first`` up to ``end``."""

    def __init__(
        self, source: Source, codec: Codec, level: int, page_size: int, *, drop_zero: bool, threads: int = 1
    ) -> None:
        """``threads``: of several, each packs a chunk as one batch, because that waits for the batches before it."""
        super().__init__(page_size, chunk_size(threads), zeros=drop_zero and source.knows_zeros())
        self._source, self._drop_zero = source, drop_zero
        self._most = _BATCH if threads == 1 else self.most_read * page_size
        self._view = View(max(1, min(_WINDOW // page_size, self.most_read)) * page_size)
        self.packs = PackedPages(codec, level, self.room, page_size, self._most)
        self.first = self.end = 0
        self._fresh = self._shown = self._mapped = False
        rows = (self.pfns, self.packs.sizes, self.packs.flags)
        pfns, sizes, flags = (memoryview(row).cast("B") for row in rows)
        self._rows = pfns.cast("Q"), sizes.cast("I"), flags.cast("I")

    def batch(self) -> Batch:
        """What was packed, for the writer."""
        pfns, sizes, flags = (row[self.first : self.end] for row in self._rows)
        return Batch(self.end - self.first, pfns, sizes, flags, self.packs.out[: self.packs.packed])

    def claim(self, choose: Claim) -> bool:
        """Choose pages, unless some of those chosen before are not packed; False if none is left."""
        if self.end == self.count:
            self.end, self._fresh = 0, True
            return choose(self)
        return True

    def _show(self, *, mapped: bool) -> None:
        self._mapped = mapped
        self._shown = not self._source.compressed and self._view.show(self._source, self.spans(), mapped=mapped)

    def forget(self) -> None:
        """Pass over the pages that are not packed."""
        self.end = self.count

    def work(self) -> None:
        """Pack the next batch."""
        if self._fresh:
            self._fresh = False
            self._show(mapped=self.worth_mapping())
        self.first, self.packs.packed, self.bad = self.end, 0, []
        while self.end < self.count and self.packs.packed < self._most:
            if self._shown:
                self._pack_shown()
            else:
                self._pack_read()

    def _pack_shown(self) -> None:
        """Let the loop fetch the pages."""
        before, view = self.packs.packed, self._view
        view.limit(self._most - before)
        self.packs.add(
            self, self.end, self.count - self.end, view.address, drop_zero=self._drop_zero, view=view.view
        )  # fmt: skip
        failed = view.failed()
        if view.lost():
            # Any of them may be wrong: they are read again.
            self.packs.packed, self._shown = before, False
            return
        self.end += view.done()
        if failed:
            # A file that can't be mapped may be readable; then reading gives the reason.
            if self._mapped:
                self._show(mapped=False)
            else:
                self._shown = False

    def _pack_read(self) -> None:
        """Read pages that fit into the window and the batch, and pack those that are readable."""
        size, view = self.page_size, self._view
        room = min(len(view.raw), (self._most - self.packs.packed) // size * size + size) // size
        end, start, pages = self._next(room)
        memory = view.writable()[: pages * size]
        known = len(self.bad)
        self.read_spans(self._source, memory, start * size)
        bad = set(self.bad[known:])
        address = view.address - start * size & _MASK
        if not bad:
            self.packs.add(self, self.end, end - self.end, address, drop_zero=self._drop_zero)
        for k in range(self.end, end) if bad else ():
            if k in bad:
                self.packs.sizes[k], self.packs.flags[k] = 0, UNREADABLE
            else:
                self.packs.add(self, k, 1, address, drop_zero=self._drop_zero)
        self.end = end

    def _next(self, room: int) -> tuple[int, int, int]:
        """Find the next pages that take the place of ``room`` pages; return the number *k* behind them.

        And their place: index of the first in all spans, and pages.
        """
        start = pages = 0
        for k in range(self.end, self.count):
            at = self.index[k]
            if at != ZERO_PAGE:
                start = start if pages else at
                if at - start >= room:
                    return k, start, pages
                pages = at - start + 1
        return self.count, start, pages
