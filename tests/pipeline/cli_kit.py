"""``vmsieve`` run as by users, and checks that hold for every run."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from tests.dumps import ROOT

#: Limits of a run: peak memory in MiB, and seconds.
MEMORY, PATIENCE = 48, 300.0


@dataclass
class Run:
    """Result of a run: exit status, both streams, peak memory in MiB."""

    status: int
    out: str
    err: str
    memory: float

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "PYTHONWARNINGS": "error"}


def wait(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Exit status and peak memory (MiB) of a process, which is killed if it takes too long.

    The peak is the last one seen before the end: rusage includes the tests' memory.
    """
    end, peak = time.monotonic() + PATIENCE, 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        with contextlib.suppress(OSError):
            found = re.search(r"-m\0vmsieve.*VmHWM:\s+(\d+) kB", _command(process.pid) + status.read_text(), re.DOTALL)
            peak = int(found[1]) if found else peak
        if time.monotonic() > end:
            process.kill()
            process.wait()
            raise AssertionError("it does not come to an end")
        time.sleep(0.002)
    return process.returncode, peak / 1024


def _command(pid: int) -> str:
    """Its command line: the tests' own until it executes its program."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")


def vmsieve(*arguments: object, limit: Callable[[], object] | None = None, **more: Any) -> Run:
    """Run the command line; checks that it ends, in bounded memory, without a traceback."""
    command = [sys.executable, "-m", "vmsieve", *map(str, arguments)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command, stdin=more.pop("stdin", subprocess.DEVNULL), stdout=more.pop("stdout", out), stderr=err,
            env=environment(), preexec_fn=limit, **more,  # noqa: PLW1509 - no threads here
        )  # fmt: skip
        status, memory = wait(process)
        out.seek(0)
        err.seek(0)
        run = Run(status, out.read().decode(), err.read().decode(), memory)
    check(run)
    return run


def check(run: Run) -> None:
    """Check what must hold for every run."""
    assert "Traceback" not in run.err, run.err
    assert "Exception" not in run.err, run.err
    assert run.status in range(5), run
    assert run.memory < MEMORY, run
    if run.status in (1, 2) and not run.out:  # verify lists what is wrong, page by page
        assert len(run.lines) == 1, run.err
        assert run.err.startswith("vmsieve"), run.err
    if run.status in (3, 4):
        assert run.lines or re.search(r"Odd: |odd|Complete: +no", run.out), "a status without a reason"


def failed(run: Run, *words: str) -> None:
    """Check that nothing usable was written, and that one line has the reason, with these words."""
    assert run.status == 1, run
    assert all(word in run.err for word in words), run.err


def shell(text: str, **words: object) -> tuple[list[int], bytes, str]:
    """Run a pipeline; return each command's exit status, standard output and standard error."""
    setting = {name: shlex.quote(str(word)) for name, word in words.items()}
    command = text.format(V=f"{shlex.quote(sys.executable)} -m vmsieve", **setting) + '\necho " ${PIPESTATUS[@]}" >&2'
    run = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, timeout=120, check=False)
    *said, statuses = run.stderr.decode().splitlines()
    assert "Traceback" not in run.stderr.decode(), said
    assert "Exception" not in run.stderr.decode(), said
    return [int(status) for status in statuses.split()], run.stdout, "\n".join(said)
