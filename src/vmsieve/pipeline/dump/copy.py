"""Second pass: kept pages are read, checked for zeros, packed, and given to the writer in order."""

from __future__ import annotations

from time import monotonic

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.codecs import Codec
from vmsieve.formats.codecs import codec as find_codec
from vmsieve.formats.loops import bits
from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.dump.batches import Gatherer
from vmsieve.pipeline.dump.order import InOrder, Pass
from vmsieve.pipeline.dump.packing import PackedChunk
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


def _batch(job: CopyJob) -> PackedChunk:
    return PackedChunk(
        job.source, job.codec, job.level, job.page_size, drop_zero=job.drop_zero, threads=job.threads
    )  # fmt: skip


def copy_pages(job: CopyJob) -> None:
    """Copy every kept page to the writer."""
    passes = job.passes or [Pass("all", "all pages", job.scan.kept)]
    choose = InOrder(_claim(job, one.pages) for one in passes).claim
    copied, turn, began = job.copied, 0, monotonic()
    if job.room is not None and job.passes:
        _foretell(job, job.room - job.writer.overhead)
    batches = ordered(
        job.threads, lambda: _batch(job), lambda pages: pages.claim(choose), PackedChunk.work, job.notes.append
    )  # fmt: skip
    for pages in batches:
        if pages.turn != turn:
            turn = pages.turn
            job.writer.checkpoint()
            began = began and _foretell_end(job, began)
        batch = pages.batch()
        job.writer.pages(batch)
        passes[turn].written += batch.count
        for k in pages.bad:
            if copied.unreadable < _NAMED:
                job.notes.append(f"the page at {pages.pfns[k] * job.page_size:#x} can't be read")
            copied.unreadable += 1
        empty = bits.count_words(address_of(batch.sizes), batch.count, 0)
        copied.zero += empty - len(pages.bad)
        copied.pages += batch.count
        copied.bytes_packed += pages.packs.packed
        job.progress.advance(batch.count)


def _foretell(job: CopyJob, room: int) -> None:
    """Say what will fit into ``room`` bytes."""
    # Imported here: most dumps are in address order.
    from vmsieve.pipeline.dump.forecast import foretell

    batch = _batch(job)

    def sampler(pages: Bitmap) -> Callable[[], tuple[int, int]]:
        choose = Gatherer(pages, job.scan.stored, job.source).claim
        batch.forget()

        def sample() -> tuple[int, int]:
            if not batch.claim(choose):
                return 0, 0
            batch.work()
            return batch.end - batch.first, batch.packs.packed

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
