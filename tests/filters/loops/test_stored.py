"""Struct pages in a file are sieved as in memory, on every backend, and what a free block covers is not read."""

from __future__ import annotations

import ctypes
import os
import random
import struct
from typing import TYPE_CHECKING, Any

import pytest

from tests.build.layouts import LAYOUTS, STRUCT_PAGE, Layout
from tests.filters.classify_kit import BACKENDS, classifier, kernel, random_pages
from vmsieve.filters.histogram import Histogram
from vmsieve.filters.loops import classify as k
from vmsieve.filters.loops import parameters as at
from vmsieve.filters.loops import stored as words
from vmsieve.formats.bitmap import address_of

if TYPE_CHECKING:
    from pathlib import Path

    from vmsieve.filters.classify import Classifier

PART = 600
ROOM = 256
FIRST = 0x2000
READER: Any = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64)
TRIER: Any = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_int, ctypes.POINTER(ctypes.c_uint64), ctypes.c_int, ctypes.c_int64, ctypes.c_int
)


class Reader:
    """The loop's words, with functions that count what they read."""

    def __init__(self, path: Path, *, cached: bool, room: int = ROOM, stride: int = 0, end: int = 1 << 40) -> None:
        self.fd = os.open(path, os.O_RDONLY)
        self.bytes = 0
        self.buffer = bytearray((room + 1) * STRUCT_PAGE)
        self._end = end
        self._functions = READER(self._read), TRIER(lambda fd, v, _, offset, flags: self._try(fd, v, offset, flags))
        self.words = (ctypes.c_uint64 * words.WORDS)()
        read, attempt = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in self._functions)
        for place, value in (
            (words.READ, read), (words.TRY, attempt), (words.FILE, self.fd), (words.BUFFER, address_of(self.buffer)),
            (words.ROOM, room), (words.STEP, room), (words.PART, PART), (words.STRIDE, stride),
        ):  # fmt: skip
            self.words[place // 8] = value
        self._cached = cached

    def _read(self, fd: int, out: int, size: int, offset: int) -> int:
        data = os.pread(fd, max(min(size, self._end - offset), 0), offset)
        self.bytes += len(data)
        ctypes.memmove(out, data, len(data))
        return len(data)

    def _try(self, fd: int, vector: Any, offset: int, flags: int) -> int:
        assert flags == os.RWF_NOWAIT
        return self._read(fd, vector[0], vector[1], offset) if self._cached else -1


def tame(layout: Layout, seed: int, count: int) -> bytes:
    """Struct pages without contradictions: free blocks of all sizes, and runs of other pages."""
    dice = random.Random(seed)
    out = bytearray()
    while len(out) < count * STRUCT_PAGE:
        pfn = FIRST + len(out) // STRUCT_PAGE
        order = dice.choice([0, 1, 3, 9, 10, 10, 10])
        free = dice.random() < 0.5 and pfn % (1 << order) == 0
        flags = 0 if free else dice.choice([0, layout.mask("lru"), layout.mask("slab")])
        for i in range(1 << order if free else dice.choice([1, 2, 700, 1 << order])):
            page = bytearray(STRUCT_PAGE)
            struct.pack_into("<Q", page, layout.flags, flags)
            struct.pack_into("<I", page, layout.kind, layout.types["buddy"] if free and i == 0 else 0xFFFFFFFF)
            struct.pack_into("<Q", page, layout.private, order if free and i == 0 else 0)
            struct.pack_into("<I", page, layout.refcount, 0 if free else 1)
            out += page
    return bytes(out[: count * STRUCT_PAGE])


def state(judge: Classifier) -> list[int]:
    """The parameters; of the counter of slab pages, which counts only the first of a run, whether it is 0."""
    found = list(judge.parameters.words)
    found[at.SLABS // 8] = min(found[at.SLABS // 8], 1)
    return found


def sieved_in_memory(judge: Classifier, pages: bytes, drop: int) -> tuple[int, bytes, bytes, list[tuple[int, int]]]:
    """What the loop is to do, from the loops for memory: pages done, bitmap, classes, histogram."""
    count = len(pages) // STRUCT_PAGE
    memory, kept, classes, histogram = bytearray(pages), bytearray(b"\xff" * (count // 8 + 2)), bytearray(), Histogram()
    parameters, done = judge.parameters, 0
    while done < count:
        n, before = min(PART, count - done), bytes(parameters.words)
        part = bytearray(n)
        contradictions = parameters[at.CONTRADICTIONS]
        address = address_of(memory) + done * STRUCT_PAGE
        k.classify_pages(parameters.address, address, FIRST + done, n, 0, address_of(part))
        if parameters[at.FOREIGN_TAILS] or parameters[at.CONTRADICTIONS] - contradictions > n // words.NOISE:
            ctypes.memmove(parameters.address, before, len(before))
            break
        k.apply_classes(address_of(part), n, address_of(kept), 5 + done, drop, histogram.address)
        classes += part
        done += n
    return done, bytes(kept), bytes(classes), list(histogram)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(("kind", "verify"), [("tame", 0), ("tame", 1), ("wild", 0), ("thorough", 0)])
def test_a_file_is_sieved_as_memory(backend: str, kind: str, verify: int, cached: bool, tmp_path: Path) -> None:
    """Bitmap, classes, histogram, state and counters are equal; noise ends both at the same part."""
    if backend == "jit":
        pytest.importorskip("numba")
    early = 0
    for seed, name in enumerate(LAYOUTS if backend != "python" else [*LAYOUTS][3:5]):
        count = 3 * PART + 700 if backend == "python" else 9 * PART + 77
        layout = LAYOUTS[name]
        pages = tame(layout, seed, count)
        if kind == "wild":
            pages = pages[: 2 * PART * STRUCT_PAGE] + random_pages(layout, seed, count - 2 * PART)
        (tmp_path / name).write_bytes(b"before" + pages)
        judge, twin = (classifier(layout, 31, thorough=kind == "thorough") for _ in range(2))
        for one in (judge, twin):
            one.parameters[at.VERIFY], one.parameters[at.BASE] = verify, 1 << 63
        expected = sieved_in_memory(twin, pages, judge.drop)
        reader = Reader(tmp_path / name, cached=cached, stride=1)
        kept, classes, histogram = bytearray(b"\xff" * (count // 8 + 2)), bytearray(count), Histogram()
        done = kernel(words.sieve_stored, backend)(
            judge.parameters.address, ctypes.addressof(reader.words), FIRST, count, 6, address_of(classes),
            address_of(kept), 5, judge.drop, histogram.address,
        )  # fmt: skip
        os.close(reader.fd)
        assert (done, bytes(kept), bytes(classes[:done]), list(histogram)) == expected
        assert state(judge) == state(twin)
        early += done < count
    assert (early > 0) == (kind == "wild")


@pytest.mark.parametrize("cached", [False, True])
def test_free_blocks_are_not_read_if_others_are_in_the_page_cache(cached: bool, tmp_path: Path) -> None:
    """Of 16 blocks of 64 KiB of struct pages, little more than the first is read; from a disk, all of them."""
    layout = LAYOUTS["6.1"]
    page, head = bytearray(STRUCT_PAGE), bytearray(STRUCT_PAGE)
    struct.pack_into("<I", page, layout.kind, 0xFFFFFFFF)
    struct.pack_into("<I", head, layout.kind, layout.types["buddy"])
    struct.pack_into("<Q", head, layout.private, 10)
    (tmp_path / "file").write_bytes((head + page * 1023) * 16)
    judge, count = classifier(layout, 31), 1 << 14
    judge.parameters[at.VERIFY] = 0
    reader = Reader(tmp_path / "file", cached=cached)
    reader.words[words.PART // 8] = count
    kept, classes, histogram = bytearray(b"\xff" * (count // 8)), bytearray(count), Histogram()
    done = words.sieve_stored(
        judge.parameters.address, ctypes.addressof(reader.words), FIRST, count, 0, address_of(classes),
        address_of(kept), 0, judge.drop, histogram.address,
    )  # fmt: skip
    os.close(reader.fd)
    assert (done, kept.count(0), list(histogram)) == (count, len(kept), [(1, count)])
    assert reader.bytes < 64 << 10 if cached else reader.bytes >= 16 * ROOM * STRUCT_PAGE


@pytest.mark.parametrize("cached", [False, True])
def test_a_part_that_cant_be_read_is_left(cached: bool, tmp_path: Path) -> None:
    """The parts before it are done, and the state is the one behind them."""
    layout, count = next(iter(LAYOUTS.values())), 4 * PART
    pages = tame(layout, 3, count)
    (tmp_path / "file").write_bytes(pages)
    judge, twin = classifier(layout, 31), classifier(layout, 31)
    for one in (judge, twin):
        one.parameters[at.VERIFY] = 1
    reader = Reader(tmp_path / "file", cached=cached, end=(2 * PART + 10) * STRUCT_PAGE)
    kept, classes, histogram = bytearray(b"\xff" * (count // 8 + 2)), bytearray(PART), Histogram()
    done = words.sieve_stored(
        judge.parameters.address, ctypes.addressof(reader.words), FIRST, count, 0, address_of(classes),
        address_of(kept), 5, judge.drop, histogram.address,
    )  # fmt: skip
    os.close(reader.fd)
    done_there, expected, _, counts = sieved_in_memory(twin, pages[: 2 * PART * STRUCT_PAGE], judge.drop)
    assert (done, list(histogram)) == (done_there, counts) == (2 * PART, counts)
    assert kept[: len(expected)] == expected
    assert state(judge) == state(twin)
