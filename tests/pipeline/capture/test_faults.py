"""``vmsieve capture`` with targets that hang, vanish or belong to others, and in a reduced environment."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.capture.capture_kit import breaking, capture, complete, die, limited, names, steps
from tests.pipeline.cli_kit import environment
from tests.pipeline.kit import compared
from vmsieve.formats.errors import OutputError, output_error
from vmsieve.pipeline.capture import child, console, isolation, opening, run, status, work
from vmsieve.pipeline.capture import target as target_module
from vmsieve.pipeline.capture.heartbeat import Heartbeat
from vmsieve.pipeline.capture.options import Request
from vmsieve.pipeline.dump import make as dump_module


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No OOM protection of the tests' process; the log, which does not exist, counts as written."""
    monkeypatch.setattr(run, "protect", lambda: None)
    monkeypatch.setattr(child, "protect", lambda _: None)
    monkeypatch.setattr(work, "_log", lambda _, __: {"complete": True})


def run_request(source: Path, target: Path, **more: Any) -> Request:
    return Request({"input": str(source), "target": str(target), **more})


def test_two_captures_at_once(core: Path, tmp_path: Path) -> None:
    """Another capture holds the target without having written: this one uses a new directory."""
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert run.capture(run_request(core, tmp_path)) == 0
    os.close(held)
    (own,) = tmp_path.iterdir()
    assert names(own) == {"vmcore", "vmcore-status.json"}


def test_a_dangling_link_is_followed(core: Path, tmp_path: Path) -> None:
    """The directory that the link names is created, like the target itself."""
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "crash")
    assert capture(core, tmp_path / "link")[0] == 0
    assert compared(core, tmp_path / "disk" / "crash" / "vmcore").right


def test_a_fifo_without_a_reader(core: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A single wait of ``--stall`` seconds, not one for each step; then an error is reported."""
    os.mkfifo(tmp_path / "fifo")
    began = time.monotonic()
    assert run.capture(run_request(core, tmp_path / "fifo", stall=1)) == 1
    assert "nobody reads from it" in capfd.readouterr().err
    assert time.monotonic() - began >= 1


def test_the_reader_of_a_fifo_outlives_a_step(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step opens the FIFO and dies: its reader sees no end of file, and gets the next step's dump."""

    def broken(job: Any, board: child.Board) -> dict[str, Any]:
        if job.mapped:
            os.open(job.output, os.O_WRONLY)
            die()
        return real(job, board)

    real = work.perform
    monkeypatch.setattr(work, "perform", broken)
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "flat").open("wb") as flat, subprocess.Popen(["cat", tmp_path / "fifo"], stdout=flat):
        code = run.capture(run_request(core, tmp_path / "fifo"))
    assert code == 0
    assert (tmp_path / "flat").read_bytes().startswith(b"makedumpfile")


def test_the_target_is_removed(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is removed half-way: it is created again, and the next step's dump is whole."""
    breaking(monkeypatch, lambda plan: shutil.rmtree(tmp_path / "out") if plan.mapped else None)
    code, told = capture(core, tmp_path / "out")
    assert (code, steps(told)) == (0, [("as asked", "output"), ("with less", "finished")])
    assert compared(core, tmp_path / "out" / "vmcore").right


def test_a_target_that_hangs(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step and the children that touch the target hang: the first process does not, and ends."""
    own, alive = os.getpid(), target_module.Target.writable
    monkeypatch.setattr(
        target_module.Target, "writable", lambda self: time.sleep(30) if os.getpid() != own else alive(self)
    )
    monkeypatch.setattr(isolation, "_ANSWER", 1.0)
    breaking(monkeypatch, lambda _: time.sleep(30))
    code, told = capture(core, tmp_path / "out", stall=1)
    assert (code, told["result"], told["steps"]) == (1, "running", [])


def test_the_record_takes_the_last_file(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record took the last inode: it is deleted for the dump."""

    def no_more_files(_: Any) -> None:
        if (tmp_path / "out" / "vmcore-status.json").exists():
            raise output_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "it", 0)

    breaking(monkeypatch, no_more_files)
    code, told = capture(core, tmp_path / "out")
    assert (code, steps(told)) == (0, [("as asked", "full"), ("as asked", "finished")])
    assert compared(core, tmp_path / "out" / "vmcore").right


def test_a_record_without_room_for_a_second_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record can't be replaced as a whole: it is overwritten, so that it does not stay outdated."""
    path, real = tmp_path / "record", os.open

    def no_more_files(name: str, flags: int, *mode: int, **within: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(name, flags, *mode, **within)

    assert status.write_record(str(path), {"result": "running", "much": "x" * 100}) == ""
    monkeypatch.setattr(os, "open", no_more_files)
    assert status.write_record(str(path), {"result": "whole"}) == ""
    assert path.read_text() == '{\n "result": "whole"\n}\n'
    assert status.write_record(str(tmp_path / "other"), {}) == "the record can't be written: No space left on device"


@pytest.mark.parametrize("dies", [False, True])
def test_a_smaller_dump_that_fails(dies: bool, core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The larger dump stays until the smaller one has begun; if that fails then, the larger one is made again."""

    def fault(plan: Any) -> None:
        limited(plan, 64 << 20 if plan.level == 31 else 1 << 20)
        if plan.level == 31 and not dies:
            raise OutputError("the disk is broken")

    def first_chunk(self: Heartbeat, parts: int) -> None:
        if self._job.level == 31 and self._phase == child.COPYING:
            die(signal.SIGKILL)
        real(self, parts)

    real = Heartbeat.advance
    if dies:
        monkeypatch.setattr(Heartbeat, "advance", first_chunk)
    breaking(monkeypatch, fault)
    code, told = capture(core, tmp_path / "out", level=1, codec="none")
    ends = [("as asked", "full"), ("smaller", "crashed" if dies else "output"), ("as before", "full")]
    assert (code, steps(told)) == (4, ends if dies else ends[:2])
    assert (tmp_path / "out" / "vmcore-incomplete").stat().st_size > 900_000
    assert not complete(tmp_path / "out" / "vmcore-incomplete")


def test_the_target_is_removed_during_a_smaller_dump(
    core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The larger dump was deleted for the smaller: it is made again in the recreated directory."""

    def first_chunk(self: Heartbeat, parts: int) -> None:
        if self._job.level == 31 and self._phase == child.COPYING:
            shutil.rmtree(tmp_path / "out")
            die(signal.SIGKILL)
        real(self, parts)

    real = Heartbeat.advance
    monkeypatch.setattr(Heartbeat, "advance", first_chunk)
    breaking(monkeypatch, lambda plan: limited(plan, 64 << 20 if plan.level == 31 else 1 << 20))
    code, told = capture(core, tmp_path / "out", level=1, codec="none")
    assert (code, steps(told)) == (4, [("as asked", "full"), ("smaller", "crashed"), ("as before", "full")])
    assert (tmp_path / "out" / "vmcore-incomplete").stat().st_size > 900_000


def test_nothing_can_be_read(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No byte of the input is readable: no file of zeros remains as a dump."""

    def unreadable(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(dump_module, "dump", unreadable)
    monkeypatch.setattr(os, "pread", unreadable)
    code, told = capture(core, tmp_path / "out")
    assert (code, told["result"], names(tmp_path / "out")) == (1, "failed", {"vmcore-status.json"})


@pytest.mark.parametrize(("work_of", "end"), [("reads", "finished"), ("sleeps", "stalled")])
def test_a_search_of_memory_counts_as_progress(work_of: str, end: str) -> None:
    """A child without a heartbeat continues as long as it reads."""

    def search(_: child.Board) -> dict[str, Any]:
        until = time.monotonic() + 3.5
        with open("/dev/zero", "rb", buffering=0) as file:
            while time.monotonic() < until:
                if work_of == "reads":
                    file.read(1 << 20)
                time.sleep(0.1)
        return {"end": "finished"}

    watcher = child.Watcher()
    try:
        assert watcher.run(search, child.Board(), child.Limits(stall=1))["end"] == end
    finally:
        watcher.close()


def test_a_log_whose_writer_dies(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child is killed after it wrote the log: the log is known to be whole, and is not written again."""

    def write(job: Any, board: child.Board) -> dict[str, Any]:
        Path(job.log).write_text("the log")
        board.logged = 7
        die(signal.SIGKILL)
        return {}

    monkeypatch.setattr(work, "_log", write)
    code, told = capture(core, tmp_path / "out")
    assert (code, told["lost"], steps(told)) == (0, [], [("as asked", "crashed"), ("with less", "finished")])
    log = str(tmp_path / "out" / "vmcore-dmesg.txt")
    assert told["log"] == {"file": log, "bytes": 7, "complete": True, "error": ""}


def test_a_host_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's default host name, "(none)", becomes localhost."""
    nobody = os.uname_result(("Linux", "(none)", "6.1", "#1", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: nobody)
    assert opening._stamp().startswith("localhost-")


def python(code: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=environment(), check=False, text=True,
        **{"capture_output": True, "timeout": 60, **more},
    )  # fmt: skip


def test_no_dev_null() -> None:
    """Standard streams are closed and /dev/null is missing: no file gets their numbers."""
    ran = python(
        "import os; from vmsieve.pipeline.process.writing import open_standard_fds\n"
        "out = os.dup(1); os.closerange(0, 3); os.devnull = '/dev/there-is-none'; open_standard_fds()\n"
        "os.write(out, b'%d' % os.open('/', os.O_RDONLY))"
    )
    assert int(ran.stdout) > 2


def test_a_console_that_hangs() -> None:
    """A serial line that is held costs one line's timeout, and no dump."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while _fits(writer):
        pass
    os.set_blocking(writer, True)
    ran = python(
        "from vmsieve.pipeline.capture import console; console._PATIENCE = 0.1\n"
        "console.say('first'); console.say('second'); print(console._Console.deaf)",
        stderr=writer, stdout=subprocess.PIPE, capture_output=False,
    )  # fmt: skip
    os.close(reader)
    os.close(writer)
    assert ran.stdout == "True\n"
    assert not console._Console.deaf


def _fits(fd: int) -> bool:
    try:
        return os.write(fd, b"x" * 4096) > 0
    except BlockingIOError:
        return False


@pytest.mark.parametrize("command", ["capture", "dump"])
def test_control_c_at_the_start(command: str) -> None:
    """SIGINT before it is handled ends the process like SIGTERM, without a traceback."""
    room = {"capture": "capture.run", "dump": "cli.main"}[command]
    ran = python(
        f"import os, signal, sys; import vmsieve.pipeline.{room} as room; from vmsieve.pipeline.cli import start\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where a shell started this behind '&'\n"
        "room.main = room.run = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        f"sys.argv = ['vmsieve', '{command}']; start.run()"
    )
    assert (ran.returncode, ran.stderr) == (-signal.SIGINT, "")
