"""Fixtures of the tests of formats."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.formats.frames.frame_kit import close_all
from vmsieve.formats import places

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for unpacked files, which must be empty afterwards."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    close_all()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """A new, open file."""
    fd = os.open(tmp_path / "dump", os.O_RDWR | os.O_CREAT, 0o600)
    yield fd
    os.close(fd)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write buffers are small, so that a small dump is written in many pieces."""
    monkeypatch.setattr(places, "GATHERED", 700)
