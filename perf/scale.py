"""Classification of machines of 1 to 256 GiB, vmsieve compared with makedumpfile.

    python -m perf.scale SMALL --sizes 1,4,16,64,256 --scratch /var/tmp

For each size a dump is made from a small one (see ``perf.tiled``) and removed again; 256 GiB take 5 GiB of disk. The
CPU seconds are those of the scan of struct pages: vmsieve's in the scanning process, makedumpfile's between its
progress lines, all scans together (beyond 64 GiB it makes one more). A whole run of ``vmsieve dump`` with one thread,
and of makedumpfile, gives memory and time of all steps. Both must find the same pages.
"""

from __future__ import annotations

import argparse
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

from perf.measure import (
    CommandError,
    environment,
    find_makedumpfile,
    interleave,
    machine,
    run,
    table,
    vmsieve_command,
    write_json,
)
from perf.tiled import make
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.dump.scan import scan
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]

_STEP: Final = re.compile(r"STEP \[(.+?)\s*\] :")
_COUNT: Final = re.compile(r"^\s*(.+?)\s*: 0x([0-9a-f]{16})$")
#: makedumpfile's names for the classes that vmsieve counts.
_WORDS: Final = {
    "cache": "Non-private cache pages",
    "cache_private": "Private cache pages",
    "user": "User process data pages",
    "free": "Free pages",
}


def scan_here(path: str) -> dict[str, Any]:
    """Open and scan in this process; return the CPU seconds of both, and the counts."""
    began = time.process_time()
    source = open_source(path)
    knowledge = gather_knowledge(source)
    opened = time.process_time()
    found = scan(source, knowledge, 31, Silent())
    done = time.process_time()
    counts = {name: found.counts[name] for name in _WORDS}
    counts["free"] += found.counts["unaccepted"]
    return {"open": opened - began, "filter": done - opened, "counts": counts, "pages": found.exists.count()}


def _ours(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "perf.scale", "--scan", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        raise CommandError(f"the scan of {path}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _theirs(makedumpfile: str, path: Path) -> dict[str, Any]:
    """Return makedumpfile's CPU seconds in the filter step and its counts; it packs and writes nothing."""
    output = path.with_name("none")
    command = [makedumpfile, "-d", "31", "--dry-run", "--message-level", "31", str(path), str(output)]
    steps: dict[str, float] = {}
    counts: dict[str, int] = {}
    # On a terminal, it reports each step when the step ends.
    master, terminal = pty.openpty()
    child = subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment())
    os.close(terminal)
    before = 0.0
    with suppress(OSError), open(master, encoding="ascii", errors="replace") as lines:  # EIO: it has ended
        for line in lines:
            step, count = _STEP.search(line), _COUNT.match(line)
            if step:
                now = _cpu_of(child.pid)
                steps[step[1]] = steps.get(step[1], 0.0) + now - before
                before = now
            elif count:
                counts[count[1]] = int(count[2], 16)
            elif line.startswith("mmap() is available"):
                before = _cpu_of(child.pid)
    if child.wait():
        raise CommandError(f"{' '.join(command)}: exit status {child.returncode}")
    return {"filter": steps["Excluding unnecessary pages"], "counts": {n: counts[w] for n, w in _WORDS.items()}}


def _cpu_of(pid: int) -> float:
    """Return the CPU seconds of a single-threaded process, in nanoseconds' resolution (``schedstat``, proc_pid(5))."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def measure(path: Path, runs: int, makedumpfile: str | None, vmsieve: list[str]) -> dict[str, Any]:
    """Measure one dump."""
    cases: dict[str, Callable[[], dict[str, Any]]] = {"vmsieve": partial(_ours, path)}
    if makedumpfile is not None:
        cases["makedumpfile"] = partial(_theirs, makedumpfile, path)
    interleave(cases, 1)  # struct pages are in the page cache from here on
    found = interleave(cases, runs)
    ours = found["vmsieve"]
    seconds = statistics.median(r["filter"] for r in ours)
    row: dict[str, Any] = {
        "pages": ours[0]["pages"],
        "vmsieve_filter": round(seconds, 5),
        "vmsieve_open": round(statistics.median(r["open"] for r in ours), 5),
        "vmsieve_mpages_s": round(ours[0]["pages"] / seconds / 1e6, 2),
    }
    if makedumpfile is not None:
        theirs = statistics.median(r["filter"] for r in found["makedumpfile"])
        row["makedumpfile_filter"] = round(theirs, 5)
        row["ratio"] = round(seconds / theirs, 4)
        row["same_counts"] = ours[0]["counts"] == found["makedumpfile"][0]["counts"]
    output = path.with_name("output")
    options = ["-l", "-d", "31", str(path), str(output)]
    whole = {"vmsieve": [*vmsieve, "dump", "-q", "-f", "--threads", "1", *options]}
    if makedumpfile is not None:
        whole["makedumpfile"] = [makedumpfile, *options]
    for tool, command in whole.items():
        used = run(command, output)
        row |= {f"{tool}_cpu": round(used.cpu, 3), f"{tool}_mib": round(used.rss, 2), f"{tool}_size": used.size}
    output.unlink(missing_ok=True)
    return row


def _print(rows: list[dict[str, Any]]) -> None:
    names = [
        "gib", "pages", "vmsieve_filter", "vmsieve_mpages_s", "makedumpfile_filter", "ratio", "same_counts",
        "vmsieve_mib", "makedumpfile_mib", "vmsieve_cpu", "makedumpfile_cpu",
    ]  # fmt: skip
    print(table([names, *([row.get(name, "") for name in names] for row in rows)]))


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m perf.scale", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("small", type=Path, help="an ELF core of about 1 GiB of x86_64")
    parser.add_argument("--sizes", default="1,4,16,64,256", help="GiB (default: 1,4,16,64,256)")
    parser.add_argument("--runs", type=int, default=5, help="of each scan (default: 5)")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()), help="where the dumps are made")
    parser.add_argument("--makedumpfile", help="its path (default: VMSIEVE_MAKEDUMPFILE, or that in PATH)")
    parser.add_argument("--vmsieve", help="the command (default: that of this Python)")
    parser.add_argument("--json", help="where to write the result (default: among perf/results)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--scan"]:
        print(json.dumps(scan_here(words[1])))
        return 0
    arguments = _arguments(words)
    vmsieve, makedumpfile = vmsieve_command(arguments.vmsieve), find_makedumpfile(arguments.makedumpfile)
    tools = {"vmsieve": [*vmsieve, "--version"]}
    if makedumpfile is not None:
        tools["makedumpfile"] = [makedumpfile, "-v"]
    rows: list[dict[str, Any]] = []
    for gib in map(int, arguments.sizes.split(",")):
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
            path = Path(folder) / "vmcore"
            make(arguments.small, path, gib)
            rows.append({"gib": gib, **measure(path, arguments.runs, makedumpfile, vmsieve)})
        _print(rows[-1:])
    result = {"what": "scale", "machine": machine(tools), "runs": arguments.runs, "rows": rows}
    print()
    _print(rows)
    print(f"written: {write_json(result, arguments.json, 'scale')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
