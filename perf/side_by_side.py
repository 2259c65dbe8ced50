"""CPU seconds, wall time, memory and size of vmsieve and makedumpfile on the same dump, in interleaved runs.

    python -m perf.side_by_side VMCORE --runs 5 --scratch /dev/shm

Each case is one codec at one dump level. Within a case, vmsieve and makedumpfile run in turn, with one thread or with
more, on the same input, which is read once before so that it is in the page cache if it fits. Medians are printed and
written as JSON.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from perf.measure import (
    CommandError,
    Usage,
    as_row,
    find_makedumpfile,
    interleave,
    machine,
    run,
    table,
    vmsieve_command,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["CASES", "Case", "main", "measure"]


@dataclass(frozen=True)
class Case:
    """Options of vmsieve, and of makedumpfile for the same page format."""

    name: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]


CASES: Final = (
    Case("lzo", ("-l",), ("-l",)),
    Case("snappy", ("-p",), ("-p",)),
    Case("zstd", ("-z",), ("-z",)),
    Case("zlib", ("-c",), ("-c",)),
    Case("zlib fastest", ("--codec", "zlib:0"), ("-c",)),
    Case("none", ("--codec", "none"), ()),
)


@dataclass(frozen=True)
class Setting:
    """Parameters common to all cases."""

    dump: Path
    scratch: Path
    vmsieve: list[str]
    makedumpfile: str | None
    runs: int


def measure(
    setting: Setting, case: Case, level: int, threads: Sequence[int], theirs: Sequence[int]
) -> list[dict[str, Any]]:
    """Measure one case; return a row for each tool and number of threads (``theirs``: makedumpfile's)."""
    output = setting.scratch / f"perf-output-{os.getpid()}"
    commands = {}
    for count in threads:
        options = ["-q", "-f", "-d", str(level), *case.ours, "--threads", str(count)]
        commands["vmsieve", count] = [*setting.vmsieve, "dump", *options, str(setting.dump), str(output)]
    for count in theirs if setting.makedumpfile is not None else ():
        options = ["-d", str(level), *case.theirs, *(["--num-threads", str(count)] if count > 1 else [])]
        commands["makedumpfile", count] = [setting.makedumpfile or "", *options, str(setting.dump), str(output)]
    jobs: dict[str, Callable[[], Usage]] = {
        f"{tool} {count}": partial(run, command, output) for (tool, count), command in commands.items()
    }
    try:
        found = interleave(jobs, setting.runs)
    finally:
        output.unlink(missing_ok=True)
    return [
        {"codec": case.name, "level": level, "tool": tool, "threads": count, **as_row(found[f"{tool} {count}"])}
        for tool, count in commands
    ]


def compared(rows: list[dict[str, Any]]) -> list[list[object]]:
    """Format rows; ratios are to makedumpfile without threads, those of wall time to its fastest."""
    head = "codec -d tool threads user_s system_s wall_s MiB MB_out others CPU/its wall/its size/its"
    out: list[list[object]] = [[word.replace("_", " ") for word in head.split()]]
    for row in rows:
        same = [r for r in rows if (r["codec"], r["level"], r["tool"]) == (row["codec"], row["level"], "makedumpfile")]
        alone = next((r for r in same if r["threads"] == 1), None)
        ratios: list[object] = ["", "", ""]
        if alone is not None and row["tool"] == "vmsieve":
            best = min(r["wall"] for r in same)
            ratios = [row["cpu"] / alone["cpu"], row["wall"] / best, row["size"] / alone["size"]]
        memory, size, others = (
            round(row[name] * unit, 1) for name, unit in (("rss", 1), ("size", 1e-6), ("others", 1))
        )
        figures = [row["user"], row["system"], row["wall"], memory, size, others]
        out.append([row["codec"], row["level"], row["tool"], row["threads"], *figures, *ratios])
    return out


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m perf.side_by_side", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("dump", type=Path, help="an ELF core")
    parser.add_argument("--runs", type=int, default=5, help="of each tool and case (default: 5)")
    parser.add_argument("--only", metavar="CODEC", action="append", choices=[c.name for c in CASES], help="repeatable")
    parser.add_argument("--levels", type=_numbers, default=[1, 31], help="dump levels (default: 1,31)")
    parser.add_argument("--threads", type=_numbers, default=[1, 2], help="of vmsieve (default: 1,2)")
    parser.add_argument(
        "--their-threads", type=_numbers, default=[1],
        help="of makedumpfile; more than 1: --num-threads, which spins while it waits (default: 1)",
    )  # fmt: skip
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()), help="folder for what is written")
    parser.add_argument("--makedumpfile", help="its path (default: VMSIEVE_MAKEDUMPFILE, or that in PATH)")
    parser.add_argument("--vmsieve", help="the command (default: that of this Python)")
    parser.add_argument("--json", help="where to write the result (default: among perf/results)")
    parser.add_argument("--name", help="of the result (default: side_by_side-<folder of the dump>)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a tool failed."""
    arguments = _arguments(argv)
    vmsieve, makedumpfile = vmsieve_command(arguments.vmsieve), find_makedumpfile(arguments.makedumpfile)
    setting = Setting(arguments.dump, arguments.scratch, vmsieve, makedumpfile, arguments.runs)
    tools = {"vmsieve": [*vmsieve, "--version"]}
    if makedumpfile is None:
        print("makedumpfile is not installed: vmsieve alone is measured", file=sys.stderr)
    else:
        tools["makedumpfile"] = [makedumpfile, "-v"]
    result: dict[str, Any] = {
        "what": "side by side", "machine": machine(tools), "runs": arguments.runs,
        "dump": {"name": "/".join(arguments.dump.parts[-2:]), "bytes": arguments.dump.stat().st_size}, "rows": [],
    }  # fmt: skip
    status = 0
    run(["cat", str(arguments.dump)])
    for level in arguments.levels:
        for case in CASES:
            if arguments.only and case.name not in arguments.only:
                continue
            try:
                rows = measure(setting, case, level, arguments.threads, arguments.their_threads)
            except CommandError as error:
                print(error, file=sys.stderr)
                status = 1
                continue
            result["rows"] += rows
            print(table(compared(rows)), end="\n\n", flush=True)
    name = arguments.name or f"side_by_side-{arguments.dump.resolve().parent.name}"
    print(f"written: {write_json(result, arguments.json, name)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
