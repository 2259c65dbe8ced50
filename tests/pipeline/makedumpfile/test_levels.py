"""``-d 1,31``: makedumpfile's next level is tried if there is no space."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.dumps import ROOT
from tests.pipeline.cli_kit import environment
from tests.pipeline.kit import make
from tests.pipeline.makedumpfile.makedumpfile_kit import PROGRAM
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.makedumpfile.main import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("levels", ["1,31", "0,8,31"])
def test_the_next_level_is_tried_when_there_is_no_room(
    levels: str, core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the first level was, the remaining dump is the last one's."""
    make(core, tmp_path / "ours", 31, codec="none")
    size = (tmp_path / "ours").stat().st_size
    assert main(["-d", levels, "-L", str(size), str(core), str(tmp_path / "out")]) == 0
    heard = capsys.readouterr()
    assert f"Can't write the dump file({tmp_path / 'out'}). Size limit({size}) reached.\n" in heard.out
    assert heard.out.count("Retry to create a dumpfile by dump_level(") == levels.count(",")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "ours").read_bytes()


def test_when_the_levels_run_out_the_last_dump_stays(
    core: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Marked as incomplete, with status 1."""
    out = tmp_path / "out"
    assert main(["-d", "17,31", "-L", "1M", str(core), str(out)]) == 1
    assert "makedumpfile Failed." in capsys.readouterr().out
    assert out.stat().st_size <= 1 << 20
    source = open_source(str(out))
    assert source.incomplete
    assert source.dump_level == 31
    source.close()


def test_a_full_stream_is_not_tried_again() -> None:
    """Bytes written to a pipe can't be taken back, so no other level is tried."""
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM, "-F", "-d", "1,31", str(ROOT / "tests/zoo/x86_64-6.1-kdump.zst")],
            env=environment(), stdout=full, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert ran.returncode == 1
    assert b"Retry" not in ran.stderr
    assert b"makedumpfile Failed." in ran.stderr


def test_the_next_level_goes_where_a_link_leads(core: Path, tmp_path: Path) -> None:
    """The link stays, and its target is the smaller dump."""
    link, target = tmp_path / "link", tmp_path / "target"
    target.touch()
    link.symlink_to(target)
    make(core, tmp_path / "ours", 31, codec="zlib")
    limit = (tmp_path / "ours").stat().st_size + 4096
    assert main(["-f", "-c", "-d", "0,31", "-L", str(limit), str(core), str(link)]) == 0
    assert link.is_symlink()
    assert target.read_bytes() == (tmp_path / "ours").read_bytes()
