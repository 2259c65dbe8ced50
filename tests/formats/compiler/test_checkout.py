"""Machine code older than its sources is not run; without sources nothing is checked."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.dumps import ROOT
from vmsieve.formats.compiler import checkout, native_backend
from vmsieve.formats.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of machine code that is loaded next."""
    monkeypatch.setattr(native_backend, "_library", None)
    monkeypatch.setattr(native_backend, "object_path", lambda: str(tmp_path / "none.so"))
    return tmp_path


def _made(objects: Path, of: str, when: int) -> None:
    (objects / "digest").write_text(of, encoding="ascii")
    os.utime(objects / "digest", (when, when))


def test_old_machine_code_is_not_loaded(objects: Path) -> None:
    """A source changed after its machine code was made: one line that says what to do."""
    _made(objects, "0" * 64, 0)
    with pytest.raises(UsageError, match=r"older than its sources.*make loops"):
        native_backend.available()


def test_a_touched_source_is_accepted(objects: Path) -> None:
    """A branch switched away and back has new files of the same content."""
    _made(objects, checkout.source_digest(), 0)
    assert not native_backend.available()
    assert checkout.is_fresh(str(objects))


def test_sources_are_read_only_if_one_is_newer(objects: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone's program compares file times at start; it reads content only if one is newer."""
    _made(objects, "of whatever", 1 << 32)
    monkeypatch.setattr(checkout, "source_digest", lambda: pytest.fail("the sources were read"))
    assert not native_backend.available()


def test_an_installation_is_asked_nothing(objects: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel has no digest."""
    monkeypatch.setattr(checkout, "demand_fresh", lambda _: pytest.fail("an installation has no sources"))
    assert not native_backend.available()


def test_makefile_and_digest_mean_the_same_sources() -> None:
    """``make dev`` builds again when any of the digest's sources changes."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (line,) = re.findall("^ROOMS := (.*)", text, re.MULTILINE)
    assert line.split() == list(checkout._ROOMS)
