"""Opening an input: selected by content, closed on failure, with a one-sentence error."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import core
from tests.build.flattened_file import flattened
from tests.build.kdump_file import kdump
from tests.build.memory_file import MemoryFile, read
from vmsieve.formats.errors import FormatError, ReadError, TruncatedError, UnsupportedError
from vmsieve.formats.extents import Extents
from vmsieve.formats.files import PlainFile, read_exactly
from vmsieve.formats.inputs import formats, open_file, open_source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

RECIPE = "@0x1000 fill 01020304 x3"


def test_formats_have_an_order_of_their_own() -> None:
    """Probing does not depend on file names."""
    found = formats()
    assert len({f.order for f in found}) == len(found)
    assert [f.order for f in found] == sorted(f.order for f in found)
    assert {"elf", "kdump", "flattened"} <= {f.name for f in found}


@pytest.mark.parametrize("data", [core(RECIPE), kdump(RECIPE), flattened([(0, core(RECIPE))])])
def test_the_content_selects_the_format(data: bytes, tmp_path: Path) -> None:
    """File names do not matter."""
    path = tmp_path / "vmcore.elf"
    path.write_bytes(data)
    opened = open_source(str(path))
    assert read(opened, 0x2000, 8) == (2).to_bytes(8, "little")
    assert opened.file.name == str(path)
    opened.close()


def test_bytes_behind_the_headers_may_be_unreadable() -> None:
    """In /proc/vmcore unreadable memory may follow the headers directly: the rest is still read."""

    class Broken(MemoryFile):
        def read_into(self, offset: int, out: memoryview) -> int:
            if offset < 0x9000 and offset + len(out) > 0x8000:
                raise ReadError("the memory is broken", file=self.name, offset=0x8000)
            return super().read_into(offset, out)

    opened = open_file(Broken(core("@0x1000 fill 01020304 x40")))
    assert read(opened, 0x20000, 8) == read(open_file(MemoryFile(core("@0x1000 fill 01020304 x40"))), 0x20000, 8)


def test_only_one_format_claims_each_file() -> None:
    """Otherwise the result would depend on the probing order."""
    for data in (
        core(RECIPE),
        core(RECIPE, order="big"),
        kdump(RECIPE),
        flattened([(0, b"x")]),
        b"DISKDUMP" + bytes(99),
    ):
        assert len([f for f in formats() if f.probe(data)]) == 1


@pytest.mark.parametrize(
    ("data", "found"), [(b"", "an empty file"), (b"\1ello", "01 65 6c 6c 6f"), (bytes(70_000), "zeros at its start")]
)
def test_unknown_files_are_refused_and_closed(data: bytes, found: str) -> None:
    """The message shows the first bytes of the file."""
    file = MemoryFile(data)
    with pytest.raises(UnsupportedError, match=found):
        open_file(file)
    assert file.closed == 1


def test_an_unusable_dump_is_closed() -> None:
    """Whichever layer found the damage."""
    for data in (core(RECIPE)[:70], kdump(RECIPE)[:5000], flattened([(0, core(RECIPE)[:70])]), flattened([])):
        file = MemoryFile(data)
        with pytest.raises(FormatError):
            open_file(file)
        assert file.closed == 1


def test_unopenable_paths(tmp_path: Path) -> None:
    """Absent, a pipe without a writer, a device that can't seek."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(FormatError, match="No such file") as caught:
        open_source(str(tmp_path / "absent"))
    assert caught.value.file == str(tmp_path / "absent")
    for path in (pipe, "/dev/null"):
        with pytest.raises(FormatError, match="not seekable"):
            open_source(str(path))


def test_plain_files_end_where_they_end(tmp_path: Path) -> None:
    """Reads past the end are short; positions beyond the largest file offset are not an error."""
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    file = PlainFile(str(path))
    out = bytearray(8)
    assert file.read_into(4, memoryview(out)) == 6
    assert out == b"456789\0\0"
    for offset in (10, 11, 1 << 63, 1 << 70):
        assert file.read_into(offset, memoryview(out)) == 0
        with pytest.raises(TruncatedError):
            read_exactly(file, offset, 1)
    assert read_exactly(file, 2, 3) == b"234"
    with pytest.raises(TruncatedError):
        read_exactly(file, -1, 3)
    os.truncate(path, 5)
    assert file.read_into(4, memoryview(out)) == 1
    file.close()


def test_a_failing_medium_is_a_read_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the file offset, after the bytes that were still read."""
    path = tmp_path / "x"
    path.write_bytes(bytes(10_000))
    file = PlainFile(str(path))
    real = os.preadv

    def failing(fd: int, buffers: list[memoryview], offset: int) -> int:
        if offset >= 4096:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, [buffers[0][: 4096 - offset]], offset)

    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(ReadError, match="Input/output error") as caught:
        file.read_into(0, memoryview(bytearray(10_000)))
    assert caught.value.offset == 4096
    file.close()


def test_files_are_given_back(tmp_path: Path) -> None:
    """Opened and refused files leave no descriptor open."""
    before = len(os.listdir("/proc/self/fd"))
    for name, data in (("good", core(RECIPE)), ("flat", flattened([(0, kdump(RECIPE))])), ("bad", b"?" * 99)):
        path = tmp_path / name
        path.write_bytes(data)
        try:
            open_source(str(path)).close()
        except FormatError:
            assert name == "bad"
    with pytest.raises(FormatError):
        open_source(str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before


def fill(table: Extents, pieces: Iterable[tuple[int, int]]) -> Extents:
    for start, end in pieces:
        table.add(start, end, start * 7)
    return table


def test_a_table_of_pieces_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many pieces, too disordered, too many overlaps."""
    fill(Extents(100), ((i * 10, i * 10 + 5) for i in range(100)))
    with pytest.raises(UnsupportedError, match="too many pieces"):
        fill(Extents(100), ((i * 10, i * 10 + 5) for i in range(101)))
    monkeypatch.setattr("vmsieve.formats.extents._DISORDER_LIMIT", 10)
    with pytest.raises(UnsupportedError, match="too many pieces"):
        fill(Extents(), ((i * 10, i * 10 + 5) for i in range(20, 0, -1)))
    table = fill(Extents(), ((i, 1000) for i in range(20)))
    with pytest.raises(UnsupportedError, match="overlap"):
        table.resolve_overlaps(last_wins=True)


def test_pieces_that_are_hidden_as_a_whole_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One large first piece hides any number of small ones."""
    monkeypatch.setattr("vmsieve.formats.extents._DISORDER_LIMIT", 10)
    table = fill(Extents(), ((i, 1000) for i in range(20)))
    table.resolve_overlaps(last_wins=False)
    assert (list(table.starts), list(table.ends), table.repeated) == ([0], [1000], sum(1000 - i for i in range(1, 20)))
