"""Compressed files that unpack to more than memory or the disk holds."""

from __future__ import annotations

import os
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from tests.build import frame_files as made
from tests.build.memory_file import MemoryFile, source
from tests.formats.frames.frame_kit import CONTENT, frame_of, opened
from vmsieve.formats.errors import FormatError, UnsupportedError
from vmsieve.formats.frames import PIECE_LIMIT, NotSeekableError, _unpacked
from vmsieve.formats.frames._index import Index
from vmsieve.formats.inputs import open_file

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("temporary")


def test_cached_content_is_bounded() -> None:
    """64 MiB in pieces of 1 MiB: the last 16 MiB are cached."""
    content = bytes(64 << 20)
    file, _, _ = opened(made.zstd_seekable(content, 1 << 20))
    tracemalloc.start()
    out = memoryview(bytearray(1 << 20))
    for at in range(0, file.size, 1 << 20):
        file.read_into(at, out)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 19 << 20
    assert peak < 21 << 20


@pytest.mark.parametrize("sized", [False, True])
def test_a_bomb_is_refused_after_a_look_at_its_start(sized: bool) -> None:
    """A terabyte of zeros in 32 MB is not a dump; that is detected in little memory and disk space."""
    data = made.zstd_bomb(1 << 40, sized=sized)
    tracemalloc.start()
    with pytest.raises(UnsupportedError, match="holds zeros at its start"):
        open_file(MemoryFile(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_zeros_of_an_unpacked_file_take_no_room(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte of zeros after something that looks like a dump."""
    files: list[int] = []
    real = os.ftruncate

    def truncate(fd: int, size: int) -> None:
        files.append(os.fstat(fd).st_blocks)
        real(fd, size)

    monkeypatch.setattr(os, "ftruncate", truncate)
    data = made.zstd_frame(b"something", sized=False, window=24) + made.zstd_bomb(1 << 30)
    file, _, _ = opened(data)
    assert file.size == 9 + (1 << 30)
    assert files[0] * 512 < 1 << 20
    out = bytearray(10)
    file.read_into(0, memoryview(out))
    assert out == b"something\0"


def test_a_bomb_of_content_does_not_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some disk space is left free; the error names the folder that is too small and what to do."""
    real = os.statvfs

    class Full:
        f_bavail, f_frsize = 1000, 4096

    monkeypatch.setattr(os, "statvfs", lambda path: (real(path), Full)[1])
    with pytest.raises(FormatError, match=r"can't be unpacked into .*temporary: no space .*set TMPDIR"):
        opened(made.gzip_named(CONTENT))


def test_a_folder_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The missing folder is the one that TMPDIR names."""
    monkeypatch.setenv("TMPDIR", "/nowhere")
    with pytest.raises(FormatError, match="unpacked into /nowhere: No such file"):
        opened(made.gzip_named(CONTENT))


def test_without_a_folder_named_large_files_do_not_go_to_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TMPDIR, large files avoid /tmp, which is memory on many systems."""
    monkeypatch.delenv("TMPDIR")
    _, remarks, _ = opened(made.gzip_named(CONTENT))
    assert "unpacked into /var/tmp " in remarks[0]


def test_pieces_too_large_to_be_kept_are_not_read_at_random() -> None:
    """The limit holds with and without a content size."""
    large = bytes(PIECE_LIMIT + 1)
    for data in (made.zstd_frame(large), made.zstd_frame(large, sized=False), made.zstd_bomb(PIECE_LIMIT * 2)):
        with pytest.raises(NotSeekableError):
            Index(frame_of(data), MemoryFile(data))
    fitting = made.zstd_frame(large[1:], sized=False, window=20)
    assert Index(frame_of(fitting), MemoryFile(fitting)).starts[-1] == PIECE_LIMIT


def test_windows_that_take_too_much_memory_are_refused() -> None:
    """The limit is 128 MiB, as for the zstd tool."""
    data = b"\x28\xb5\x2f\xfd\x00\x90" + made.zstd_bomb(1 << 24)[6:]  # a window of 256 MiB
    with pytest.raises(FormatError):
        source(data)


def test_room_is_looked_for_before_anything_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Content is larger than the packed file: without space for even that, unpacking does not begin."""
    data = made.gzip_named(CONTENT)
    monkeypatch.setattr(_unpacked, "_LEAVE", 0)

    class Room:
        f_bavail, f_frsize = len(data) - 1, 1

    monkeypatch.setattr(os, "statvfs", lambda _: Room)
    monkeypatch.setattr(os, "pwrite", lambda *_: pytest.fail("something was unpacked"))
    with pytest.raises(FormatError, match="no space"):
        opened(data)
