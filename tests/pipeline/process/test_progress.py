"""Progress and notes go through one stream that can be redirected, or into Python's logging."""

from __future__ import annotations

import io
import logging
import re
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

import pytest

from tests.dumps import ROOT, dump
from tests.pipeline.kit import make
from vmsieve.pipeline.cli.main import main
from vmsieve.pipeline.dump.make import dump as make_dump
from vmsieve.pipeline.dump.plan import Plan
from vmsieve.pipeline.process.logged import LOGGER, Logged
from vmsieve.pipeline.process.progress import Lines

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line at each advance."""
    monkeypatch.setattr(Lines, "every", 0.0)


@pytest.mark.usefixtures("often")
def test_all_messages_of_a_command_go_where_sys_stderr_does(
    scratch: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Progress, notes and the report; nothing goes to the process's own standard error, or to standard output."""
    torn = tmp_path / "torn"
    torn.write_bytes(dump("demo.elf", scratch).read_bytes()[:-4096])
    words = ["dump", "-d", "31", str(torn), str(tmp_path / "out")]
    with redirect_stderr(io.StringIO()) as said, redirect_stdout(io.StringIO()) as output:
        assert main(words) == 4
    assert re.search(r"^Copying pages: \d+ %, ", said.getvalue(), re.MULTILINE)
    assert re.search(r"^vmsieve: \w", said.getvalue(), re.MULTILINE)
    assert re.search(r"^Page frames +\d", said.getvalue(), re.MULTILINE)
    assert output.getvalue() == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("often")
def test_the_library_logs(core: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Steps and their progress; nothing is printed."""
    with caplog.at_level(logging.DEBUG, "vmsieve"):
        make_dump(Plan(str(core), str(tmp_path / "out"), 31), Logged())
    assert {record.name for record in caplog.records} == {"vmsieve"}
    assert any(record.levelno == logging.DEBUG and "Copying pages: " in record.message for record in caplog.records)
    assert any(record.levelno == logging.INFO and " s left" in record.message for record in caplog.records)


@pytest.mark.usefixtures("often")
def test_a_library_prints_nothing(core: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a handler of the user's."""
    make_dump(Plan(str(core), str(tmp_path / "out"), 31), Logged())
    make(core, tmp_path / "silent")
    assert capfd.readouterr() == ("", "")
    assert any(isinstance(one, logging.NullHandler) for one in LOGGER.handlers)


def test_the_snippet_in_the_readme_runs(scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    snippet = re.search(r"^```python\n(import logging.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert snippet is not None
    (tmp_path / "vmcore").symlink_to(dump("demo.elf", scratch))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    with redirect_stdout(io.StringIO()) as output:
        exec(snippet[1], {})
    assert re.search(r"^\d+ \[", output.getvalue(), re.MULTILINE)
    assert (tmp_path / "small").stat().st_size > 1 << 20
