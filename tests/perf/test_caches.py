"""Warm and cold inputs are what they are called."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from perf import caches
from perf.measure import CommandError


@pytest.fixture
def on_disk(tmp_path: Path) -> Path:
    """A file of 8 MiB whose pages can be dropped."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(8 << 20))
    try:
        caches.drop(path)
    except CommandError:
        pytest.skip("the temporary folder is in memory, or its pages stay in the page cache")
    return path


def test_a_file_is_dropped_and_read_again(on_disk: Path) -> None:
    assert caches.resident(on_disk) < 0.01
    caches.warm(on_disk)
    assert caches.resident(on_disk) == 1


def test_a_file_that_stays_is_not_called_cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In tmpfs, or mapped by others: an error, not a warm run with the name of a cold one."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 8192)
    monkeypatch.setattr(caches, "_DROP", tmp_path / "drop_caches")
    monkeypatch.setattr(caches, "resident", lambda _: 0.5)
    with pytest.raises(CommandError, match="can't be dropped from the page cache: 50% of it is resident"):
        caches.drop(path)
    assert (tmp_path / "drop_caches").read_text() == "1"


def test_an_empty_file_is_resident() -> None:
    with tempfile.NamedTemporaryFile() as file:
        assert caches.resident(Path(file.name)) == 1
