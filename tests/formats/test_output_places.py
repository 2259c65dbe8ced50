"""Files, flattened streams and pipes: the same dump reaches each of them, and what can go wrong is said."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.output_kit import PAGE, ZLIB, Elf, Kdump, Medium, Memory, page, write
from vmsieve.formats import places
from vmsieve.formats.errors import OutputError
from vmsieve.formats.outputs.elf import ElfWriter
from vmsieve.formats.outputs.kdump import KdumpWriter
from vmsieve.formats.places import FilePlace, FlattenedPlace, PipePlace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Callable

    from vmsieve.formats.outputs import Place


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "dump", os.O_RDWR | os.O_CREAT, 0o600)
    yield fd
    os.close(fd)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is gathered, so that a small dump is written in many pieces."""
    monkeypatch.setattr(places, "GATHERED", 700)


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _memory() -> Memory:
    pages: dict[int, bytes | None] = {pfn: page(pfn) if pfn % 4 else bytes(PAGE) for pfn in range(150)}
    pages |= {pfn: bytes(range(256)) * 16 for pfn in range(400, 403)}
    return Memory(set(range(500)), pages)


def _kdump(place: Place, memory: Memory, *, complete: bool = True) -> None:
    write(KdumpWriter(memory.description(codec=ZLIB), place), memory, packed=True, complete=complete)


def _elf(place: Place, memory: Memory, *, complete: bool = True) -> None:
    write(ElfWriter(memory.description(), place), memory, packed=False, complete=complete)


def _pieces(stream: bytes) -> list[tuple[int, bytes]]:
    """Pieces of a flattened stream, which must be whole."""
    assert stream[:4096] == b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1) + bytes(4064)
    found: list[tuple[int, bytes]] = []
    at = 4096
    while True:
        offset, size = struct.unpack_from(">qq", stream, at)
        at += 16
        if offset == -1:
            assert (size, at) == (-1, len(stream))
            return found
        assert size > 0
        found.append((offset, stream[at : at + size]))
        assert len(found[-1][1]) == size
        at += size


def _rebuilt(stream: bytes) -> bytes:
    whole = bytearray()
    for offset, data in _pieces(stream):
        whole += bytes(max(0, offset + len(data) - len(whole)))
        assert not any(whole[offset : offset + len(data)])
        whole[offset : offset + len(data)] = data
    return bytes(whole)


@pytest.mark.parametrize("save", [_kdump, _elf])
@pytest.mark.parametrize("gathered", [1, 700, 256 * 1024])
def test_a_file_holds_what_was_put(save: object, gathered: int, file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "GATHERED", gathered)
    medium = Medium()
    save(medium, _memory())  # type: ignore[operator]
    place = FilePlace(file, "dump")
    save(place, _memory())  # type: ignore[operator]
    place.finish()
    assert _content(file) == bytes(medium.data)


@pytest.mark.parametrize("save", [_kdump, _elf])
@pytest.mark.parametrize("gathered", [1, 700, 256 * 1024])
def test_a_flattened_stream_rebuilds_to_what_was_put_and_sends_no_byte_twice(
    save: object, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "GATHERED", gathered)
    medium, stream = Medium(), io.BytesIO()
    save(medium, _memory())  # type: ignore[operator]
    place = FlattenedPlace(stream.write, "stdout")
    save(place, _memory())  # type: ignore[operator]
    place.finish()
    assert _rebuilt(stream.getvalue()) == bytes(medium.data)
    spans = sorted((offset, offset + len(data)) for offset, data in _pieces(stream.getvalue()))
    assert all(one[1] <= two[0] for one, two in zip(spans, spans[1:]))


@pytest.mark.parametrize("gathered", [1, 700, 256 * 1024])
def test_a_pipe_gets_what_was_put_with_the_holes_filled(gathered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "GATHERED", gathered)
    medium, stream = Medium(), io.BytesIO()
    _elf(medium, _memory())
    place = PipePlace(stream.write, "stdout")
    _elf(place, _memory())
    place.finish()
    assert stream.getvalue() == bytes(medium.data)


def test_zeros_at_the_end_reach_every_place(file: int) -> None:
    streams = [io.BytesIO(), io.BytesIO()]
    every: list[Place] = [
        FilePlace(file, "dump"), FlattenedPlace(streams[0].write, "flat"), PipePlace(streams[1].write, "pipe")
    ]  # fmt: skip
    for place in every:
        place.put(0, b"abc")
        place.extend(200_000)
        place.finish()
    expected = b"abc".ljust(200_000, b"\0")
    assert [_content(file), _rebuilt(streams[0].getvalue()), streams[1].getvalue()] == [expected] * 3


def test_a_longer_file_is_not_cut(file: int) -> None:
    os.pwrite(file, b"x" * 10, 0)
    place = FilePlace(file, "dump")
    place.extend(5)
    place.finish()
    assert len(_content(file)) == 10


def test_writes_that_take_a_part_are_taken_up_again(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:5], at))
    place = FilePlace(file, "dump")
    place.put(3, b"0123456789ab")
    place.finish()
    assert _content(file) == b"\0\0\x000123456789ab"
    taken = bytearray()

    def take(data: memoryview) -> int:
        taken.extend(data[:3])
        return min(3, len(data))

    pipe = PipePlace(take, "pipe")
    pipe.put(0, b"0123456789ab")
    pipe.finish()
    assert taken == b"0123456789ab"


def test_a_full_disk_is_told_from_other_failures(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, words in ((errno.ENOSPC, "no room"), (errno.EIO, "Input/output error"), (errno.EDQUOT, "no room")):

        def fail(*_: object, number: int = number) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "pwrite", fail)
        place = FilePlace(file, "dump")
        place.put(0, b"x")
        with pytest.raises(OutputError, match=words) as caught:
            place.flush()
        assert (caught.value.errno, caught.value.file) == (number, "dump")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_device_without_room_is_an_output_error() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OutputError) as caught:
            FilePlace(fd, "/dev/full").put(0, bytes(places.GATHERED))
        assert caught.value.errno == errno.ENOSPC
    finally:
        os.close(fd)


@pytest.mark.parametrize("kind", [PipePlace, FlattenedPlace])
def test_a_reader_that_went_away_is_said_so(kind: type[PipePlace | FlattenedPlace]) -> None:
    read, wrote = os.pipe()
    os.close(read)
    place = kind(lambda data: os.write(wrote, data), "stdout")
    with pytest.raises(OutputError, match="nobody reads") as caught:
        _elf(place, _memory())
    assert caught.value.errno == errno.EPIPE
    os.close(wrote)


def test_a_pipe_does_not_go_back() -> None:
    place = PipePlace(io.BytesIO().write, "stdout")
    place.put(0, b"12345")
    with pytest.raises(ValueError, match="offset 3"):
        place.put(3, b"x")


def test_what_is_held_reads_as_torn_until_it_is_settled(file: int) -> None:
    place = FilePlace(file, "dump", durable=True)
    place.put(0, b"head")
    place.hold(4, b"TORN", b"GOOD")
    place.put(8, b"tail")
    place.flush()
    assert _content(file) == b"headTORNtail"
    place.settle(4, b"GOOD")
    assert _content(file) == b"headGOODtail"


def test_a_flattened_stream_that_was_never_settled_says_torn() -> None:
    stream = io.BytesIO()
    place = FlattenedPlace(stream.write, "stdout")
    place.put(0, b"head")
    place.hold(4, b"TORN", b"GOOD")
    place.finish()
    assert _rebuilt(stream.getvalue()) == b"headTORN"


def test_an_empty_flattened_stream_has_header_and_end() -> None:
    stream = io.BytesIO()
    FlattenedPlace(stream.write, "stdout").finish()
    assert _pieces(stream.getvalue()) == []


@pytest.mark.parametrize("flushed", [True, False])
def test_a_torn_dump_in_a_pipe_is_shorter_than_its_headers_say(flushed: bool) -> None:
    memory = _memory()
    medium, stream = Medium(), io.BytesIO()
    _elf(medium, memory)
    memory.pages = {**memory.pages, 9: None}
    place = PipePlace(stream.write, "stdout")
    _elf(place, memory)
    if flushed:
        place.flush()
    place.finish()
    dump = Elf(stream.getvalue())
    assert dump.flags == 0
    assert len(dump.data) == max(load.offset + load.stored for load in dump.loads) - 1
    assert dump.page(401) == memory.pages[401]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("settled", [True, False], ids=["disk full", "killed"])
def test_a_file_torn_at_any_write_never_points_at_what_is_not_there(
    settled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = _memory()
    disk = _Disk(os.pwrite)
    monkeypatch.setattr(os, "pwrite", disk.pwrite)
    whole = Medium()
    _kdump(whole, memory)
    seen = set()
    for room in range(1, whole.total(), 331):
        disk.format(room)
        fd = os.open(tmp_path / str(room), os.O_RDWR | os.O_CREAT, 0o600)
        place = FilePlace(fd, "dump")
        writer = KdumpWriter(memory.description(codec=ZLIB), place)
        with pytest.raises(OutputError) as caught:
            _save_until_full(writer, memory, place)
        assert caught.value.errno == errno.ENOSPC
        if settled:
            with contextlib.suppress(OutputError):  # not even the header had room
                writer.end(complete=False)
            place.finish()
        content = _content(fd)
        os.close(fd)
        if content[:8] != b"KDUMP   " or len(content) < 2 * PAGE:
            continue
        dump = Kdump(content)
        assert dump.status == 1 | 8
        pages = dump.pages()
        assert all(data in (None, memory.pages[pfn]) for pfn, data in pages.items())
        seen.add(sum(data is not None for data in pages.values()))
    assert len(seen) > 10


class _Disk:
    """A disk with room for so many bytes; writing again over what is there needs none."""

    def __init__(self, real: Callable[[int, bytes | memoryview, int], int]) -> None:
        self._real = real
        self.format(0)

    def format(self, room: int) -> None:
        self._room = room
        self._there = bytearray(1 << 20)

    def pwrite(self, fd: int, data: bytes | memoryview, at: int) -> int:
        fits = 0
        while fits < len(data) and (self._there[at + fits] or self._room):
            self._room -= not self._there[at + fits]
            self._there[at + fits] = 1
            fits += 1
        if data and not fits:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._real(fd, data[:fits], at)


def _save_until_full(writer: KdumpWriter, memory: Memory, place: FilePlace) -> None:
    writer.begin()
    for batch in memory.batches(packed=True):
        writer.pages(batch)
    place.flush()


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 900)), max_size=60))
def test_interleaved_streams_arrive_whole(puts: list[tuple[int, int]]) -> None:
    """Four streams, two more than are gathered side by side."""
    stream, expected, ends = io.BytesIO(), bytearray(400_000), [i * 100_000 for i in range(4)]
    place = FlattenedPlace(stream.write, "stdout")
    for number, (which, size) in enumerate(puts):
        data = bytes([number % 255 + 1]) * size
        place.put(ends[which], data)
        expected[ends[which] : ends[which] + size] = data
        ends[which] += size
    place.finish()
    rebuilt = _rebuilt(stream.getvalue())
    assert rebuilt == bytes(expected[: len(rebuilt)])
    assert not any(expected[len(rebuilt) :])


def test_gathering_makes_few_writes_and_bounds_memory(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = os.pwrite

    def count(fd: int, data: bytes, at: int) -> int:
        sizes.append(len(data))
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", count)
    place = FilePlace(file, "dump")
    for i in range(20_000):
        place.put(1_000_000 + i * 400, bytes(400))
        place.put(i * 24, bytes(24))
    place.finish()
    assert sum(sizes) == 20_000 * 424
    assert len(sizes) <= 2 * (sum(sizes) // places.GATHERED + 1)
    assert max(sizes) <= places.GATHERED + 400


@pytest.mark.oracle
def test_the_limit_of_a_process_on_file_size_reads_as_no_room(tmp_path: Path) -> None:
    """A real refusal of the kernel, not one made up: RLIMIT_FSIZE."""
    code = (
        "import os, resource\n"
        "from vmsieve.formats.places import FilePlace\n"
        "from vmsieve.formats.errors import OutputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        f"place = FilePlace(os.open({str(tmp_path / 'x')!r}, os.O_RDWR | os.O_CREAT), 'x')\n"
        "try:\n    place.put(0, bytes(6000)); place.flush()\n"
        "except OutputError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "x: no room for the output, at 0x1388\n"
    assert (tmp_path / "x").stat().st_size == 5000


@pytest.mark.parametrize(("upward", "first"), [(False, 16384), (True, 4096)])
def test_the_order_in_which_stretches_go_out(
    upward: bool, first: int, file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is pointed at goes first; of a format without pointers, the lower: a torn one has no holes."""
    offsets: list[int] = []

    def note(_: int, data: memoryview, at: int) -> int:
        offsets.append(at)
        return len(data)

    monkeypatch.setattr(os, "pwrite", note)
    place = FilePlace(file, "dump", upward=upward)
    place.put(4096, bytes(4096))
    place.put(16384, bytes(4096))
    place.flush()
    assert offsets == [first, 4096 + 16384 - first]
