"""The account of memory: ``dump`` itself reports a mismatch of any cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.build.machine import PAGE
from tests.pipeline.kit import Damaged, make
from vmsieve.formats.inputs import MemoryRange
from vmsieve.formats.systems import open_system
from vmsieve.pipeline.cli import main as cli
from vmsieve.pipeline.dump import make as dumping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAR = 1 << 30


class Forgetful(Damaged):
    """An input that stores a page which its bitmaps lack: the first pass never sees it."""

    def ranges(self) -> Iterator[MemoryRange]:
        yield from super().ranges()
        yield MemoryRange(FAR, FAR + PAGE, FAR + PAGE)


@pytest.fixture
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dumping, "open_system", lambda path, select: Forgetful(open_system(path, select), set()))


@pytest.mark.usefixtures("_forgetful")
@pytest.mark.parametrize("level", [0, 31])
def test_an_unbalanced_account_is_in_the_report(level: int, core: Path, tmp_path: Path) -> None:
    """The report has the number of bytes, and the exit status is 3."""
    report = make(core, tmp_path / "out", level)
    assert report.account()["unaccounted"] == PAGE
    assert f"the account of memory does not add up: {PAGE} bytes are not accounted for" in report.notes
    assert report.exit_status() == 3


@pytest.mark.usefixtures("_forgetful")
def test_the_command_reports_it(core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, even with --quiet."""
    assert cli.main(["dump", "-q", "-d", "1", str(core), str(tmp_path / "out")]) == 3
    assert "the account of memory does not add up" in capsys.readouterr().err


def test_an_account_that_adds_up_is_not_spoken_of(core: Path, tmp_path: Path) -> None:
    report = make(core, tmp_path / "out", 31)
    assert (report.account()["unaccounted"], report.exit_status()) == (0, 0)
    assert not any("account" in note for note in report.notes)
