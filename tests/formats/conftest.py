"""What tests of formats share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.formats.frame_kit import close_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Files are unpacked here, and nothing may be left of them."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    close_all()
