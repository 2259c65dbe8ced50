"""Faults repeated hundreds of times: kills at any point, disks of any size, a target under attack."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.faults.bench import ENVIRONMENT, PYTHON, Bench, children, mounted
from tests.pipeline.capture.test_target import ATTACK, NOBODY

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 150  # of each command
SIZES = 100
ATTACKED = 30.0  # seconds


def killed(bench: Bench) -> None:
    """Kill ``capture`` with all its processes, and ``dump``, at random moments."""
    for command in ("capture", "dump"):
        tally: Counter[str] = Counter()
        for number in range(KILLS):
            target = bench.scratch / "killed"
            target.mkdir(mode=0o700)
            words = ["capture", "-q", bench.source, target]
            if command == "dump":
                words = ["dump", "-q", "-d", "31", bench.source, target / "vmcore-dump"]
            running = subprocess.Popen([*PYTHON, *map(str, words)], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
            time.sleep(random.Random(number).uniform(0.05, bench.seconds))
            for victim in (running.pid, *children(running.pid)):
                with contextlib.suppress(OSError):
                    os.kill(victim, signal.SIGKILL)
            running.wait()
            _count(bench, tally, target)
        _tell(bench, f"{command} killed, {KILLS} times", tally)


def sizes(bench: Bench) -> None:
    """Disks that fill up at any point of a capture; the last has room for everything."""
    tally: Counter[str] = Counter()
    for number in range(SIZES):
        size = (bench.size + (512 << 10)) * number // (SIZES - 1) + 4096
        with mounted(bench, "-t", "tmpfs", "-o", f"size={size}") as place:
            said = bench.capture(place)
            whole = (place / "vmcore").exists()
            bench.wrong += whole != (said.returncode == 0) or "Traceback" in said.stderr
            _count(bench, tally, place, f"status {said.returncode}: ", remove=False)
    _tell(bench, f"disks of {SIZES} sizes", tally)


def attacked(bench: Bench) -> None:
    """Another user creates, moves and removes names in the target continuously."""
    bench.scratch.chmod(0o711)
    secret = bench.scratch / "secret"
    secret.write_text("secret")
    for mode in (0o1777, 0o777):
        target, tally = bench.scratch / "crash", Counter[str]()
        target.mkdir()
        target.chmod(mode)
        words = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", sys.executable]
        attacker = subprocess.Popen([*words, "-c", ATTACK, str(target)])
        until = time.monotonic() + ATTACKED
        while time.monotonic() < until:
            said = bench.capture(target)
            tally[f"status {said.returncode}"] += 1
            bench.wrong += said.returncode != 0
        attacker.kill()
        attacker.wait()
        for made in target.iterdir():
            status = made.lstat()
            if made.is_dir() and not made.is_symlink() and status.st_uid == 0:
                tally[re.sub(r", \d+ KiB\)", ")", bench.left(made))] += 1
        bench.wrong += secret.read_text() != "secret"
        _tell(bench, f"under attack, mode {mode:o}", tally)
        shutil.rmtree(target)


def _count(bench: Bench, tally: Counter[str], target: Path, start: str = "", *, remove: bool = True) -> None:
    left = re.sub(r", \d+ KiB\)", ")", bench.left(target))
    stray = sorted(path.name for path in target.iterdir() if not path.name.startswith("vmcore"))
    tally[f"{start}{left}{f' STRAY {stray}' if stray else ''}"] += 1
    if remove:
        shutil.rmtree(target)


def _tell(bench: Bench, what: str, tally: Counter[str]) -> None:
    for key, count in sorted(tally.items()):
        bench.row(what, count, key)


ALL = (killed, sizes, attacked)
