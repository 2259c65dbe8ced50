"""Shared by all measurements: run commands, interleave them, take medians.

CPU seconds are the figures to trust on a machine that others use too; wall time counts only where nothing else runs.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")

#: Rounds that are made however long they take.
_LEAST = 3

#: The peak memory of a child is at least its parent's at the fork. So a small process starts it.
_LAUNCHER = """
import os, sys, time
log, *command = sys.argv[1:]
out = os.dup(1)
os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
os.dup2(1, 2)
began = time.monotonic()
child = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_CLOSE, out)])
_, status, used = os.wait4(child, 0)
wall = time.monotonic() - began
os.write(out, f"{status} {used.ru_utime} {used.ru_stime} {wall} {used.ru_maxrss} {used.ru_inblock}".encode())
"""


class CommandError(RuntimeError):
    """A measured command failed."""


@dataclass(frozen=True)
class Usage:
    """Resources that one process used.

    Attributes:
        user, system: CPU seconds.
        wall: Seconds from start to end.
        rss: Most resident memory in MiB. Mapped pages of files count: makedumpfile's includes its windows on the input.
        size: Bytes of the output file, or 0.
        read: MiB read from disks.
        others: Cores that other processes, and other guests of the host, kept busy meanwhile.
    """

    user: float
    system: float
    wall: float
    rss: float
    size: int = 0
    read: float = 0.0
    others: float = 0.0

    @property
    def cpu(self) -> float:
        """User and system seconds."""
        return self.user + self.system


def environment() -> dict[str, str]:
    """Return the environment to measure in: compiled Python files are cached, as in an installation."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run(command: Sequence[str], output: Path | None = None) -> Usage:
    """Run ``command``. ``output``: the file that it writes, removed before.

    Raises:
        CommandError: Its exit status is not 0. Its last line is in the message.
    """
    if output is not None:
        output.unlink(missing_ok=True)
    program = shutil.which(command[0]) or command[0]
    busy = _busy()
    with tempfile.NamedTemporaryFile("r", errors="replace") as log:
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, log.name, program, *command[1:]]
        done = subprocess.run(launcher, stdout=subprocess.PIPE, text=True, check=True, env=environment())
        said = log.read().strip().splitlines()
    status, user, system, wall, rss, blocks = (float(word) for word in done.stdout.split())
    if status:
        why = f": {said[-1]}" if said else ""
        raise CommandError(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(int(status))}{why}")
    size = output.stat().st_size if output is not None else 0
    others = max(0.0, _busy() - busy - user - system) / wall
    return Usage(user, system, wall, rss / 1024, size, blocks / 2048, others)


def _busy() -> float:
    """Return the seconds that all cores were busy, stolen time included (``cpu`` of proc_stat(5))."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=9)
        return (sum(map(int, fields[1:9])) - int(fields[4]) - int(fields[5])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return 0.0


def interleave(cases: Mapping[str, Callable[[], T]], rounds: int, seconds: float | None = None) -> dict[str, list[T]]:
    """Run all cases ``rounds`` times in alternating order, so that other load affects all of them.

    After ``seconds`` no further round begins, but there are three at least.
    """
    found: dict[str, list[T]] = {name: [] for name in cases}
    began = time.monotonic()
    for number in range(rounds):
        if seconds is not None and number >= _LEAST and time.monotonic() - began > seconds:
            break
        names = list(cases)
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(cases[name]())
    return found


def median(usages: Sequence[Usage]) -> Usage:
    """Return the median of each figure; for user and system, those of the run with the median CPU time.

    Wall time, and how busy others were, are medians of the half of the runs in which others were busy least.
    """
    by_cpu = sorted(usages, key=lambda u: u.cpu)[(len(usages) - 1) // 2]
    quiet = sorted(usages, key=lambda u: u.others)[: (len(usages) + 1) // 2]
    return Usage(
        by_cpu.user, by_cpu.system, statistics.median(u.wall for u in quiet),
        statistics.median(u.rss for u in usages), usages[-1].size, statistics.median(u.read for u in usages),
        statistics.median(u.others for u in quiet),
    )  # fmt: skip


def as_row(usages: Sequence[Usage]) -> dict[str, Any]:
    """Return the median, the extremes of the CPU seconds, and the number of runs for JSON."""
    middle = median(usages)
    cpu = [u.cpu for u in usages]
    figures = {"cpu": middle.cpu, "cpu_min": min(cpu), "cpu_max": max(cpu), **asdict(middle)}
    return {**{name: round(value, 4) for name, value in figures.items()}, "runs": len(usages)}


def table(rows: Sequence[Sequence[object]]) -> str:
    """Format rows as columns, the first row as the head; numbers are right-aligned."""
    cells = [[f"{c:.3f}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    right = [all(not isinstance(row[i], str) for row in rows[1:]) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right)).rstrip() for row in cells
    )
