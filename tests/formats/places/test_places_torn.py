"""Files, flattened streams and pipes without space: the error is reported, and the rest reads as torn."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.formats.output_kit import PAGE, ZLIB, Elf, Kdump, Medium, Memory
from tests.formats.places import places_kit as kit
from tests.outcome import result_or_error
from vmsieve.formats import places
from vmsieve.formats.errors import OutputError
from vmsieve.formats.outputs.kdump import KdumpWriter
from vmsieve.formats.places import FilePlace, FlattenedPlace, PipePlace

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Callable


def test_writes_that_take_a_part_are_taken_up_again(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:5], at))
    place = FilePlace(file, "dump")
    place.put(3, b"0123456789ab")
    place.finish()
    assert kit.content(file) == b"\0\0\x000123456789ab"
    taken = bytearray()

    def take(data: memoryview) -> int:
        taken.extend(data[:3])
        return min(3, len(data))

    pipe = PipePlace(take, "pipe")
    pipe.put(0, b"0123456789ab")
    pipe.finish()
    assert taken == b"0123456789ab"


def test_a_full_disk_is_distinguished_from_other_failures(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, words in ((errno.ENOSPC, "no space"), (errno.EIO, "Input/output error"), (errno.EDQUOT, "no space")):

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
def test_a_closed_reader_is_reported(kind: type[PipePlace | FlattenedPlace]) -> None:
    read, wrote = os.pipe()
    os.close(read)
    place = kind(lambda data: os.write(wrote, data), "stdout")
    with pytest.raises(OutputError, match="nobody reads") as caught:
        kit.elf(place, kit.memory())
    assert caught.value.errno == errno.EPIPE
    os.close(wrote)


def test_held_bytes_read_as_torn_until_settled(file: int) -> None:
    place = FilePlace(file, "dump")
    place.put(0, b"head")
    place.hold(4, b"TORN", b"GOOD")
    place.put(8, b"tail")
    place.flush()
    assert kit.content(file) == b"headTORNtail"
    place.settle(4, b"GOOD")
    assert kit.content(file) == b"headGOODtail"


def test_an_unsettled_flattened_stream_is_torn() -> None:
    stream = io.BytesIO()
    place = FlattenedPlace(stream.write, "stdout")
    place.put(0, b"head")
    place.hold(4, b"TORN", b"GOOD")
    place.finish()
    assert kit.rebuilt(stream.getvalue()) == b"headTORN"


@pytest.mark.parametrize("flushed", [True, False])
def test_a_torn_dump_in_a_pipe_is_shorter_than_its_headers_say(flushed: bool) -> None:
    memory = kit.memory()
    medium, stream = Medium(), io.BytesIO()
    kit.elf(medium, memory)
    memory.pages = {**memory.pages, 9: None}
    place = PipePlace(stream.write, "stdout")
    kit.elf(place, memory)
    if flushed:
        place.flush()
    place.finish()
    dump = Elf(stream.getvalue())
    assert dump.flags == 0
    assert len(dump.data) == max(load.offset + load.stored for load in dump.loads) - 1
    assert dump.page(401) == memory.pages[401]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("settled", [True, False], ids=["disk full", "killed"])
def test_a_file_torn_at_any_write_has_no_dangling_pointers(
    settled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = kit.memory()
    disk = _Disk(os.pwrite)
    monkeypatch.setattr(os, "pwrite", disk.pwrite)
    whole = Medium()
    kit.kdump(whole, memory)
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
            ended = result_or_error(lambda writer=writer: writer.end(complete=False))
            assert ended is None or isinstance(ended, OutputError)  # the error: not even the header fits
            place.finish()
        content = kit.content(fd)
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
    """A disk with space for so many bytes; overwriting existing bytes takes no space."""

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


@pytest.mark.oracle
def test_the_limit_of_a_process_on_file_size_reads_as_no_room(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: a real refusal by the kernel."""
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
    assert done.stdout == "x: no space for the output, at 0x1388\n"
    assert (tmp_path / "x").stat().st_size == 5000
