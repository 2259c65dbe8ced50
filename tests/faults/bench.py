"""Captures a dump repeatedly and prints a table of what each fault left."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.dumps import ROOT

PYTHON = [sys.executable, "-m", "vmsieve"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}


def run(*words: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, words)], check=False, text=True, capture_output=True, env=more.pop("env", ENVIRONMENT), **more
    )


def start(*words: object, **more: Any) -> subprocess.Popen[str]:
    """A running capture."""
    more = {"env": ENVIRONMENT, "stderr": subprocess.PIPE, "text": True, **more}
    return subprocess.Popen([*PYTHON, "capture", *map(str, words)], **more)


class Bench:
    """A dump, a working directory, and the results so far."""

    def __init__(self, source: Path, scratch: Path) -> None:
        self.source, self.scratch = source, scratch
        self.rows: list[tuple[str, int, str, str]] = []
        self.wrong = 0
        whole = scratch / "whole"
        began = time.monotonic()
        assert run(*PYTHON, "capture", source, whole).returncode == 0
        self.seconds = time.monotonic() - began
        self.size = sum(path.stat().st_size for path in whole.iterdir())
        self.log = (whole / "vmcore-dmesg.txt").stat().st_size
        shutil.rmtree(whole)

    def capture(self, target: object, *options: object, source: Path | None = None, **more: Any) -> Any:
        return run(*PYTHON, "capture", *options, source or self.source, target, **more)

    def verified(self, made: Path, source: Path | None = None) -> str:
        """Verify a dump: ``right``, ``torn`` (incomplete, its pages right) or ``WRONG``."""
        said = run(*PYTHON, "verify", source or self.source, made)
        return {0: "right", 4: "torn"}.get(said.returncode, f"WRONG ({said.stderr.strip() or said.stdout[-200:]})")

    def left(self, target: Path, source: Path | None = None) -> str:
        """Summarise the files in ``target``, and count wrong ones."""
        found = []
        for path in sorted(target.iterdir()) if target.is_dir() else []:
            if path.name.startswith("vmcore-status"):
                with contextlib.suppress(ValueError):
                    told = json.loads(path.read_text() or "null")
                    found.append(f"record: {told['result']}" if told else "no record")
            elif path.name.startswith("vmcore-dmesg"):
                found.append("log" if path.name == "vmcore-dmesg.txt" else "part of the log")
            elif path.name.startswith("vmcore"):
                verified = self.verified(path, source) if path.stat().st_size else "empty"
                if "WRONG" in verified or (path.name == "vmcore" and verified == "empty"):
                    self.wrong += 1
                found.append(f"{path.name} ({verified}, {path.stat().st_size >> 10} KiB)")
        return ", ".join(found) or "nothing"

    def row(self, fault: str, status: int, left: str, note: str = "") -> None:
        self.rows.append((fault, status, left, note))
        sys.stdout.write(f"| {fault} | {status} | {left} | {note}\n")
        sys.stdout.flush()


@contextlib.contextmanager
def mounted(bench: Bench, *options: str, device: str = "tmpfs") -> Any:
    place = Path(tempfile.mkdtemp(dir=bench.scratch))
    subprocess.run(["mount", *options, device, str(place)], check=True)
    with contextlib.suppress(OSError):
        place.chmod(0o700)  # a tmpfs is for all
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, stderr=subprocess.DEVNULL)


def last(said: Any) -> str:
    return str(said.stderr.strip().splitlines()[-1] if said.stderr.strip() else "")


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def wait_for(path: Path, size: int = 1 << 20) -> None:
    for _ in range(2000):
        with contextlib.suppress(OSError):
            if path.stat().st_size > size:
                return
        time.sleep(0.01)
