"""Holes of files: those that the file system reports, as long as they can be believed."""

from __future__ import annotations

import errno
import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import Core, Load
from tests.formats.holes_kit import sparse_copy
from vmsieve.formats import files, holes
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.files import PlainFile
from vmsieve.formats.holes import LEAST
from vmsieve.formats.inputs import open_source
from vmsieve.formats.mapping import anonymous, map_piece

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = 4096
SIZE = 4 << 20


def content(seed: int, *, end_hole: bool = False) -> bytearray:
    """Noise with runs of zeros of every length, some shorter than a hole that is noted."""
    dice, data = random.Random(seed), bytearray(random.Random(seed).randbytes(SIZE))
    at = 0
    while at < SIZE:
        length = dice.choice([PAGE, LEAST - PAGE, LEAST, LEAST + PAGE, 3 * LEAST, 5 * LEAST + 100])
        data[at : at + length] = bytes(len(data[at : at + length]))
        at += length + dice.choice([1, 100, PAGE, 3 * PAGE, LEAST])
    if end_hole:
        data[-4 * LEAST :] = bytes(4 * LEAST)
    return data


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_SPARSE", PAGE)


@pytest.fixture
def data() -> bytearray:
    return content(1, end_hole=True)


@pytest.fixture
def path(data: bytearray, tmp_path: Path) -> Path:
    sparse_copy(bytes(data), tmp_path / "sparse")
    return tmp_path / "sparse"


@pytest.fixture
def file(path: Path) -> Iterator[PlainFile]:
    opened = PlainFile(str(path))
    yield opened
    opened.close()


@pytest.mark.parametrize("seed", range(6))
def test_holes_of_a_file(seed: int, tmp_path: Path) -> None:
    """Each long hole is reported, cut to the range asked for, whatever the order of the questions."""
    found = [
        (start, end)
        for start, end in sparse_copy(bytes(content(seed, end_hole=seed % 2 == 0)), tmp_path / "sparse")
        if end - start >= LEAST
    ]
    assert len(found) > 2
    file, dice = PlainFile(str(tmp_path / "sparse")), random.Random(seed)
    for _ in range(60):
        low = dice.randrange(SIZE)
        high = dice.randrange(low, SIZE + 1)
        wanted = [(max(low, start), min(high, end)) for start, end in found if start < high and end > low]
        assert list(file.holes(low, high)) == wanted
    assert list(file.holes(0, SIZE)) == found
    file.close()


def test_files_read_as_before(file: PlainFile, data: bytearray) -> None:
    """Reads and mappings within holes, over their edges and behind the end have the file's bytes."""
    dice, room = random.Random(7), memoryview(anonymous(LEAST))
    hole = list(file.holes(0, SIZE))[-1]
    for place in [*(start for start, _ in file.holes(0, SIZE)), *(dice.randrange(SIZE) for _ in range(50)), hole[0]]:
        out = bytearray(b"\xaa" * dice.choice([1, PAGE, LEAST, 2 * LEAST]))
        got = file.read_into(place, memoryview(out))
        assert out[:got] == data[place : place + len(out)]
        assert got == min(len(out), SIZE - place)
    for place in range(0, SIZE - LEAST, LEAST // 2):
        at = 0
        for fd, offset, size in file.pieces(place, LEAST) or []:
            assert map_piece(fd, offset, size, address_of(room[at:]))
            at += size
        assert room == data[place : place + LEAST]


def test_holes_are_not_read(file: PlainFile, monkeypatch: pytest.MonkeyPatch) -> None:
    start, end = next(iter(file.holes(0, SIZE)))
    monkeypatch.setattr(files, "read_at", None)
    out = bytearray(b"\xaa" * (end - start))
    assert file.read_into(start, memoryview(out)) == end - start
    assert not any(out)
    assert file.pieces(start, LEAST) == [(-1, 0, LEAST)]
    assert next(fd for fd, _, _ in file.pieces(start, end - start + PAGE) or []) == -1


def test_truncated_files_have_no_holes(file: PlainFile, path: Path, data: bytearray) -> None:
    """Behind a new end there is nothing, not a hole, whether the holes were known before or not."""
    later = PlainFile(str(path))
    assert list(file.holes(0, SIZE))
    os.truncate(path, SIZE // 2)
    for one in (file, later):
        assert not list(one.holes(0, SIZE))
        assert one.next_data(SIZE // 2) == SIZE // 2
        out = bytearray(b"\xaa" * SIZE)
        assert one.read_into(0, memoryview(out)) == SIZE // 2
        assert out[: SIZE // 2] == data[: SIZE // 2]
    later.close()


@pytest.mark.parametrize("grows", [False, True])
def test_files_that_change_have_no_holes(file: PlainFile, path: Path, grows: bool) -> None:
    """What is written to a hole is read."""
    start, end = next(iter(file.holes(0, SIZE)))
    before = path.stat().st_mtime_ns
    with path.open("r+b") as writer:
        os.pwrite(writer.fileno(), b"x" * (end - start), start)
        if grows:
            os.pwrite(writer.fileno(), b"more", SIZE)
    os.utime(path, ns=(before + 1, before + 1))  # a clock may be coarse
    assert not list(file.holes(0, SIZE))
    out = bytearray(end - start)
    assert file.read_into(start, memoryview(out)) == len(out)
    assert out == b"x" * len(out)


@pytest.mark.parametrize("head", [True, False])
def test_data_reported_as_holes_are_read(head: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that reports data as a hole, at its beginning or its end, is not believed."""
    noise = os.urandom(LEAST)
    sparse_copy(noise + bytes(SIZE - LEAST) if head else bytes(SIZE - LEAST) + noise, tmp_path / "sparse")
    monkeypatch.setattr(files, "seek_data", lambda _fd, _at, size: size)
    file, out = PlainFile(str(tmp_path / "sparse")), bytearray(LEAST)
    assert not list(file.holes(0, SIZE))
    assert file.read_into(0 if head else SIZE - LEAST, memoryview(out)) == LEAST
    assert out == noise
    file.close()


def test_file_systems_without_holes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEEK_DATA fails: everything is data."""
    real = os.lseek

    def refuse(fd: int, offset: int, how: int) -> int:
        if how in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(errno.EINVAL, "invalid")
        return real(fd, offset, how)

    monkeypatch.setattr(os, "lseek", refuse)
    file = PlainFile(str(path))
    assert not list(file.holes(0, SIZE))
    file.close()


def test_unreadable_holes_are_not_believed(file: PlainFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "pread", fail)
    assert not list(file.holes(0, SIZE))


@pytest.mark.parametrize("limit", ["_MOST", "_MOST_STEPS"])
def test_memory_and_time_are_bounded(limit: str, file: PlainFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in very many pieces has the first of its holes only."""
    monkeypatch.setattr(holes, limit, 8)
    assert 0 < len(list(file.holes(0, SIZE))) <= 8


def test_dense_files_are_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dense").write_bytes(os.urandom(SIZE))
    monkeypatch.setattr(holes, "Holes", None)
    file = PlainFile(str(tmp_path / "dense"))
    assert (file.sparse, list(file.holes(0, SIZE))) == (False, [])
    file.close()


@pytest.mark.parametrize("page_size", [PAGE, 4 * PAGE, 16 * PAGE])
@pytest.mark.parametrize("shift", [0, 1000, PAGE])
def test_pages_known_to_be_zeros(data: bytearray, tmp_path: Path, page_size: int, shift: int) -> None:
    """Each such page is zeros, and each page within a long hole is known, at whatever file offset memory begins."""
    half = SIZE // 2
    loads = [
        Load(1 << 30, bytes(data[:half]), offset=16 * PAGE + shift),
        Load((1 << 30) + half, bytes(data[half:]), memsz=half + 32 * PAGE),
    ]
    head = Core(
        [loads[0], Load(loads[1].paddr, loads[1].data, loads[1].memsz, offset=16 * PAGE + shift + half)]
    ).build()
    body = head[: len(head) - SIZE].ljust(16 * PAGE + shift, b"\x11") + data
    found = sparse_copy(body, tmp_path / "core")
    source = open_source(str(tmp_path / "core"))
    first, count = (1 << 30) // page_size, 8 * -(-SIZE // page_size // 8)
    bits = source.zero_bits(first, count, page_size)
    assert source.knows_zeros()
    assert bits is not None
    known = {pfn for pfn in range(SIZE // page_size) if bits[pfn >> 3] >> (pfn & 7) & 1}
    base = 16 * PAGE + shift
    places = {pfn: (base + pfn * page_size, base + (pfn + 1) * page_size) for pfn in range(SIZE // page_size)}
    within = {
        pfn for pfn, (low, high) in places.items() if any(a <= low and high <= b and b - a >= LEAST for a, b in found)
    }
    assert within
    assert known <= {pfn for pfn in places if not any(data[pfn * page_size : (pfn + 1) * page_size])}
    # The page at the seam of the two segments may be missing.
    assert within - known <= {half // page_size - 1, half // page_size}
    source.close()
