"""Processes that are killed, asked to stop, or started without standard streams, signals or /dev/null."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import termios
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.faults.bench import ENVIRONMENT, PYTHON, Bench, children, last, run, start

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 60  # of each kind


def little_memory(bench: Bench) -> None:
    for limit in (96, 28, 22, 19):
        target = bench.scratch / "memory"
        words = [*PYTHON, "capture", str(bench.source), str(target)]
        said = run("sh", "-c", f'ulimit -v {limit << 10}; exec "$@"', "sh", *words)
        steps = ""
        with contextlib.suppress(OSError, ValueError):
            told = json.loads((target / "vmcore-status.json").read_text())
            steps = " > ".join(one["step"] for one in told["steps"])
        bench.row(f"{limit} MiB of address space", said.returncode, bench.left(target), steps or last(said))
        shutil.rmtree(target, ignore_errors=True)


def kills(bench: Bench) -> None:
    for kind in ("the working process", "both processes"):
        tally: Counter[str] = Counter()
        for number in range(KILLS):
            target = bench.scratch / "kill"
            chance = random.Random(number)
            running = subprocess.Popen(
                [*PYTHON, "capture", "-q", bench.source, target], env=ENVIRONMENT, stderr=subprocess.DEVNULL
            )
            time.sleep(chance.uniform(0.05, 0.6))
            victims = children(running.pid)
            if kind == "both processes":
                victims.insert(0, running.pid)
            for victim in victims:
                with contextlib.suppress(OSError):
                    os.kill(victim, signal.SIGKILL)
            status = running.wait()
            _count(bench, tally, target, status)
        _tell(bench, f"SIGKILL of {kind}, {KILLS} times", tally)


def asked(bench: Bench) -> None:
    """Signals that ask for termination, at any moment."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        tally: Counter[str] = Counter()
        for seed in range(KILLS // 2):
            target = bench.scratch / "asked"
            running = start("-q", bench.source, target)
            time.sleep(random.Random(seed).uniform(0.0, 0.9))
            running.send_signal(number)
            _, said = running.communicate()
            bench.wrong += "Traceback" in said
            _count(bench, tally, target, running.returncode, " TRACEBACK" if "Traceback" in said else "")
        _tell(bench, f"{signal.Signals(number).name}, {KILLS // 2} times", tally)


def _count(bench: Bench, tally: Counter[str], target: Path, status: int, more: str = "") -> None:
    """Add what was left in ``target`` to the tally, whatever its size, and remove it."""
    left = re.sub(r", \d+ KiB\)", ")", bench.left(target))
    tally[f"status {status}: {left}{more}"] += 1
    shutil.rmtree(target, ignore_errors=True)


def _tell(bench: Bench, what: str, tally: Counter[str]) -> None:
    for key, count in sorted(tally.items()):
        bench.row(what, count, key)


def closed(bench: Bench) -> None:
    target = bench.scratch / "closed"
    words = [*PYTHON, "capture", str(bench.source), str(target)]
    for how in (">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"):
        for place in ("/proc and /dev are there", "no /proc", "no /dev", "neither"):
            hide = "".join(
                f"mount -t tmpfs none {folder}; " for folder in ("/proc", "/dev")
                if place == "neither" or place.endswith(folder)
            )  # fmt: skip
            if how == "2>/dev/full" and hide:
                continue
            said = run("unshare", "-m", "sh", "-c", f'{hide}exec "$@" {how}', "sh", *words)
            bench.wrong += said.returncode != 0
            bench.row(f"{how}, {place}", said.returncode, bench.left(target), last(said))
            shutil.rmtree(target, ignore_errors=True)
    said = run("sh", "-c", 'exec "$@" >&-', "sh", *PYTHON, "capture", str(bench.source), "-")
    bench.row("standard output is the target, and closed", said.returncode, "nothing", last(said))


def console(bench: Bench) -> None:
    """A console that accepts no output: a serial line that is held, a full pipe."""
    target = bench.scratch / "console"
    for kind in ("pipe", "terminal"):
        reader, writer = os.pipe() if kind == "pipe" else os.openpty()
        if kind == "terminal":
            termios.tcflow(writer, termios.TCOOFF)
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(writer, b"x" * 4096):
                pass
        with contextlib.suppress(BlockingIOError):
            while os.write(writer, b"x"):
                pass
        os.set_blocking(writer, True)
        began = time.monotonic()
        running = subprocess.Popen(
            [*PYTHON, "capture", "--stall", "60", str(bench.source), str(target)], env=ENVIRONMENT, stderr=writer
        )
        try:
            running.wait(timeout=60)
        except subprocess.TimeoutExpired:
            running.kill()
            bench.wrong += 1
        running.wait()
        seconds = f"{time.monotonic() - began:.0f} s"
        bench.row(f"console that hangs ({kind})", running.returncode, bench.left(target), seconds)
        os.close(reader)
        os.close(writer)
        shutil.rmtree(target)


ALL = (little_memory, kills, asked, closed, console)
