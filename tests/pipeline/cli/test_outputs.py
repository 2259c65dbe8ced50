"""The command line with outputs that are refused or fill up."""

from __future__ import annotations

import json
import resource
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.pipeline.cli_kit import MEMORY, failed, vmsieve
from tests.pipeline.dump.torn_kit import FORMATS, never_whole
from tests.pipeline.kit import contents, make
from vmsieve.formats.files import PlainFile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("place", ["/nonexistent/out", "/", "core/out", "/dev/full", "/proc/out"])
def test_an_output_that_can_not_be(place: str, core: Path) -> None:
    failed(vmsieve("dump", "-d", 31, core, core.parent / place), place)


def test_an_output_that_is_there_or_the_input(core: Path, small: Path, tmp_path: Path) -> None:
    """The file is unchanged, and a hint names the option that overwrites it."""
    there = tmp_path / "there"
    there.write_bytes(b"precious")
    failed(vmsieve("dump", core, there), "exists already", "-f")
    assert there.read_bytes() == b"precious"
    before = core.stat()
    failed(vmsieve("dump", "-f", core, core), "the output is the input")
    assert (core.stat().st_size, core.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert vmsieve("dump", "-q", "-f", "-d", 31, core, there).err == ""
    assert there.read_bytes() == small.read_bytes()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("limit", [1000, 50_000, 300_000, 3_000_000])
def test_no_room(
    form: str, limit: int, core: Path, truth: dict[int, bytes], wholes: dict[str, set[int]], tmp_path: Path
) -> None:
    """A file at its size limit: the partial dump is readable and marked, and the exit status is 4."""
    out = tmp_path / "out"
    run = vmsieve(
        "dump", "-q", "-d", 31, *FORMATS[form], core, out,
        limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert run.status in (1, 4)
    assert "no space" in run.err
    good = never_whole(core, out, truth)
    if limit == 3_000_000:
        assert good
        assert good < wholes[form]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("limit", [100_000, 3_000_000])
def test_a_size_limit(
    form: str, limit: int, core: Path, truth: dict[int, bytes], wholes: dict[str, set[int]], tmp_path: Path
) -> None:
    """The limit is kept to the byte: the partial dump is readable and marked, and the report has the reason."""
    out, report = tmp_path / "out", tmp_path / "report"
    run = vmsieve(
        "dump", "-q", "-d", 31, *FORMATS[form], "--size-limit", limit, "--json", report, core, out
    )  # fmt: skip
    assert run.status in (1, 4)
    assert "reached its size limit" in run.err
    assert not out.exists() or out.stat().st_size <= limit
    if limit == 3_000_000:
        good = never_whole(core, out, truth)
        assert good
        assert good < wholes[form]
        assert json.loads(report.read_text())["full"] is True


def test_a_size_limit_that_is_enough_changes_nothing(core: Path, small: Path, tmp_path: Path) -> None:
    limited = ("dump", "-q", "-d", 31, "--size-limit", "1G")
    assert vmsieve(*limited, "--order", "address", core, tmp_path / "out").status == 0
    assert (tmp_path / "out").read_bytes() == small.read_bytes()
    assert vmsieve(*limited, core, tmp_path / "other").status == 0
    assert contents(tmp_path / "other") == contents(small)
    for size in ("0", "x", "-5", "1Q", ""):
        assert vmsieve("dump", "--size-limit", size, core, tmp_path / "none").status == 2
    assert vmsieve("dump", "-E", "--frame", "zstd", "--size-limit", "1M", core, tmp_path / "none").status == 2


def test_an_input_that_is_not_to_be_mapped(
    core: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The input is read, and the dump is the same."""

    def refuse(*_: object) -> bool:
        raise AssertionError("the input was mapped")

    monkeypatch.setattr(PlainFile, "pieces", refuse)
    make(core, tmp_path / "out", 31, mapped=False)
    assert (tmp_path / "out").read_bytes() == small.read_bytes()
    with pytest.raises(AssertionError, match="was mapped"):
        make(core, tmp_path / "other", 31)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Any:
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        pytest.skip("no file system can be mounted here (that takes root)")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk(form: str, tiny_disk: Path, core: Path, truth: dict[int, bytes]) -> None:
    """A real file system that runs out of blocks; removing the dump frees all of them."""
    run = vmsieve("dump", "-q", "-d", 31, *FORMATS[form], core, tiny_disk / "out")
    assert run.status == 4
    assert "no space" in run.err
    assert len(never_whole(core, tiny_disk / "out", truth)) > 100
    (tiny_disk / "out").unlink()
    assert vmsieve("dump", "-q", "-d", 31, core, tiny_disk / "out").status == 0


def test_the_report_as_a_file(core: Path, tmp_path: Path) -> None:
    """JSON to a file or standard stream, not into a dump; a report that can't be written does not fail the dump."""
    run = vmsieve("dump", "-q", "-d", 31, "--json", tmp_path / "report", core, tmp_path / "one")
    assert (run.status, run.err) == (0, "")
    told = json.loads((tmp_path / "report").read_text())
    assert (told["status"], told["dump_level"], told["output"]) == (0, 31, str(tmp_path / "one"))
    run = vmsieve("dump", "-q", "-d", 31, "--json", "-", core, tmp_path / "two")
    assert (json.loads(run.out)["pages"], run.err) == (told["pages"], "")
    with (tmp_path / "stream").open("wb") as out:
        run = vmsieve("dump", "-q", "-d", 31, core, "-", "--json", stdout=out)
    assert json.loads(run.err)["pages"] == told["pages"]
    run = vmsieve("dump", "-q", "-d", 31, "--json", "/nonexistent/report", core, tmp_path / "three")
    assert (run.status, len(run.lines)) == (0, 1)
    assert "no report: /nonexistent/report" in run.err
    assert vmsieve("verify", core, tmp_path / "three").status == 0


def test_no_run_takes_much_memory(core: Path, tmp_path: Path) -> None:
    """The memory limit of these tests' runs is close to what one takes."""
    run = vmsieve("dump", "-q", "-d", 31, core, tmp_path / "out")
    assert 5 < run.memory < MEMORY
