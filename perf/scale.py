"""Classification of large machines, vmsieve compared with makedumpfile.

    python -m perf.scale SMALL --sizes 64,256 --scratch /var/tmp

For each size a dump is made from a small one (see ``perf.tiled``) and removed again; 256 GiB take 5 GiB of disk. The
seconds are those of the scan of struct pages: vmsieve's in the scanning process, makedumpfile's between its progress
lines, all scans together (beyond 64 GiB it makes one more). A whole run of ``vmsieve dump`` with one thread, and of
makedumpfile, gives memory and time of all steps. Both must find the same pages. Struct pages are in the page cache: an
unmeasured round of all scans comes first.
"""

from __future__ import annotations

import inspect
import json
import os
import pty
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from perf import options, records
from perf.measure import CommandError, environment, interleave, run, table
from perf.tiled import make
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.dump.scan import scan
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

_STEP: Final = re.compile(r"STEP \[(.+?)\s*\] :")
_COUNT: Final = re.compile(r"^\s*(.+?)\s*: 0x([0-9a-f]{16})$")
#: makedumpfile's names for the classes that vmsieve counts.
_WORDS: Final = {
    "cache": "Non-private cache pages",
    "cache_private": "Private cache pages",
    "user": "User process data pages",
    "free": "Free pages",
}


def scan_here(path: str, threads: int = 1) -> dict[str, Any]:
    """Open and scan in this process; return the CPU seconds of opening, CPU and wall of the scan, and the counts."""
    began = time.process_time()
    source = open_source(path)
    knowledge = gather_knowledge(source)
    opened, at = time.process_time(), time.monotonic()
    more: dict[str, Any] = {"threads": threads} if threads > 1 else {}
    found = scan(source, knowledge, 31, Silent(), **more)
    done, wall = time.process_time(), time.monotonic() - at
    counts = {name: found.counts[name] for name in _WORDS}
    counts["free"] += found.counts["unaccepted"]
    return {
        "open": opened - began, "cpu": done - opened, "wall": wall, "counts": counts, "pages": found.exists.count(),
    }  # fmt: skip


def _ours(path: Path, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "perf.scale", "--scan", str(path), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        raise CommandError(f"the scan of {path}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _theirs(makedumpfile: str, path: Path) -> dict[str, Any]:
    """Return makedumpfile's CPU and wall seconds in the filter step and its counts; it packs and writes nothing."""
    output = path.with_name("none")
    command = [makedumpfile, "-d", "31", "--dry-run", "--message-level", "31", str(path), str(output)]
    steps: dict[str, tuple[float, float]] = {}
    counts: dict[str, int] = {}
    # On a terminal, it reports each step when the step ends.
    master, terminal = pty.openpty()
    child = subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment())
    os.close(terminal)
    before = (0.0, 0.0)
    with suppress(OSError), open(master, encoding="ascii", errors="replace") as lines:  # EIO: it has ended
        for line in lines:
            step, count = _STEP.search(line), _COUNT.match(line)
            if step:
                now, spent = _clocks(child.pid), steps.get(step[1], (0.0, 0.0))
                steps[step[1]] = (spent[0] + now[0] - before[0], spent[1] + now[1] - before[1])
                before = now
            elif count:
                counts[count[1]] = int(count[2], 16)
            elif line.startswith("mmap() is available"):
                before = _clocks(child.pid)
    if child.wait():
        raise CommandError(f"{' '.join(command)}: exit status {child.returncode}")
    cpu, wall = steps["Excluding unnecessary pages"]
    return {"cpu": cpu, "wall": wall, "counts": {name: counts[word] for name, word in _WORDS.items()}}


def _clocks(pid: int) -> tuple[float, float]:
    """Return CPU seconds of a single-threaded process, in nanoseconds (``schedstat``, proc_pid(5)), and wall time."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9, time.monotonic()


def measure(
    path: Path, rounds: int, makedumpfile: str | None, vmsieve: list[str], threads: Sequence[int]
) -> list[dict[str, Any]]:
    """Measure one dump; return a row for each tool and number of threads."""
    cases: dict[str, Callable[[], dict[str, Any]]] = {
        f"vmsieve {count}": partial(_ours, path, count) for count in threads
    }
    if makedumpfile is not None:
        cases["makedumpfile 1"] = partial(_theirs, makedumpfile, path)
    interleave(cases, 1)  # struct pages are in the page cache from here on
    found = interleave(cases, rounds)
    ours = found[f"vmsieve {threads[0]}"][0]
    output = path.with_name("output")
    words = ["-l", "-d", "31", str(path), str(output)]
    whole = {
        "vmsieve 1": [*vmsieve, "dump", "-q", "-f", "--threads", "1", *words],
        "makedumpfile 1": [makedumpfile or "", *words],
    }
    rows = []
    for name, runs in found.items():
        tool, _, count = name.partition(" ")
        cpu, wall = (statistics.median(run[clock] for run in runs) for clock in ("cpu", "wall"))
        row = {
            "tool": tool,
            "threads": int(count),
            "pages": ours["pages"],
            "cpu": round(cpu, 5),
            "wall": round(wall, 5),
        }
        row |= {"mpages_s": round(ours["pages"] / wall / 1e6, 2), "same_counts": runs[0]["counts"] == ours["counts"]}
        if name in whole:
            used = run(whole[name], output)
            row |= {"whole_cpu": round(used.cpu, 3), "whole_wall": round(used.wall, 3)}
            row |= {"rss": round(used.rss, 2), "size": used.size}
        rows.append(row)
    output.unlink(missing_ok=True)
    return rows


def _print(rows: list[dict[str, Any]]) -> None:
    names = [
        "gib",
        "tool",
        "threads",
        "pages",
        "cpu",
        "wall",
        "mpages_s",
        "same_counts",
        "rss",
        "whole_cpu",
        "whole_wall",
    ]
    print(table([names, *([row.get(name, "") for name in names] for row in rows)]), flush=True)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("scale", __doc__, 5, "--scratch", "--makedumpfile", "--vmsieve", "--json")
    parser.add_argument("small", type=Path, help="an ELF core of about 1 GiB of x86_64")
    parser.add_argument("--sizes", type=options.numbers, default=[4, 64, 256], help="GiB (default: 4,64,256)")
    parser.add_argument("--threads", type=options.numbers, default=[1, 2], help="of vmsieve's scan (default: 1,2)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--scan"]:
        print(json.dumps(scan_here(words[1], int(words[2]))))
        return 0
    arguments = _arguments(words)
    vmsieve = options.vmsieve_command(arguments.vmsieve)
    makedumpfile = options.find_makedumpfile(arguments.makedumpfile)
    threads = arguments.threads if "threads" in inspect.signature(scan).parameters else [1]
    result = {
        "kind": "scale",
        **records.machine(options.versions(vmsieve, makedumpfile)),
        "rounds": arguments.rounds,
        "cache": {"state": "warm"},
    }
    rows: list[dict[str, Any]] = []
    for gib in arguments.sizes:
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
            path = Path(folder) / "vmcore"
            make(arguments.small, path, gib)
            found = measure(path, arguments.rounds, makedumpfile, vmsieve, threads)
        rows += [{"gib": gib, **row} for row in found]
        _print(rows[-len(found) :])
    print(f"written: {records.save('scale', {**result, 'rows': rows}, arguments.json)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
