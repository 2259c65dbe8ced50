"""Benchmark of each step of a dump, on pages of a real dump.

A sample of the pages that dump level 31 keeps, spread over the whole dump, is read into memory. Each codec then packs
it with the loops and batch sizes of ``vmsieve dump``. The results predict time, CPU time and size of a dump here.
"""

from __future__ import annotations

import time

from vmsieve.formats.codecs import codec, codecs
from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any
from vmsieve.pipeline.dump.batches import Gatherer, PageBatch
from vmsieve.pipeline.dump.packing import PackedPages
from vmsieve.pipeline.dump.pool import ordered
from vmsieve.pipeline.dump.scan import scan
from vmsieve.pipeline.inspect.blocks import mark_zeros

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.process.progress import Progress

#: Dump level whose pages are packed.
LEVEL = 31
_STAGES = 4  # shares of the time for reading and the zero check together; each packing has one
_TOLERANCE = 1.005  # sizes within 0.5 % of the smallest count as equal


@record(frozen=True)
class Choice:
    """A codec, its level and a number of threads."""

    codec: str
    level: int
    threads: int


@record(frozen=True)
class Packing:
    """Measurement of one choice."""

    choice: Choice
    provider: str  # the library that did the work
    content: int  # bytes of pages packed
    packed: int  # their packed size
    seconds: float  # wall time
    cpu: float  # CPU time of all threads

    @property
    def rate(self) -> float:
        """Bytes of pages packed per second."""
        return self.content / max(self.seconds, 1e-9)

    @property
    def ratio(self) -> float:
        """Packed size divided by size."""
        return self.packed / max(self.content, 1)


@record
class Bench:
    """All measurements."""

    page_size: int
    pages: int = 0  # page frames classified
    kept: int = 0  # page frames that LEVEL keeps, zero pages included
    classify: float = 0.0  # seconds
    read: tuple[int, float] = (0, 0.0)  # bytes, and the seconds it took to read them
    zeros: tuple[int, float] = (0, 0.0)  # bytes, and the seconds it took to find the zero pages
    zero_pages: int = 0  # in the sample
    packings: list[Packing] = field(default_factory=list)  # one for each choice
    notes: list[str] = field(default_factory=list)  # sentences on remarks


def choices(names: Sequence[str], threads: Sequence[int]) -> list[Choice]:
    """Combine codecs (``zstd``, ``zstd:3``; default: all, at some levels) with each number of threads."""
    found = []
    for text in names or [c.name for c in codecs() if c.flag]:
        name, _, level = text.partition(":")
        chosen = codec(name)
        low, high = chosen.levels
        if level:
            if not level.lstrip("-").isdigit() or not low <= int(level) <= high:
                raise UsageError(f"codec {name} has levels {low} to {high}", found=level)
            levels = [int(level)]
        else:
            tried = {low, *(chosen.default_level + step for step in (-1, 0, 2, 5))}
            levels = sorted(number for number in tried if low <= number <= high)
        found += [Choice(name, number, count) for number in levels for count in dict.fromkeys(threads)]
    return found


def bench(
    source: Source, knowledge: Knowledge, wanted: Sequence[Choice], progress: Progress, *, sample: int, seconds: float
) -> Bench:
    """Measure all steps on a sample of at most ``sample`` bytes of pages.

    ``seconds``: approximate time for reading, the zero check and packing; classification is not limited.
    """
    result = Bench(knowledge.page_size)
    began = time.perf_counter()
    scanned = scan(source, knowledge, LEVEL, progress)
    result.classify = time.perf_counter() - began
    result.pages, result.kept = scanned.max_pfn, scanned.kept.count()
    result.notes += scanned.notes
    share = seconds / (_STAGES + len(wanted))
    progress.step("Reading a sample", min(sample, result.kept * result.page_size))
    gatherer = Gatherer(scanned.kept, scanned.stored, source)
    batches = list(_sample(gatherer, source, result, progress, sample, share * _STAGES / 2))
    _check_zeros(batches, result, share * _STAGES / 2)
    progress.step("Packing the sample", len(wanted), result.read[0])
    for choice in wanted:
        result.packings.append(_pack(choice, batches, result.page_size, share))
        progress.advance(1)
    progress.close()
    return result


def _sample(
    gatherer: Gatherer, source: Source, result: Bench, progress: Progress, size: int, seconds: float
) -> Iterator[PageBatch]:
    """Read every n-th batch, and yield them in an order whose every beginning is spread over the dump."""
    step = max(1, result.kept * result.page_size // max(size, 1))
    done, taken, number, found = 0, 0.0, 0, []
    pages = PageBatch(result.page_size)
    most = pages.room * result.page_size  # bytes of a batch
    while gatherer.claim(pages) and done + most <= max(size, most):
        number += 1
        if number % step:
            continue
        began = time.perf_counter()
        pages.read(source)
        taken += time.perf_counter() - began
        if pages.bad:
            result.notes.append(f"{len(pages.bad)} pages of the sample can't be read")
            pages.leave_out_bad()
        done += pages.count * result.page_size
        progress.advance(pages.count * result.page_size)
        found.append(pages)
        pages = PageBatch(result.page_size)
        if taken > seconds:
            result.notes.append("reading was slow: the sample covers the beginning of the dump only")
            break
    result.read = (done, taken)
    yield from (found[i] for i in _bit_reversed(len(found)))


def _bit_reversed(count: int) -> list[int]:
    """Order 0 to ``count - 1`` by their bits from low to high, so that the first few are far apart."""
    bits = max(count - 1, 0).bit_length()
    return sorted(range(count), key=lambda i: f"{i:0{bits}b}"[::-1])


def _check_zeros(batches: list[PageBatch], result: Bench, seconds: float) -> None:
    done, found, began = 0, 0, time.perf_counter()
    for batch in batches:
        found += mark_zeros(batch, bytearray(batch.room))
        done += batch.count
        if time.perf_counter() - began > seconds:
            break
    result.zeros = (done * result.page_size, time.perf_counter() - began)
    result.zero_pages = found


class _Packer(PackedPages):
    """The buffer of one thread: the batch that it packs."""

    batch: PageBatch | None = None


def _pack(choice: Choice, batches: list[PageBatch], page_size: int, seconds: float) -> Packing:
    """Pack batches until all are done, or the time is over."""
    end = time.perf_counter() + seconds
    left = iter(batches)
    provider = ""

    def make() -> _Packer:
        nonlocal provider
        packer = _Packer(codec(choice.codec), choice.level, batches[0].room, page_size)
        provider = packer.provider
        return packer

    def claim(one: _Packer) -> bool:
        one.batch = next(left, None) if time.perf_counter() < end else None
        return one.batch is not None

    def work(one: _Packer) -> None:
        assert one.batch is not None
        one.pack(one.batch, one.batch.count, drop_zero=True)

    content = packed = 0
    began, cpu = time.perf_counter(), time.process_time()
    if batches:
        for one in ordered(choice.threads, make, claim, work, lambda _: None):
            assert one.batch is not None
            content += one.batch.count * page_size
            packed += one.packed
    return Packing(choice, provider, content, packed, time.perf_counter() - began, time.process_time() - cpu)


def recommend(packings: Sequence[Packing], output: float) -> dict[str, Packing]:
    """Return the best choice for each aim.

    ``fastest``: the highest rate; ``smallest``: the least size, and among about equal ones the fastest;
    ``balanced``: the first to finish when the output takes ``output`` bytes per second.
    """
    tried = [packing for packing in packings if packing.content]
    if not tried:
        return {}
    least = min(packing.ratio for packing in tried)
    small = [packing for packing in tried if packing.ratio <= least * _TOLERANCE]
    return {
        "fastest": max(tried, key=lambda p: p.rate),
        "smallest": max(small, key=lambda p: p.rate),
        "balanced": min(tried, key=lambda p: max(1 / p.rate, p.ratio / output)),
    }


def as_json(result: Bench, output: float) -> dict[str, Any]:
    """Return all results as JSON values."""
    return {
        "level": LEVEL,
        "page_size": result.page_size,
        "pages": result.pages,
        "kept": result.kept,
        "classify": {"seconds": result.classify, "pages_per_second": result.pages / max(result.classify, 1e-9)},
        "read": _rate(*result.read),
        "zero_check": {**_rate(*result.zeros), "zero_pages": result.zero_pages},
        "packings": [_packing_json(p) for p in result.packings],
        "recommended": {aim: _packing_json(p) for aim, p in recommend(result.packings, output).items()},
        "output_bytes_per_second": output,
        "notes": result.notes,
    }


def _packing_json(packing: Packing) -> dict[str, Any]:
    return {
        "codec": f"{packing.choice.codec}:{packing.choice.level}",
        "threads": packing.choice.threads,
        "provider": packing.provider,
        **_rate(packing.content, packing.seconds),
        "cpu_seconds": packing.cpu,
        "ratio": packing.ratio,
    }


def _rate(size: int, seconds: float) -> dict[str, float]:
    return {"bytes": size, "seconds": seconds, "bytes_per_second": size / max(seconds, 1e-9)}
