"""The command line with streams that are closed, full or broken off, at either end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pipeline.cli_kit import shell, vmsieve
from tests.pipeline.kit import contents

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "command", ["dump -q -d 31 -F {core} -", "dump -q -E {core} -", "dump -q --codec none {core} -"]
)
def test_a_reader_that_has_enough(command: str, core: Path) -> None:
    """The pipe is closed after 100 bytes: one line if nothing was written; the exit status shows it."""
    statuses, _, said = shell("{V} " + command + " | head -c 100 > /dev/null", core=core)
    assert statuses[0] == 4 or (statuses[0], said.count("\n")) == (1, 0)
    assert "nobody reads" in said


@pytest.mark.parametrize("command", ["info", "info --json", "info -v", "classes", "classes --json"])
def test_a_reader_of_a_report_that_has_enough(command: str, core: Path) -> None:
    """A closed report pipe is not reported."""
    statuses, _, said = shell("{V} " + command + " {core} | true", core=core)
    assert statuses[0] in (0, 1)
    assert said == ""


@pytest.mark.parametrize("command", ["info {core}", "info --json {core}", "classes {core}", "verify {core} {small}"])
def test_an_unwritable_report(command: str, core: Path, small: Path) -> None:
    statuses, _, said = shell("{V} " + command + " > /dev/full", core=core, small=small)
    assert statuses == [1]
    assert "standard output" in said
    assert said.count("\n") == 0


@pytest.mark.parametrize("options", ["-F", "-E", "-E --frame zstd"])
def test_a_dump_without_a_writable_byte(options: str, core: Path) -> None:
    """No byte is written, wherever bytes are buffered: the dump failed and is not called incomplete."""
    statuses, _, said = shell("{V} dump -q -d 31 " + options + " {core} - > /dev/full", core=core)
    assert (statuses, said) == ([1], "vmsieve dump: standard output: no space for the output, at 0")


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "1>&- 2>&-", "0<&- 1>&- 2>&-", "2> >(true)"])
def test_a_dump_does_not_depend_on_being_heard(closed: str, core: Path, small: Path, tmp_path: Path) -> None:
    """Standard error closed, full or broken: the dump is still made, and no message goes into it."""
    out = tmp_path / "out"
    statuses, _, _ = shell("{V} dump -d 31 {core} {out} " + closed, core=core, out=out)
    assert statuses == [0]
    assert out.read_bytes() == small.read_bytes()


def test_standard_output_without_standard_error(core: Path) -> None:
    """Messages do not mix with the stream."""
    plain = shell("{V} dump -q -d 31 -F {core} -", core=core)
    assert shell("{V} dump -d 31 -F {core} - 2>&-", core=core)[:2] == plain[:2]


def test_standard_output_that_is_closed(core: Path) -> None:
    """A dump or a log to it is an error; a report is dropped."""
    for command in (
        "dump -d 31 -F {core} -",
        "dmesg {core}",
        "vmcoreinfo {core}",
        "makedumpfile --dump-dmesg {core} -",
    ):
        statuses, _, said = shell("{V} " + command + " >&-", core=core)
        assert (statuses, said.count("\n")) == ([1], 0)
        assert "standard output is closed" in said
    for command in ("info {core}", "info --json {core}", "classes {core}"):
        assert shell("{V} " + command + " >&-", core=core) == ([0], b"", "")


def test_through_a_pipe_and_back(core: Path, small: Path, tmp_path: Path) -> None:
    """A flattened dump through a pipe gives the identical file; a truncated one is marked incomplete."""
    out, torn = tmp_path / "out", tmp_path / "torn"
    text = "{V} dump -q -d 31 --order address {core} - | {V} dump -q - {out}"
    assert shell(text, core=core, out=out) == ([0, 0], b"", "")
    assert out.read_bytes() == small.read_bytes()
    out.unlink()
    text = "{V} dump -q -d 31 {core} - | {V} dump -q - {out}"
    assert shell(text, core=core, out=out) == ([0, 0], b"", "")
    assert contents(out) == contents(small)
    text = "{V} dump -q -d 31 {core} - | head -c 150000 | {V} dump -q - {torn}"
    statuses, _, said = shell(text, core=core, torn=torn)
    assert statuses[2] == 4
    assert "incomplete" in said
    assert vmsieve("info", torn).status == 4


def test_an_input_by_redirection(core: Path, small: Path, tmp_path: Path) -> None:
    """Redirected standard input is handled like the file's name."""
    out = tmp_path / "out"
    assert shell("{V} dump -q -d 31 - {out} < {core}", core=core, out=out) == ([0], b"", "")
    assert out.read_bytes() == small.read_bytes()
