"""An input that is truncated while it is read: the rest is used, and the loss is reported."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.build.machine import PAGE, Machine
from tests.pipeline.cli_kit import vmsieve
from tests.pipeline.dump.shrinking_kit import vmsieve_shrinking
from tests.pipeline.kit import contents, expected, kept, make, readable
from vmsieve.formats.errors import VmsieveError

_SHORTER = "the file has become shorter while it was read"
# Bytes left, of 34 MiB: all but one; up to the middle of a page; without struct pages; none.
_LEFT = [-1, (30 << 20) + 1000, (9 << 20) + 1, 0]


@pytest.fixture
def victim(core: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(core, tmp_path / "victim"))


def _left(path: Path, left: int) -> int:
    return left if left >= 0 else path.stat().st_size + left


@pytest.mark.parametrize("left", _LEFT)
@pytest.mark.parametrize("moment", ["pack_pages:3", "classify_pages:1", "sieve_stored:1"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_dump_is_incomplete_and_right(
    threads: int, moment: str, left: int, victim: Path, core: Path, built: Machine, tmp_path: Path
) -> None:
    """Each page in the dump is the machine's; pages still in the input that no level drops are in it.

    The input shrinks between two runs of a loop over one mapping, or before a loop that reads.
    """
    out, left = tmp_path / "out", _left(victim, left)
    run = vmsieve_shrinking(victim, moment, left, "dump", "-d", 31, "--threads", threads, victim, out)
    assert run.status == 4
    assert sum(_SHORTER in line for line in run.lines) == 1, run.err
    found, truth = readable(out), built.contents()
    assert all(truth[pfn] == content for pfn, content in found.items())
    assert expected(built, 31) & _in_the_first(left, core, tmp_path / "short") <= set(found)
    whole = vmsieve("verify", core, out)
    assert whole.status == 4
    assert "DIFFER" not in whole.out


def _in_the_first(left: int, core: Path, short: Path) -> set[int]:
    """Page frames that a core of so many bytes still has as a whole."""
    short.write_bytes(core.read_bytes()[: left // PAGE * PAGE])
    try:
        return kept(short)
    except VmsieveError:
        return set()


@pytest.mark.parametrize("left", _LEFT)
@pytest.mark.parametrize("moment", ["zero_pages:2", "classify_pages:1", "sieve_stored:1"])
def test_classes_are_those_of_what_is_left(moment: str, left: int, victim: Path) -> None:
    run = vmsieve_shrinking(victim, moment, _left(victim, left), "classes", victim)
    assert run.status == 4
    assert _SHORTER in run.err


@pytest.mark.parametrize("left", [-1, (9 << 20) + 1])
@pytest.mark.parametrize("which", ["source", "dump"])
def test_verify_reports_no_page_as_different(which: str, left: int, core: Path, victim: Path, tmp_path: Path) -> None:
    """A source or a dump that shrinks is not reported as different."""
    small = tmp_path / "small"
    make(core, small, 1, format="elf")
    cut = victim if which == "source" else small
    run = vmsieve_shrinking(cut, "classify_pages:1", _left(cut, left), "verify", victim, small)
    assert run.status == 4
    assert _SHORTER in run.err
    assert "DIFFER" not in run.out


@pytest.mark.parametrize("number", [0, 1, 2, 4, 9, 16])
def test_info_is_typed(number: int, victim: Path) -> None:
    """Depending on the bytes read by then: a description and status 4, or one line with the reason."""
    run = vmsieve_shrinking(victim, f"read:{number}", 200, "info", victim)
    assert run.status == (4 if run.out else 1)
    assert ("shorter while it was read" in run.out) == (run.status == 4)


def test_an_input_that_stays_is_whole(core: Path, built: Machine, tmp_path: Path) -> None:
    run = vmsieve("dump", "-d", 31, core, tmp_path / "out")
    assert run.status == 0
    assert _SHORTER not in run.err
    assert set(contents(tmp_path / "out")) == expected(built, 31)
    assert len(built.frames()) * PAGE == 32 << 20
