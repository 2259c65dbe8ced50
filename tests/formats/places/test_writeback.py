"""Dirty bytes are bounded, and errors of the medium are not lost."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from vmsieve.formats.errors import OutputError
from vmsieve.formats.places import FilePlace, writeback
from vmsieve.formats.places.writeback import LEAST, Writeback, bound

if TYPE_CHECKING:
    from pathlib import Path

_MIB = 1 << 20


class Medium:
    """Stands for sync_file_range: accepts everything pending when called again, or fails."""

    def __init__(self, error: int = 0) -> None:
        self.error = error
        self.calls = 0
        self.moving = self.dirty = self.most = 0

    def push(self, _: int) -> int:
        self.calls += 1
        self.moving, self.dirty = self.dirty, 0
        return self.error

    def write(self, watch: Writeback, size: int) -> None:
        self.dirty += size
        self.most = max(self.most, self.moving + self.dirty)
        watch.wrote(size)


def watched(monkeypatch: pytest.MonkeyPatch, available: int, error: int = 0) -> tuple[Medium, Writeback]:
    medium = Medium(error)
    monkeypatch.setattr(writeback, "_push", medium.push)
    monkeypatch.setattr(writeback, "available", lambda: available)
    return medium, Writeback(-1)


@pytest.mark.parametrize(("available", "most"), [(0, LEAST), (60 * _MIB, LEAST), (1024 * _MIB, 128 * _MIB)])
def test_dirty_memory_is_bounded(available: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1 GiB in pieces of 1 MiB, at most an eighth of memory, or 16 MiB, is in flight at any moment."""
    medium, watch = watched(monkeypatch, available)
    for _ in range(1024):
        medium.write(watch, _MIB)
    assert bound(available) == most
    assert most // 2 <= medium.most <= most + _MIB


def test_a_small_file_is_left_to_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    medium, watch = watched(monkeypatch, 0)
    medium.write(watch, LEAST // 2 - 1)
    assert medium.calls == 0


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ESPIPE, errno.EINVAL])
def test_a_file_without_sync_file_range(error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried once; the failure is not an error."""
    medium, watch = watched(monkeypatch, 0, error)
    for _ in range(64):
        medium.write(watch, _MIB)
    assert medium.calls == 1


def test_a_medium_error_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel reports a failed write once, to the first waiter: the report must not be lost."""
    medium, _ = watched(monkeypatch, 0, errno.EIO)
    fd = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    try:
        place = FilePlace(fd, "out")
        place.put(0, bytes(LEAST // 2 - 1))
        with pytest.raises(OutputError, match="can't write the output"):
            place.put(LEAST // 2, bytes(_MIB))
        assert medium.calls == 1
    finally:
        os.close(fd)


def test_a_real_file_and_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The C library accepts the call for both kinds; the pipe's is refused and not repeated."""
    monkeypatch.setattr(writeback, "available", lambda: 0)
    results = []
    plain = writeback._push

    def push(fd: int) -> int:
        results.append(plain(fd))
        return results[-1]

    monkeypatch.setattr(writeback, "_push", push)
    fd = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    ends = os.pipe()
    try:
        for one in (fd, ends[1]):
            watch = Writeback(one)
            for _ in range(32):
                if one == fd:
                    os.write(fd, bytes(_MIB))
                watch.wrote(_MIB)
    finally:
        for one in (fd, *ends):
            os.close(one)
    assert results == [0] * 4 + [errno.ESPIPE]
