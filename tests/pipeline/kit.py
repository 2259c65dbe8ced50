"""Shared by tests of the pipeline: dumps of synthetic machines, and their inspection."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, PAGE, Machine
from tests.build.memory_file import bits
from tests.filters.classify_twin import dropped, everything
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.errors import ReadError
from vmsieve.formats.inputs import MemoryRange, Source, open_source
from vmsieve.pipeline.dump.make import dump
from vmsieve.pipeline.dump.plan import Plan
from vmsieve.pipeline.inspect.verify import Comparison, verify
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vmsieve.pipeline.dump.report import Report

MAX_PFN = 0x10800


def machine(name: str = "6.12") -> Machine:
    """A machine with every kind of page."""
    return Machine(LAYOUTS[name], EVERYTHING)


@cache
def _truth(built: Machine) -> dict[int, set[str]]:
    return everything(built.layout, {pfn: built.struct_page(pfn) for pfn in built.frames()})


def expected(built: Machine, level: int) -> set[int]:
    """The page frames that ``level`` keeps, zero pages included. The machine must not change afterwards."""
    return set(built.frames()) - set(dropped(_truth(built), level))


def make(source: Path, out: Path, level: int = 31, **more: Any) -> Report:
    """``out``: a dump of ``source``."""
    return dump(Plan(str(source), str(out), level=level, **more), Silent())


def pages(source: Source) -> tuple[set[int], set[int]]:
    """Page frames that exist, and that are stored."""
    exists, stored = source.memory_bits(0, 1 << 17, PAGE)
    return bits(exists), bits(stored)


def read(source: Source, pfn: int) -> bytes:
    out = bytearray(PAGE)
    source.read_into(pfn * PAGE, memoryview(out))
    return bytes(out)


def kept(path: Path) -> set[int]:
    """Page frames that a dump stores."""
    source = open_source(str(path))
    try:
        return pages(source)[1]
    finally:
        source.close()


def _runs(pfns: list[int], most: int) -> Iterator[range]:
    """Runs of consecutive sorted page frames, at most ``most`` each."""
    start = 0
    for end in range(1, len(pfns) + 1):
        if end == len(pfns) or pfns[end] != pfns[start] + end - start or end - start == most:
            yield range(pfns[start], pfns[start] + end - start)
            start = end


def contents(path: Path, page: int = PAGE) -> dict[int, bytes]:
    """Every stored page of a dump, read in runs of up to 64."""
    source, found = open_source(str(path)), {}
    try:
        for run in _runs(sorted(bits(source.memory_bits(0, 1 << 17, page)[1])), 64):
            data = bytearray(len(run) * page)
            source.read_into(run.start * page, memoryview(data))
            found.update({pfn: bytes(data[at : at + page]) for pfn, at in zip(run, range(0, len(data), page))})
        return found
    finally:
        source.close()


def readable(path: Path) -> dict[int, bytes]:
    """Return every stored page of a dump that can be read, by page frame."""
    source, found = open_source(str(path)), {}
    for pfn in pages(source)[1]:
        with suppress(ReadError):
            found[pfn] = read(source, pfn)
    source.close()
    return found


def compared(source: Path, made: Path) -> Comparison:
    """Compare a dump with its source as ``vmsieve verify`` does."""
    one, two = open_source(str(source)), open_source(str(made))
    try:
        return verify(one, gather_knowledge(one), two, Silent())
    finally:
        one.close()
        two.close()


class Damaged(Source):
    """A dump with some unreadable pages."""

    def __init__(self, inner: Source, bad: set[int]) -> None:
        self.__dict__.update(inner.__dict__)
        self._inner, self._bad = inner, bad

    def end(self) -> int:
        return self._inner.end()

    def ranges(self) -> Iterator[MemoryRange]:
        return self._inner.ranges()

    def memory_bits(self, first_pfn: int, count: int, page_size: int) -> tuple[bytearray, bytearray]:
        return self._inner.memory_bits(first_pfn, count, page_size)

    def read_into(self, paddr: int, out: memoryview) -> None:
        for pfn in range(paddr // PAGE, -(-(paddr + len(out)) // PAGE)):
            if pfn in self._bad:
                out[: len(out) // 2] = b"\xbd" * (len(out) // 2)
                raise ReadError("the disk is broken", offset=pfn * PAGE)
        self._inner.read_into(paddr, out)

    def close(self) -> None:
        self._inner.close()
