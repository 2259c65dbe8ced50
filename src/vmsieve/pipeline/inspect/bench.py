"""How fast this machine does each step of the main job, on pages of a real dump.

A sample of the pages that dump level 31 keeps, spread over the whole dump, is held in memory; each codec then packs it
within the kernels and in the chunks of the main job. What comes out says what a dump would cost here: how many bytes a
second, how much CPU time, how large.
"""

from __future__ import annotations

import ctypes
import time
from typing import TYPE_CHECKING, Any, Callable

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.codecs import codec, codec_number, codecs
from vmsieve.formats.errors import UsageError
from vmsieve.formats.loops.pack import pack_pages
from vmsieve.formats.loops.zero import zero_pages
from vmsieve.formats.slim.records import field, record
from vmsieve.pipeline.dump.batches import Gatherer, PageBatch
from vmsieve.pipeline.dump.pool import ordered
from vmsieve.pipeline.dump.scan import scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmsieve.filters.knowledge import Knowledge
    from vmsieve.formats.codecs import State
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.process.progress import Progress

__all__ = ["LEVEL", "Bench", "Choice", "Packing", "as_json", "bench", "choices", "recommend"]

#: Dump level whose pages are packed.
LEVEL = 31
_STAGES = 4  # shares of the time that reading and looking for zeros get, against one for each packing
_WORTH = 1.005  # sizes within half a hundredth of each other are as good


@record(frozen=True)
class Choice:
    """A codec at a level, and how many threads run it."""

    codec: str
    level: int
    threads: int


@record(frozen=True)
class Packing:
    """How a choice fared.

    Attributes:
        choice: What was tried.
        provider: Whose code did it.
        content: Bytes of pages that it was shown.
        packed: Bytes that they became.
        seconds: Wall time.
        cpu: CPU time of all threads.
    """

    choice: Choice
    provider: str
    content: int
    packed: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Bytes of pages a second."""
        return self.content / max(self.seconds, 1e-9)

    @property
    def ratio(self) -> float:
        """Packed size by size."""
        return self.packed / max(self.content, 1)


@record
class Bench:
    """What was found.

    Attributes:
        pages: Page frames that were classified.
        kept: Of these, the ones that :data:`LEVEL` keeps, zero pages among them.
        page_size: Bytes.
        classify: Seconds that classification took.
        read: Bytes, and the seconds it took to read them into memory.
        zeros: Bytes, and the seconds it took to look for zero pages among them.
        zero_pages: How many of the sampled pages were zero.
        packings: One for each choice that there was time for.
        notes: Sentences on what was odd.
    """

    page_size: int
    pages: int = 0
    kept: int = 0
    classify: float = 0.0
    read: tuple[int, float] = (0, 0.0)
    zeros: tuple[int, float] = (0, 0.0)
    zero_pages: int = 0
    packings: list[Packing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def choices(names: Sequence[str], threads: Sequence[int]) -> list[Choice]:
    """What is to be tried: ``names`` (``zstd``, ``zstd:3``) or all codecs, at some levels, with each number of threads.

    Raises:
        UsageError: There is no such codec or level.
    """
    found = []
    for name in names or [c.name for c in codecs() if c.flag]:
        one, _, level = name.partition(":")
        chosen = codec(one)
        low, high = chosen.levels
        if level:
            if not level.lstrip("-").isdigit() or not low <= int(level) <= high:
                raise UsageError(f"codec {one} has levels {low} to {high}", found=level)
            levels = [int(level)]
        else:
            tried = {low, chosen.default_level, chosen.default_level + 2, chosen.default_level + 5}
            levels = sorted(number for number in tried if low <= number <= high)
        found += [Choice(one, number, count) for number in levels for count in dict.fromkeys(threads)]
    return found


def bench(
    source: Source, knowledge: Knowledge, wanted: Sequence[Choice], progress: Progress, *, sample: int, seconds: float
) -> Bench:
    """Measure all steps.

    Args:
        source: The dump.
        knowledge: What is known of its kernel.
        wanted: Choices to try.
        progress: Told what goes on.
        sample: Bytes of pages to hold, at the most.
        seconds: To spend on packing, reading and looking for zeros, more or less; classification takes what it takes.
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
    chunks = list(_sample(gatherer, source, result, progress, sample, share * _STAGES / 2))
    _look_for_zeros(chunks, result, share * _STAGES / 2)
    progress.step("Packing the sample", len(wanted), result.read[0])
    for choice in wanted:
        result.packings.append(_pack(choice, chunks, result.page_size, share))
        progress.advance(1)
    progress.close()
    return result


def _sample(
    gatherer: Gatherer, source: Source, result: Bench, progress: Progress, size: int, seconds: float
) -> Iterator[PageBatch]:
    """Batches of pages from all over the dump: every n-th, in an order in which any beginning is spread too."""
    room = PageBatch(result.page_size).room
    step = max(1, result.kept * result.page_size // max(size, 1))
    done, taken, number = 0, 0.0, 0
    found = []
    pages = PageBatch(result.page_size)
    while gatherer.claim(pages) and done + room * result.page_size <= max(size, room * result.page_size):
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
    yield from (found[i] for i in _spread(len(found)))


def _spread(count: int) -> list[int]:
    """0 to ``count - 1`` in an order in which the first few are far apart."""
    bits = max(count - 1, 0).bit_length()
    reversed_bits = (int(f"{i:0{bits}b}"[::-1], 2) if bits else 0 for i in range(1 << bits))
    return [i for i in reversed_bits if i < count]


def _look_for_zeros(chunks: list[PageBatch], result: Bench, seconds: float) -> None:
    done, found, began = 0, 0, time.perf_counter()
    for chunk in chunks:
        marks = bytearray(chunk.room)
        found += zero_pages(
            chunk.address, ctypes.addressof(chunk.index), chunk.count, result.page_size, address_of(marks)
        )
        done += chunk.count
        if time.perf_counter() - began > seconds:
            break
    result.zeros = (done * result.page_size, time.perf_counter() - began)
    result.zero_pages = found


class _Out:
    """What one thread packs with and into."""

    def __init__(self, open_state: Callable[[], State], room: int, page_size: int) -> None:
        self.state = open_state()
        self.sizes = (ctypes.c_uint32 * room)()
        self.flags = (ctypes.c_uint32 * room)()
        self.out = bytearray((room + 1) * page_size)
        self.chunk: PageBatch | None = None
        self.packed = 0


def _pack(choice: Choice, chunks: list[PageBatch], page_size: int, seconds: float) -> Packing:
    """Pack chunks until all are, or the time is over."""
    which = codec_number(choice.codec)
    packer = codec(choice.codec)
    end = time.perf_counter() + seconds
    left = iter(chunks)
    provider = ""

    def make() -> _Out:
        nonlocal provider
        out = _Out(lambda: packer.open_compressor(choice.level, page_size), chunks[0].room, page_size)
        provider = out.state.provider
        return out

    def claim(out: _Out) -> bool:
        out.chunk = next(left, None) if time.perf_counter() < end else None
        return out.chunk is not None

    def work(out: _Out) -> None:
        chunk = out.chunk
        assert chunk is not None
        out.packed = pack_pages(
            which, out.state.address, chunk.count, chunk.address, ctypes.addressof(chunk.index), page_size, 1,
            packer.flag, ctypes.addressof(out.sizes), ctypes.addressof(out.flags), address_of(out.out),
        )  # fmt: skip

    content = packed = 0
    began, cpu = time.perf_counter(), time.process_time()
    if chunks:
        for out in ordered(choice.threads, make, claim, work, lambda _: None):
            assert out.chunk is not None
            content += out.chunk.count * page_size
            packed += out.packed
    return Packing(choice, provider, content, packed, time.perf_counter() - began, time.process_time() - cpu)


def recommend(packings: Sequence[Packing], output: float) -> dict[str, Packing]:
    """The best choice for each aim.

    ``fastest``: most bytes of pages packed a second. ``smallest``: least size, and among about equal ones the fastest.
    ``balanced``: first to be done when the output takes ``output`` bytes a second.
    """
    tried = [packing for packing in packings if packing.content]
    if not tried:
        return {}
    least = min(packing.ratio for packing in tried)
    small = [packing for packing in tried if packing.ratio <= least * _WORTH]
    return {
        "fastest": max(tried, key=lambda p: p.rate),
        "smallest": max(small, key=lambda p: p.rate),
        "balanced": min(tried, key=lambda p: max(1 / p.rate, p.ratio / output)),
    }


def as_json(result: Bench, output: float) -> dict[str, Any]:
    """For machines."""
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
    """One packing for machines."""
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
