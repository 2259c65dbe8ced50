"""Second pass: kept pages are read, checked for zeros, packed, and given to the writer in order."""

from __future__ import annotations

import ctypes
from time import monotonic

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.codecs import Codec, codec_number
from vmsieve.formats.codecs import codec as find_codec
from vmsieve.formats.codecs._pack import pack_pages
from vmsieve.formats.loops import bits
from vmsieve.formats.loops.describe import UNREADABLE
from vmsieve.formats.mapping import anonymous
from vmsieve.formats.outputs import Batch
from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.dump.batches import Gatherer, PageBatch, batch_size
from vmsieve.pipeline.dump.order import InOrder, Pass
from vmsieve.pipeline.dump.pool import ordered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vmsieve.formats.bitmap import Bitmap
    from vmsieve.formats.inputs import Source
    from vmsieve.formats.outputs import Writer
    from vmsieve.pipeline.dump.order import Claim
    from vmsieve.pipeline.dump.scan import Scan
    from vmsieve.pipeline.process.progress import Progress

_SAMPLE = 512  # pages after which the rate is known
_NAMED = 8  # unreadable pages that get a note each


@record
class Copied:
    """Counts of the second pass: pages, and bytes of packed data."""

    pages: int = 0
    zero: int = 0
    unreadable: int = 0
    bytes_packed: int = 0


@record
class CopyJob:
    """A second pass."""

    source: Source  # provides the pages
    scan: Scan  # chose them
    page_size: int
    writer: Writer  # takes them
    progress: Progress
    notes: list[str]  # receives a note on each of the first unreadable pages, and on missing threads
    codec: Codec = field(default_factory=lambda: find_codec("none"))
    level: int = 0  # of the codec
    drop_zero: bool = False  # zero pages are counted, and written without data
    threads: int = 1  # that read and pack
    passes: Sequence[Pass] = ()  # the kept pages in the order of importance; empty: in address order
    room: int | None = None  # bytes that pages may take in the output; None: no limit is known
    cuts: Sequence[int] = ()  # page frames that parts of a split dump begin and end at; batches come from each in turn
    copied: Copied = field(default_factory=Copied)  # counts so far, also valid after an exception


class PackedPages:
    """Memory for packed pages as in :class:`~vmsieve.formats.outputs.Batch`, and a codec's state, for one thread."""

    def __init__(self, codec: Codec, level: int, room: int, page_size: int) -> None:
        self._number, self._flag = codec_number(codec.name), codec.flag
        self._state = codec.open_compressor(level, page_size)
        self.provider = self._state.provider  # the library that packs
        self.sizes, self.flags = (ctypes.c_uint32 * room)(), (ctypes.c_uint32 * room)()
        self.out = memoryview(anonymous((room + 1) * page_size))
        self.packed = 0  # bytes of packed pages in ``out``

    def pack(self, pages: PageBatch, count: int, *, drop_zero: bool) -> None:
        """Pack the first ``count`` pages of a batch."""
        self.packed = pack_pages(
            self._number, self._state.address, count, pages.address, ctypes.addressof(pages.index), pages.page_size,
            int(drop_zero), self._flag, ctypes.addressof(self.sizes), ctypes.addressof(self.flags),
            address_of(self.out),
        )  # fmt: skip


class _PackedBatch(PageBatch):
    """A batch of pages, with memory for the packed pages."""

    def __init__(self, job: CopyJob) -> None:
        zeros = job.drop_zero and job.source.knows_zeros()
        super().__init__(job.page_size, mapped=True, size=batch_size(job.threads), zeros=zeros)
        self._source, self._drop_zero = job.source, job.drop_zero
        self.packs = PackedPages(job.codec, job.level, self.room, job.page_size)
        rows = (self.pfns, self.packs.sizes, self.packs.flags)
        pfns, sizes, flags = (memoryview(row).cast("B") for row in rows)
        self._batch = Batch(0, pfns.cast("Q"), sizes.cast("I"), flags.cast("I"), self.packs.out)

    def batch(self) -> Batch:
        self._batch.count, self._batch.data = self.count, self.packs.out[: self.packs.packed]
        return self._batch

    def work(self) -> None:
        self.use(self._source, self._pack)

    def _pack(self) -> None:
        bad, packs = set(self.bad), self.packs
        if bad:
            for to, k in enumerate(k for k in range(self.count) if k not in bad):
                self.index[to] = self.index[k]
        count = self.count - len(bad)
        packs.pack(self, count, drop_zero=self._drop_zero)
        if bad:
            # Results exist for readable pages only: spread them, with the unreadable pages in between.
            sizes, flags = list(packs.sizes[:count]), list(packs.flags[:count])
            for k in range(self.count):
                packs.sizes[k], packs.flags[k] = (0, UNREADABLE) if k in bad else (sizes.pop(0), flags.pop(0))


def copy_pages(job: CopyJob) -> None:
    """Copy every kept page to the writer."""
    passes = job.passes or [Pass("all", "all pages", job.scan.kept)]
    claim = InOrder(_claim(job, one.pages) for one in passes).claim
    copied, turn, began = job.copied, 0, monotonic()
    if job.room is not None and job.passes:
        _foretell(job, job.room - job.writer.overhead)
    for pages in ordered(job.threads, lambda: _PackedBatch(job), claim, _PackedBatch.work, job.notes.append):
        if pages.turn != turn:
            turn = pages.turn
            job.writer.checkpoint()
            began = began and _foretell_end(job, began)
        job.writer.pages(pages.batch())
        passes[turn].written += pages.count
        for k in pages.bad:
            if copied.unreadable < _NAMED:
                job.notes.append(f"the page at {pages.pfns[k] * job.page_size:#x} can't be read")
            copied.unreadable += 1
        empty = bits.count_words(ctypes.addressof(pages.packs.sizes), pages.count, 0)
        copied.zero += empty - len(pages.bad)
        copied.pages += pages.count
        copied.bytes_packed += pages.packs.packed
        job.progress.advance(pages.count)


def _foretell(job: CopyJob, room: int) -> None:
    """Say what will fit into ``room`` bytes."""
    # Imported here: most dumps are in address order.
    from vmsieve.pipeline.dump.forecast import foretell

    batch = _PackedBatch(job)

    def sampler(pages: Bitmap) -> Callable[[], tuple[int, int]]:
        claim = Gatherer(pages, job.scan.stored, job.source).claim

        def sample() -> tuple[int, int]:
            if not claim(batch):
                return 0, 0
            batch.work()
            return batch.count, batch.packs.packed

        return sample

    if (line := foretell(job.passes, room, sampler)) is not None:
        job.progress.say(line)


def _foretell_end(job: CopyJob, began: float) -> float:
    """Say what there is time for before the deadline, once the rate is known; returns 0 when that is done."""
    left = job.progress.seconds_left()
    if left is None:
        return 0.0
    if job.copied.pages < _SAMPLE:
        return began
    from vmsieve.pipeline.dump.forecast import foretell_time

    if (line := foretell_time(job.passes, monotonic() - began, left)) is not None:
        job.progress.say(line)
    return 0.0


def _claim(job: CopyJob, kept: Bitmap) -> Claim:
    """The function that chooses the next pages of one pass."""
    if not job.cuts:
        claim = Gatherer(kept, job.scan.stored, job.source, zeros=job.drop_zero).claim
        if not job.source.will_read([]):
            return claim
        # Imported here: /proc/vmcore is not read ahead.
        from vmsieve.pipeline.dump.ahead import announcing

        return announcing(claim, kept, job.scan.stored, job.source, job.page_size)
    from vmsieve.pipeline.dump.split import InTurns

    return InTurns(kept, job.scan.stored, job.source, job.cuts, zeros=job.drop_zero).claim
