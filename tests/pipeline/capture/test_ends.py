"""``vmsieve capture`` to streams and devices, killed, stopped, without a target: seen from its caller."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import resource
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from tests.dumps import dump
from tests.pipeline.cli_kit import environment, vmsieve
from tests.pipeline.kit import compared

KILLS = 4


@pytest.fixture(scope="module")
def source(scratch: Path) -> Path:
    return dump("demo.elf", scratch)


def start(*words: object, **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "vmsieve", "capture", *map(str, words)],
        env=environment(), stderr=subprocess.PIPE, **more,
    )  # fmt: skip


def ends(*words: object) -> tuple[int, list[str]]:
    """Exit status of a capture, and its messages."""
    running = start(*words)
    _, said = running.communicate(timeout=60)
    return running.returncode, said.decode().splitlines()


def test_a_stream_is_flattened_and_whole(source: Path, tmp_path: Path) -> None:
    """A stream to ssh is rebuilt at the other end, and is right."""
    flat = tmp_path / "flat"
    with flat.open("wb") as out:
        running = start(source, "-", stdout=out)
        running.communicate()
    assert running.returncode == 0
    assert vmsieve("dump", "-q", "-d", "0", "-z", flat, tmp_path / "made").status == 0
    assert compared(source, tmp_path / "made").right


def test_a_stream_that_loses_its_reader(source: Path, tmp_path: Path) -> None:
    """Ssh dies half-way: one try, exit status 4; the received part is rebuilt, right as far as it goes, and marked."""
    running = start(source, "-", stdout=subprocess.PIPE)
    assert running.stdout is not None
    (tmp_path / "flat").write_bytes(running.stdout.read(2 << 20))
    running.stdout.close()
    with running:  # reads its output and waits
        assert running.stderr is not None
        said = running.stderr.read().decode()
    assert running.returncode == 4, said
    assert "as asked: standard output: nobody reads the output any more" in said
    with subprocess.Popen(["cat", tmp_path / "flat"], stdout=subprocess.PIPE) as pipe:
        assert vmsieve("dump", "-", tmp_path / "made", stdin=pipe.stdout).status == 4
    assert vmsieve("verify", source, tmp_path / "made").status == 4


def test_killed_at_any_moment(source: Path, tmp_path: Path) -> None:
    """Both processes are killed at once: only a whole dump has the final name, and all its pages are right."""
    for number in range(KILLS):
        target = tmp_path / str(number)
        running = start("-q", source, target)
        time.sleep(random.Random(number).uniform(0.1, 0.8))
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        victims = [running.pid, *map(int, children.read_text().split())] if children.exists() else [running.pid]
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        running.communicate()
        for path in target.glob("vmcore*"):
            if path.name in ("vmcore", "vmcore-incomplete") and path.stat().st_size:
                assert vmsieve("verify", source, path).status in ((0,) if path.name == "vmcore" else (0, 4))
            if path.name == "vmcore-status.json":
                assert json.loads(path.read_text())["result"] in ("running", "whole")


def test_sigterm(source: Path, tmp_path: Path) -> None:
    """SIGTERM, as from a service manager: the dump is finalised as it is, and the record has the reason."""
    running = start("--codec", "zlib:9", source, tmp_path / "out")
    partial = tmp_path / "out" / "vmcore-incomplete"
    while running.poll() is None and not (partial.exists() and partial.stat().st_size > 1 << 19):
        time.sleep(0.005)
    running.terminate()
    running.communicate(timeout=60)
    if running.returncode == 0:
        pytest.skip("the dump was finished before the signal came")
    told = json.loads((tmp_path / "out" / "vmcore-status.json").read_text())
    assert (running.returncode, told["result"], told["steps"][0]["end"]) == (4, "incomplete", "stopped")
    assert vmsieve("verify", source, partial).status == 4


def test_nowhere_to_write(source: Path, tmp_path: Path) -> None:
    """The target can't be made: exit status 1, and the end of the kernel log goes to the console."""
    (tmp_path / "file").touch()
    status, said = ends(source, tmp_path / "file" / "out")
    assert status == 1
    assert said[0].startswith("vmsieve: can't write to ")
    assert any("sysrq" in line.lower() or "panic" in line.lower() for line in said)


def test_no_room_for_the_log(source: Path, tmp_path: Path) -> None:
    """Files can be created but not written: the end of the kernel log goes to the console."""
    running = start(source, tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    _, said = running.communicate(timeout=60)
    assert running.returncode == 1
    assert b"sysrq" in said.lower()
    assert not list(tmp_path.iterdir())


def test_a_disk_in_use_is_not_overwritten(source: Path, tmp_path: Path) -> None:
    """A disk held by another program, as by a mount, keeps its content."""
    (tmp_path / "disk").write_bytes(bytes(32 << 20))
    made = subprocess.run(
        ["losetup", "-f", "--show", tmp_path / "disk"], check=False, capture_output=True, text=True
    ) if shutil.which("losetup") else None  # fmt: skip
    if made is None or made.returncode:
        pytest.skip("this takes root and loop devices")
    device = made.stdout.strip()
    try:
        fd = os.open(device, os.O_RDONLY | os.O_EXCL)
        status, said = ends("-q", source, device)
        os.close(fd)
        assert (status, not any((tmp_path / "disk").read_bytes())) == (1, True)
        assert "busy" in said[0]
        assert ends("-q", source, device)[0] == 0
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def test_invalid_command_lines_are_refused(source: Path, tmp_path: Path) -> None:
    """No input, a file as target, an absent disk: one line, and no new directory."""
    (tmp_path / "file").touch()
    assert ends(tmp_path / "none", tmp_path / "out")[0] == 1
    assert not (tmp_path / "out").exists()
    assert ends(source, tmp_path / "file")[0] == 2
    assert ends(source, "/dev/vmsieve-no-such-disk")[0] == 1
    assert not os.path.exists("/dev/vmsieve-no-such-disk")
    status, said = ends("-d", "99", source, tmp_path / "out")
    assert status == 2
    assert said == ["vmsieve capture: -d takes a number from 0 to 31, not '99'"]


@pytest.mark.parametrize("codec", ["rot13", "zstd:99"])
def test_a_wrong_codec_is_replaced(codec: str, source: Path, tmp_path: Path) -> None:
    """After a crash a wrong codec is replaced by another one, with a message."""
    status, said = ends("--codec", codec, source, tmp_path)
    assert status == 0
    assert said[0].startswith("vmsieve: as asked: ")
    assert "codec" in said[0]
    assert compared(source, tmp_path / "vmcore").right


def test_started_with_sigchld_ignored(source: Path, tmp_path: Path) -> None:
    """Started with SIGCHLD ignored, by an init or ``trap '' CHLD``: the ends of steps are still seen."""
    running = start("-q", source, tmp_path, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    running.communicate(timeout=60)
    assert running.returncode == 0
    assert compared(source, tmp_path / "vmcore").right


def test_a_terminal_does_not_stop_the_child() -> None:
    """With ``stty tostop`` a background process may not write to the terminal; the child, in its own group, may."""
    code = (
        "import fcntl, os, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0)\n"
        "from vmsieve.pipeline.capture.child import Board, Limits, Watcher\n"
        "told = Watcher().run(lambda board: {'end': str(os.write(2, b'said'))}, Board(), Limits(stall=3))\n"
        "os.write(1, told['end'].encode())"
    )
    try:
        front, back = pty.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminal here: {error}")
    modes = termios.tcgetattr(back)
    modes[3] |= termios.TOSTOP
    termios.tcsetattr(back, termios.TCSANOW, modes)
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, stderr=back, check=False,
        start_new_session=True,
    )  # fmt: skip
    os.close(back)
    os.close(front)
    assert ran.stdout == b"4"


def test_the_first_process_stays_small() -> None:
    """The first process loads no large module, as its memory counts twice."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "import vmsieve.pipeline.capture.run, vmsieve.pipeline.capture.options, vmsieve.pipeline.cli.start\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    ran = subprocess.run([sys.executable, "-S", "-c", code], env=environment(), capture_output=True, check=True)
    loaded = {name for name in ran.stdout.decode().split() if not name.startswith("vmsieve")}
    assert loaded <= {
        "__future__",
        "abc",  # for os; loaded at start by Python 3.13 and before
        "_abc",
        "errno",
        "gc",  # built in
        "mmap",
        "os",
        "os.path",
        "posixpath",
        "genericpath",
        "stat",
        "_stat",
        "_collections_abc",
    }
