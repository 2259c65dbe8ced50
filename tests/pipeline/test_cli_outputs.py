"""The command line and outputs that refuse, fill up or go away, and runs that are stopped in the middle."""

from __future__ import annotations

import json
import os
import resource
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.pipeline.cli_kit import MEMORY, environment, failed, vmsieve
from tests.pipeline.kit import contents, expected, make, pages
from vmsieve.formats.errors import FormatError, ReadError
from vmsieve.formats.files import PlainFile
from vmsieve.formats.inputs import open_source
from vmsieve.formats.outputs.elf import ElfWriter
from vmsieve.formats.outputs.kdump import KdumpWriter
from vmsieve.pipeline.cli import main
from vmsieve.pipeline.pages import Gatherer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.build.machine import Machine

FORMATS = {"kdump": ["--codec", "none"], "elf": ["-E"], "flattened": ["-F", "--codec", "none"]}


@pytest.fixture(scope="module")
def small(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a dump of level 31 is when nothing gets in its way."""
    out = tmp_path_factory.mktemp("small") / "small"
    make(core, out, 31)
    return out


@pytest.fixture(scope="module")
def wholes(core: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[int]]:
    """The pages that a dump of level 31 holds in each format when nothing gets in its way."""
    folder, found = tmp_path_factory.mktemp("wholes"), {}
    for form in FORMATS:
        make(core, folder / form, 31, format="elf" if form == "elf" else "kdump")
        found[form] = set(contents(folder / form))
    return found


def salvaged(path: Path, truth: dict[int, bytes]) -> tuple[bool, set[int]]:
    """Whether a dump claims to be whole, and its readable pages, none of which may be wrong.

    In an ELF core, pages that were not written any more read as zeros: the file's mark is what tells.
    """
    source = open_source(str(path))
    try:
        good, out = set(), bytearray(4096)
        for pfn in pages(source)[1]:
            try:
                source.read_into(pfn << 12, memoryview(out))
            except ReadError:
                continue
            if source.format.startswith("ELF") and source.incomplete and out == bytes(4096):
                continue
            assert out == truth[pfn], hex(pfn)
            good.add(pfn)
        return not source.incomplete, good
    finally:
        source.close()


def never_whole(
    core: Path, out: Path, truth: dict[int, bytes], all_pages: set[int] | None = None, *, commands: bool = True
) -> set[int]:
    """Check that what is left of a dump is not taken for a whole one, unless it is; returns its good pages."""
    if not out.exists() or out.stat().st_size == 0:
        return set()
    try:
        whole, good = salvaged(out, truth)
    except FormatError:
        assert not commands or vmsieve("info", out).status == 1
        return set()
    if whole and good == all_pages:
        return good  # the last byte that matters was written
    assert not whole
    if commands:
        assert vmsieve("info", out).status == 4
        assert vmsieve("verify", core, out).status in (1, 4)
    return good


@pytest.mark.parametrize("place", ["/nonexistent/out", "/", "core/out", "/dev/full", "/proc/out"])
def test_an_output_that_can_not_be(place: str, core: Path) -> None:
    failed(vmsieve("dump", "-d", 31, core, core.parent / place), place)


def test_an_output_that_is_there_or_the_input(core: Path, small: Path, tmp_path: Path) -> None:
    """Untouched, and the user is told how to have it otherwise."""
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
    """A file that may not grow any more: what was written is readable and marked, and the exit status tells."""
    out = tmp_path / "out"
    run = vmsieve(
        "dump", "-q", "-d", 31, *FORMATS[form], core, out,
        limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert run.status in (1, 4)
    assert "no room" in run.err
    good = never_whole(core, out, truth)
    if limit == 3_000_000:
        assert good
        assert good < wholes[form]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("limit", [100_000, 3_000_000])
def test_a_size_limit(
    form: str, limit: int, core: Path, truth: dict[int, bytes], wholes: dict[str, set[int]], tmp_path: Path
) -> None:
    """No byte more than was allowed: what was written is readable, marked, and the report says why it ends."""
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
    assert vmsieve("dump", "-q", "-d", 31, "--size-limit", "1G", core, tmp_path / "out").status == 0
    assert (tmp_path / "out").read_bytes() == small.read_bytes()
    for size in ("0", "x", "-5", "1Q", ""):
        assert vmsieve("dump", "--size-limit", size, core, tmp_path / "none").status == 2
    assert vmsieve("dump", "-E", "--frame", "zstd", "--size-limit", "1M", core, tmp_path / "none").status == 2


def test_an_input_that_is_not_to_be_mapped(
    core: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read, and the dump is the same."""

    def refuse(*_: object) -> bool:
        raise AssertionError("the input was mapped")

    monkeypatch.setattr(PlainFile, "map_at", refuse)
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
    """As above, on a real file system that runs out of blocks; removing the dump gives all of them back."""
    run = vmsieve("dump", "-q", "-d", 31, *FORMATS[form], core, tiny_disk / "out")
    assert run.status == 4
    assert "no room" in run.err
    assert len(never_whole(core, tiny_disk / "out", truth)) > 100
    (tiny_disk / "out").unlink()
    assert vmsieve("dump", "-q", "-d", 31, core, tiny_disk / "out").status == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("form", FORMATS)
def test_a_signal_in_the_middle(
    form: str, threads: int, number: signal.Signals, core: Path, built: Machine, truth: dict[int, bytes],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """After some chunks: the dump so far is closed in order and marked, and the exit status says usable."""
    claim, left = Gatherer.claim, 12

    def interrupted(self: Gatherer, buffer: Any) -> bool:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)
        return claim(self, buffer)

    monkeypatch.setattr(Gatherer, "claim", interrupted)
    before = signal.getsignal(number)
    status = main(["dump", "-q", "--threads", str(threads), *FORMATS[form], str(core), str(tmp_path / "out")])
    monkeypatch.undo()
    assert (status, signal.getsignal(number)) == (4, before)
    assert f"stopped by {number.name}" in capsys.readouterr().err
    whole, good = salvaged(tmp_path / "out", truth)
    assert not whole
    assert good
    assert good < expected(built, 0)


@pytest.mark.parametrize("moment", ["begin", "pages", "end"])
@pytest.mark.parametrize("writer", [KdumpWriter, ElfWriter])
def test_a_signal_at_an_odd_moment(
    moment: str, writer: Any, core: Path, truth: dict[int, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Before the first page is written, or after the last one: never a whole dump unless it is one."""
    method = getattr(writer, moment)

    def interrupted(self: Any, *words: Any, **more: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        method(self, *words, **more)

    monkeypatch.setattr(writer, moment, interrupted)
    form = ["-E"] if writer is ElfWriter else []
    status = main(["dump", "-q", *form, str(core), str(tmp_path / "out")])
    monkeypatch.undo()
    assert status in (1, 4)
    assert capsys.readouterr().err.count("\n") == 1
    never_whole(core, tmp_path / "out", truth)


def test_a_signal_before_anything_was_written(
    core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While pages are classified: nothing usable, so nothing is left behind."""

    def interrupted(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("vmsieve.pipeline.dump.scan", interrupted)
    assert main(["dump", "-d", "31", str(core), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "vmsieve: stopped by SIGINT\n"
    assert not (tmp_path / "out").exists()


# Runs the command line, and dies without warning at the n-th write to the output, half of which is done.
DIES = """
import os, signal, sys
left, write = int(sys.argv[1]), {function}
def dying(fd, data, *place):
    global left
    left -= 1
    if left == 0:
        write(fd, data[: len(data) // 2], *place)
        os.kill(os.getpid(), signal.SIGKILL)
    return write(fd, data, *place)
{function} = dying
from vmsieve.pipeline.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("form", FORMATS)
def test_killed_at_any_write(
    form: str, core: Path, truth: dict[int, bytes], wholes: dict[str, set[int]], tmp_path: Path
) -> None:
    """No time for last words: what is there is never taken for a whole dump, and its readable pages are right."""
    function = "os.write" if form == "flattened" else "os.pwrite"
    # A stream is written in very many pieces: not each of them is tried.
    numbers = [*range(1, 6), *range(6, 400, 9 if form == "flattened" else 1)]
    most = 0
    for number in numbers:
        out = tmp_path / f"out{number}"
        words = ["dump", "-q", "-d", "31", *FORMATS[form], str(core), str(out)]
        run = subprocess.run(
            [sys.executable, "-c", DIES.format(function=function), str(number), *words],
            env=environment(), capture_output=True, check=False,
        )  # fmt: skip
        if run.returncode == 0:
            assert salvaged(out, truth)[0]
            break
        assert run.returncode == -signal.SIGKILL, run.stderr
        most = max(most, len(never_whole(core, out, truth, wholes[form], commands=number % 4 == 1)))
        out.unlink()
    else:
        pytest.fail("it never got to the end")
    assert number > 5
    assert most > 100


def shell(text: str, **words: object) -> tuple[list[int], bytes, str]:
    """Run a pipeline; returns the exit status of each of its commands, standard output and standard error."""
    setting = {name: shlex.quote(str(word)) for name, word in words.items()}
    command = text.format(V=f"{shlex.quote(sys.executable)} -m vmsieve", **setting) + '\necho " ${PIPESTATUS[@]}" >&2'
    run = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, timeout=120, check=False)
    *said, statuses = run.stderr.decode().splitlines()
    assert "Traceback" not in run.stderr.decode(), said
    assert "Exception" not in run.stderr.decode(), said
    return [int(status) for status in statuses.split()], run.stdout, "\n".join(said)


@pytest.mark.parametrize(
    "command", ["dump -q -d 31 -F {core} -", "dump -q -E {core} -", "dump -q --codec none {core} -"]
)
def test_a_reader_that_has_enough(command: str, core: Path) -> None:
    """The pipe is closed after 100 bytes: that is said, in one line if nothing usable came out; the status tells."""
    statuses, _, said = shell("{V} " + command + " | head -c 100 > /dev/null", core=core)
    assert statuses[0] == 4 or (statuses[0], said.count("\n")) == (1, 0)
    assert "nobody reads" in said


@pytest.mark.parametrize("command", ["info", "info --json", "info -v", "classes", "classes --json"])
def test_a_reader_of_a_report_that_has_enough(command: str, core: Path) -> None:
    """That is no fault worth a word."""
    statuses, _, said = shell("{V} " + command + " {core} | true", core=core)
    assert statuses[0] in (0, 1)
    assert said == ""


@pytest.mark.parametrize("command", ["info {core}", "info --json {core}", "classes {core}", "verify {core} {small}"])
def test_a_report_that_can_not_be_written(command: str, core: Path, small: Path) -> None:
    statuses, _, said = shell("{V} " + command + " > /dev/full", core=core, small=small)
    assert statuses == [1]
    assert "standard output" in said
    assert said.count("\n") == 0


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "1>&- 2>&-", "0<&- 1>&- 2>&-", "2> >(true)"])
def test_a_dump_does_not_depend_on_being_heard(closed: str, core: Path, small: Path, tmp_path: Path) -> None:
    """Standard error closed, full or gone: the dump is made all the same, and nothing is said into it."""
    out = tmp_path / "out"
    statuses, _, _ = shell("{V} dump -d 31 {core} {out} " + closed, core=core, out=out)
    assert statuses == [0]
    assert out.read_bytes() == small.read_bytes()


def test_standard_output_without_standard_error(core: Path) -> None:
    """What would have been said does not get into the stream."""
    plain = shell("{V} dump -q -d 31 -F {core} -", core=core)
    assert shell("{V} dump -d 31 -F {core} - 2>&-", core=core)[:2] == plain[:2]


def test_standard_output_that_is_closed(core: Path) -> None:
    """A dump to it is told to be impossible; a report is simply not seen."""
    statuses, _, said = shell("{V} dump -d 31 -F {core} - >&-", core=core)
    assert (statuses, said.count("\n")) == ([1], 0)
    assert "standard output" in said
    for command in ("info {core}", "info --json {core}", "classes {core}"):
        assert shell("{V} " + command + " >&-", core=core) == ([0], b"", "")


def test_through_a_pipe_and_back(core: Path, small: Path, tmp_path: Path) -> None:
    """A flattened dump through a pipe is rebuilt to the very file; one that breaks off is marked incomplete."""
    out, torn = tmp_path / "out", tmp_path / "torn"
    text = "{V} dump -q -d 31 {core} - | {V} dump -q - {out}"
    assert shell(text, core=core, out=out) == ([0, 0], b"", "")
    assert out.read_bytes() == small.read_bytes()
    text = "{V} dump -q -d 31 {core} - | head -c 150000 | {V} dump -q - {torn}"
    statuses, _, said = shell(text, core=core, torn=torn)
    assert statuses[2] == 4
    assert "incomplete" in said
    assert vmsieve("info", torn).status == 4


def test_an_input_by_redirection(core: Path, small: Path, tmp_path: Path) -> None:
    """Standard input that is a file is as good as its name."""
    out = tmp_path / "out"
    assert shell("{V} dump -q -d 31 - {out} < {core}", core=core, out=out) == ([0], b"", "")
    assert out.read_bytes() == small.read_bytes()


def test_the_report_as_a_file(core: Path, tmp_path: Path) -> None:
    """JSON beside the dump, or on standard error; one that can't be written does not cost the dump."""
    run = vmsieve("dump", "-q", "-d", 31, "--json", tmp_path / "report", core, tmp_path / "one")
    assert (run.status, run.err) == (0, "")
    told = json.loads((tmp_path / "report").read_text())
    assert (told["status"], told["dump_level"], told["output"]) == (0, 31, str(tmp_path / "one"))
    run = vmsieve("dump", "-q", "-d", 31, "--json", "-", core, tmp_path / "two")
    assert json.loads(run.err)["pages"] == told["pages"]
    run = vmsieve("dump", "-q", "-d", 31, "--json", "/nonexistent/report", core, tmp_path / "three")
    failed(run, "/nonexistent/report")


def test_no_run_takes_much_memory(core: Path, tmp_path: Path) -> None:
    """The limit that every run of these tests is held to is not far above what one takes."""
    run = vmsieve("dump", "-q", "-d", 31, core, tmp_path / "out")
    assert 5 < run.memory < MEMORY
