"""Runs the faults that a capture must survive, one after the other, and prints what each left.

``python -m tests.faults [DUMP] [NAME...]``, as root: file systems are mounted in a separate namespace. ``DUMP``
stands for /proc/vmcore (default: the demo). Not part of ``make test``: it takes minutes, and another half hour for what
is done hundreds of times (``killed``, ``sizes``, ``attacked``).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable

from tests.dumps import ROOT
from tests.dumps import dump as real_dump
from tests.faults import inputs, many, odd_targets, processes, targets
from tests.faults.bench import ENVIRONMENT, Bench

FAULTS: dict[str, Callable[[Bench], None]] = {
    one.__name__: one for room in (targets, odd_targets, inputs, processes, many) for one in room.ALL
}


def main(words: list[str]) -> int:
    if os.environ.get("FAULTS_INSIDE") != "1":
        inside = {**ENVIRONMENT, "FAULTS_INSIDE": "1"}
        return subprocess.run(
            ["unshare", "-m", sys.executable, "-m", "tests.faults", *words], env=inside, cwd=ROOT, check=False
        ).returncode
    with tempfile.TemporaryDirectory() as scratch:
        named = [word for word in words if word in FAULTS]
        files = [word for word in words if word not in FAULTS]
        source = Path(files[0]) if files else real_dump("demo.elf", Path(scratch))
        bench = Bench(source, Path(scratch))
        for name in named or FAULTS:
            FAULTS[name](bench)
    sys.stdout.write(f"{bench.wrong} wrong\n")
    return int(bench.wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
