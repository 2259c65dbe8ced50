"""``vmsieve capture`` as a crash kernel runs it: its files without a fault, and on each step of its ladder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.dumps import dump as real_dump
from tests.pipeline.capture.capture_kit import breaking, capture, complete, die, limited, names, record, steps
from tests.pipeline.cli_kit import environment
from tests.pipeline.kit import Damaged, compared, contents, expected, kept, machine, readable
from vmsieve.formats.inputs import open_source
from vmsieve.formats.systems import open_system
from vmsieve.pipeline.capture import child, opening, run, work
from vmsieve.pipeline.capture.heartbeat import Heartbeat
from vmsieve.pipeline.capture.opening import in_memory
from vmsieve.pipeline.capture.options import Request

if TYPE_CHECKING:
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.capture.job import Job
    from vmsieve.pipeline.dump.plan import Plan


@pytest.fixture(autouse=True)
def _unprotected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the tests' process without OOM protection."""
    monkeypatch.setattr(run, "protect", lambda: None)
    monkeypatch.setattr(child, "protect", lambda _: None)


@pytest.fixture(autouse=True)
def _log_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up machine has no log. It counts as written, so that memory is not searched for it."""
    monkeypatch.setattr(work, "_log", lambda _, __: {"complete": True})


def test_log_dump_and_record(scratch: Path, tmp_path: Path) -> None:
    """The log, the dump as of level 31 and the record are written; no unfinished file is left."""
    source = real_dump("demo.elf", scratch)
    ran = subprocess.run(
        [sys.executable, "-m", "vmsieve", "capture", source, tmp_path / "crash"],
        env=environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    told = record(tmp_path / "crash")
    assert ran.returncode == 0, ran.stderr
    assert names(tmp_path / "crash") == {"vmcore", "vmcore-dmesg.txt", "vmcore-status.json"}
    assert compared(source, tmp_path / "crash" / "vmcore").right
    assert "Linux version" in (tmp_path / "crash" / "vmcore-dmesg.txt").read_text()
    assert (told["result"], told["exit_status"], told["log"]["complete"], told["lost"]) == ("whole", 0, True, [])
    assert told["dump"]["pages"]["kept"] > 0
    assert ran.stderr.splitlines()[-1].startswith("vmsieve: whole: ")
    assert not any(ord(one) < 32 and one != "\n" for one in ran.stderr), "control codes on a serial console"
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "crash").iterdir()} == {0o600}


def test_a_crash_of_one_step_is_survived(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segmentation fault in mapped input: the next step does not map, and the dump is as requested."""
    breaking(monkeypatch, lambda plan: die() if plan.mapped else None)
    status, told = capture(core, tmp_path / "out")
    assert status == 0
    assert steps(told) == [("as asked", "crashed"), ("with less", "finished")]
    assert "SIGSEGV" in told["steps"][0]["error"]
    assert kept(tmp_path / "out" / "vmcore") == expected(machine(), 31)


def test_a_misleading_note_is_replaced(scratch: Path, tmp_path: Path) -> None:
    """The note has a wrong mem_section, memory the right one: it is found by a search, and filtered as requested."""
    right = real_dump("demo.elf", scratch)
    source = Path(shutil.copy(right, tmp_path / "core"))
    with source.open("r+b") as file:
        start = file.read(1 << 20)
        file.seek(start.index(b"SYMBOL(mem_section)=ffff") + len("SYMBOL(mem_section)=ffff"))
        file.write(b"0123")
    status, told = capture(source, tmp_path / "out")
    assert (status, steps(told)) == (0, [("as asked", "finished")])
    assert any("VMCOREINFO" in note for note in told["steps"][0]["notes"])
    assert compared(right, tmp_path / "out" / "vmcore").right
    made = open_source(str(tmp_path / "out" / "vmcore"))
    assert made.vmcoreinfo is not None
    assert made.vmcoreinfo in right.read_bytes(), "readers get the note that is right"


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGBUS, MemoryError, RecursionError])
def test_no_step_that_knows_kernels_works(
    fault: Any, core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If every step that analyses the kernel fails, all pages are kept, compressed."""

    def broken(plan: Plan) -> None:
        if plan.basis != "headers":
            if isinstance(fault, signal.Signals):
                die(fault)
            raise fault

    breaking(monkeypatch, broken)
    status, told = capture(core, tmp_path / "out")
    assert status == 3
    assert steps(told)[-1] == ("unfiltered", "finished")
    assert [name for name, _ in steps(told)] == [
        "as asked", "with less", "facts from memory", "facts from symbols", "unfiltered",
    ]  # fmt: skip
    assert kept(tmp_path / "out" / "vmcore") == set(machine().frames())
    assert told["dump"]["level"] == 1


def test_nothing_but_a_plain_copy_works(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step copies the input byte by byte, with holes where it is zero."""
    breaking(monkeypatch, lambda _: die())
    status, told = capture(core, tmp_path / "out")
    assert (status, steps(told)[-1]) == (3, ("plain copy", "finished"))
    made = tmp_path / "out" / "vmcore"
    assert made.read_bytes() == core.read_bytes()
    assert made.stat().st_blocks * 512 <= core.stat().st_size


def test_a_kernel_of_which_too_little_is_known(tmp_path: Path) -> None:
    """If no basis gives enough knowledge, a weaker dump is made after all were tried."""
    built = machine()
    text = b"\n".join(line for line in built.vmcoreinfo().splitlines() if b"mem_section)" not in line) + b"\n"
    source = built.write(tmp_path / "core", text)
    status, told = capture(source, tmp_path / "out")
    if steps(told)[-1][0] == "facts from memory":
        pytest.fail("the made-up machine has the right note in memory: the test proves nothing")
    assert (status, steps(told)[-1]) == (3, ("what is known", "finished"))
    assert ("with less", "weaker") not in steps(told), "the same facts were asked twice"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_full_target_keeps_the_partial_dump(
    share: float, core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without space for level 31 the partial dump is readable, right, marked and named as incomplete, never vmcore."""
    status, _ = capture(core, tmp_path / "whole", codec="none")
    whole = (tmp_path / "whole" / "vmcore").stat().st_size
    breaking(monkeypatch, lambda plan: limited(plan, int(whole * share)))
    status, told = capture(core, tmp_path / "out", codec="none")
    assert (status, told["result"]) == (4, "incomplete")
    assert names(tmp_path / "out") == {"vmcore-incomplete", "vmcore-status.json"}
    assert not complete(tmp_path / "out" / "vmcore-incomplete")
    right = contents(tmp_path / "whole" / "vmcore")
    assert readable(tmp_path / "out" / "vmcore-incomplete").items() <= right.items()
    assert told["dump"]["file"].endswith("vmcore-incomplete")


def test_a_smaller_dump_where_the_larger_did_not_fit(
    core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Level 1 fills the disk, and level 31 is known to fit: level 31 is made completely."""
    breaking(monkeypatch, lambda plan: limited(plan, 64 << 20 if plan.level == 31 else 1 << 20))
    status, told = capture(core, tmp_path / "out", level=1, codec="none")
    assert steps(told) == [("as asked", "full"), ("smaller", "finished")]
    assert (status, told["dump"]["level"]) == (3, 31)
    assert names(tmp_path / "out") == {"vmcore", "vmcore-status.json"}
    assert kept(tmp_path / "out" / "vmcore") == expected(machine(), 31)


def test_a_deadline_ends_with_a_readable_dump(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If time is up while pages are copied, the copied pages are readable and the dump is marked incomplete."""
    told_before = Heartbeat.advance

    def advance(beat: Any, parts: int) -> None:
        if beat._phase == child.COPYING:
            beat._job.end = time.monotonic()
        told_before(beat, parts)

    monkeypatch.setattr(Heartbeat, "advance", advance)
    status, told = capture(core, tmp_path / "out", deadline=1000, level=0)
    assert (status, steps(told)) == (4, [("as asked", "stopped")])
    assert 0 < len(readable(tmp_path / "out" / "vmcore-incomplete")) < len(machine().frames())
    assert not complete(tmp_path / "out" / "vmcore-incomplete")


def test_a_step_that_hangs_is_given_up(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step without progress for the allowed time is killed, and the next one works."""
    breaking(monkeypatch, lambda plan: time.sleep(60) if plan.mapped else None)
    status, told = capture(core, tmp_path / "out", stall=5)
    assert (status, steps(told)) == (0, [("as asked", "stalled"), ("with less", "finished")])


def test_unreadable_pages_are_counted(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unreadable pages are left out, counted and reported; the dump has all others."""
    bad = set(sorted(expected(machine(), 31))[40:45])

    def opened(path: str, select: str | None = None) -> Source:
        return Damaged(open_system(path, select), bad)

    monkeypatch.setattr("vmsieve.pipeline.dump.make.open_system", opened)
    status, told = capture(core, tmp_path / "out")
    assert (status, told["lost"][0]) == (4, "5 pages could not be read")
    assert set(readable(tmp_path / "out" / "vmcore")) == expected(machine(), 31) - bad


def test_a_directory_that_holds_a_dump_is_left_as_it_is(core: Path, tmp_path: Path) -> None:
    """A second crash in the same directory gets a new directory."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "vmcore").write_bytes(b"an earlier crash")
    assert run.capture(Request({"input": str(core), "target": str(target)})) == 0
    (made,) = (path for path in target.iterdir() if path.is_dir())
    assert (target / "vmcore").read_bytes() == b"an earlier crash"
    assert names(made) == {"vmcore", "vmcore-status.json"}


@pytest.mark.parametrize("name", ["vmcore-dmesg-incomplete.txt", "vmcore-status.json"])
def test_an_earlier_crashs_partial_log_stays(name: str, core: Path, tmp_path: Path) -> None:
    """A directory with only a partial log or the record keeps it."""
    (tmp_path / name).write_bytes(b"an earlier crash")
    assert run.capture(Request({"input": str(core), "target": str(tmp_path)})) == 0
    assert (tmp_path / name).read_bytes() == b"an earlier crash"
    assert not (tmp_path / "vmcore").exists()


def test_a_target_in_memory_is_reported(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a crash kernel without a mount the dump is made, and the record says that it will be lost."""
    assert in_memory(os.stat("/dev").st_dev) or not os.path.ismount("/dev")
    assert not in_memory(os.stat("/proc").st_dev)
    monkeypatch.setattr(run, "DEFAULT_INPUT", os.path.realpath(core))
    monkeypatch.setattr(opening, "in_memory", lambda _: True)
    status, told = capture(core, tmp_path / "out")
    assert (status, told["result"]) == (0, "whole")
    assert "lost when it restarts" in told["lost"][0]


def test_the_record_replaces_no_other_file(core: Path, tmp_path: Path) -> None:
    """The record never replaces the dump, the input or a device, wherever it is requested."""
    source = tmp_path / "in"
    os.link(core, source)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for number, status in enumerate((tmp_path / "out0" / "vmcore", source, fifo)):
        target = tmp_path / f"out{number}"
        run.capture(Request({"input": str(source), "target": str(target), "status": str(status)}))
        assert contents(target / "vmcore")
        assert (target / "vmcore-status.json").exists() == (status != fifo)
    assert fifo.is_fifo()
    assert source.stat().st_size == core.stat().st_size


@pytest.mark.parametrize("source", ["empty", "folder", "/dev/zero"])
def test_an_input_without_bytes_is_no_dump(source: str, tmp_path: Path) -> None:
    """Without a byte of input no file is named a dump, and the capture ends."""
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    status, told = capture(tmp_path / source, tmp_path / "out")
    assert (status, told["result"], told["dump"]) == (1, "failed", None)
    assert names(tmp_path / "out") == {"vmcore-status.json"}


def test_no_room_for_a_later_step_either(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step dies half-way; the second has no space: the record names the first one's dump."""
    real = work.perform

    def broken(job: Job, board: child.Board) -> dict[str, Any]:
        if job.mapped:
            Path(job.output).write_bytes(b"x" * 500)
            board.tell(child.COPYING, 1, 2)
            die(signal.SIGKILL)
        job.limit = 1
        return real(job, board)

    monkeypatch.setattr(work, "perform", broken)
    status, told = capture(core, tmp_path / "out", level=1)
    assert (status, told["dump"]["share"]) == (4, "50 %")
    assert steps(told)[:2] == [("as asked", "crashed"), ("with less", "full")]


def test_an_earlier_steps_dump_stays_until_there_is_more(
    core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step dies half-way, the next one earlier: the better partial dump is kept."""
    total = len(expected(machine(), 31))

    def broken(job: Job, board: child.Board) -> dict[str, Any]:
        share = {("note", True): 0.5, ("note", False): 0.2}.get((job.basis, job.mapped), 0.0)
        Path(job.output).write_bytes(b"x" * int(share * 1000))
        board.tell(child.COPYING if share else child.OPENING, int(share * total), total)
        die(signal.SIGKILL)
        return {}

    monkeypatch.setattr(work, "perform", broken)
    status, told = capture(core, tmp_path / "out")
    assert status == 4
    assert [end for _, end in steps(told)] == ["crashed"] * 6
    assert (tmp_path / "out" / "vmcore-incomplete").stat().st_size == 500
    assert names(tmp_path / "out") == {"vmcore-incomplete", "vmcore-status.json"}
