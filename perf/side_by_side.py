"""CPU seconds, wall time, memory and size of vmsieve and makedumpfile on the same dump, in interleaved runs.

    python -m perf.side_by_side VMCORE --rounds 5 --scratch /dev/shm
    python -m perf.side_by_side VMCORE --cold
    python -m perf.side_by_side VMCORE --refilter

For each dump level and page format, makedumpfile and vmsieve's codecs run in turn, vmsieve with one thread and two,
on the same input. The input is read once before, so that it is in the page cache if it fits.
``--cold`` drops it from there before each run. ``--refilter`` makes a kdump file with zlib first and reads that.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from perf import caches, options, records
from perf.measure import CommandError, Usage, as_row, interleave, run, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence


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
    Case("zstd:0", ("--codec", "zstd:0"), ("-z",)),
    Case("zlib", ("-c",), ("-c",)),
    Case("zlib:0", ("--codec", "zlib:0"), ("-c",)),
    Case("none", ("--codec", "none"), ()),
)
#: Cases measured unless others are named: of a warm dump, and of one that is cold or a kdump file.
_USUAL: Final = {"side by side": CASES[:-1], "cold": CASES[2:3], "refilter": CASES[2:3]}


@dataclass(frozen=True)
class Setting:
    """Parameters common to all cases."""

    dump: Path
    scratch: Path
    vmsieve: list[str]
    makedumpfile: str | None
    rounds: int
    seconds: float
    threads: Sequence[int]
    their_threads: Sequence[int]
    cold: bool = False


def guest_size(dump: Path) -> str:
    """Return the memory of the machine that was dumped, as the next power of two: '512 MiB', '4 GiB'."""
    bits = (dump.stat().st_size - 1).bit_length()
    return f"{1 << bits - 30} GiB" if bits >= 30 else f"{1 << max(bits - 20, 0)} MiB"


def groups(cases: Sequence[Case]) -> list[list[Case]]:
    """Group cases by makedumpfile's options, so that it is measured once for all of a group."""
    return [[case for case in cases if case.theirs == theirs] for theirs in dict.fromkeys(c.theirs for c in cases)]


def measure(setting: Setting, cases: Sequence[Case], level: int) -> list[dict[str, Any]]:
    """Measure a group of cases; return a row for each tool, codec and number of threads."""
    output = setting.scratch / f"perf-output-{os.getpid()}"
    commands: dict[tuple[str, str, int], list[str]] = {}
    for case in cases:
        for count in setting.threads:
            words = ["-q", "-f", "-d", str(level), *case.ours, "--threads", str(count)]
            commands[case.name, "vmsieve", count] = [
                *setting.vmsieve, "dump", *words, str(setting.dump), str(output),
            ]  # fmt: skip
    for count in setting.their_threads if setting.makedumpfile is not None else ():
        words = ["-d", str(level), *cases[0].theirs, *(["--num-threads", str(count)] if count > 1 else [])]
        commands["", "makedumpfile", count] = [setting.makedumpfile or "", *words, str(setting.dump), str(output)]

    def once(command: list[str]) -> Usage:
        if setting.cold:
            caches.drop(setting.dump)
        return run(command, output)

    jobs: dict[str, Callable[[], Usage]] = {str(key): partial(once, words) for key, words in commands.items()}
    try:
        found = interleave(jobs, setting.rounds, setting.seconds)
    finally:
        output.unlink(missing_ok=True)
    rows = {key: as_row(found[str(key)]) for key in commands}
    return [
        {"codec": case.name, "level": level, "tool": tool, "threads": count, **row}
        for case in cases
        for (name, tool, count), row in rows.items()
        if name in (case.name, "")
    ]


def compared(rows: list[dict[str, Any]]) -> list[list[object]]:
    """Format rows; ratios are to makedumpfile without threads, those of wall time to its fastest."""
    head = "codec -d tool threads user_s system_s wall_s MiB MB_out MiB_disk others CPU/its wall/its size/its"
    out: list[list[object]] = [[word.replace("_", " ") for word in head.split()]]
    for row in rows:
        same = [r for r in rows if (r["codec"], r["level"], r["tool"]) == (row["codec"], row["level"], "makedumpfile")]
        alone = next((r for r in same if r["threads"] == 1), None)
        ratios: list[object] = ["", "", ""]
        if alone is not None and row["tool"] == "vmsieve":
            best = min(r["wall"] for r in same)
            ratios = [row["cpu"] / alone["cpu"], row["wall"] / best, row["size"] / alone["size"]]
        units = (("rss", 1), ("size", 1e-6), ("read", 1), ("others", 1))
        figures = [row["user"], row["system"], row["wall"], *(round(row[name] * unit, 1) for name, unit in units)]
        out.append([row["codec"], row["level"], row["tool"], row["threads"], *figures, *ratios])
    return out


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = options.parser("side_by_side", __doc__, 5, "--scratch", "--makedumpfile", "--vmsieve", "--json")
    parser.add_argument("dump", type=Path, help="an ELF core")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--cold", action="store_true", help="drop the input from the page cache before each run")
    kind.add_argument("--refilter", action="store_true", help="make a kdump file with zlib, and read that")
    parser.add_argument(
        "--seconds",
        type=float,
        default=45,
        help="for one format and level; three rounds are made even so (default: 45)",
    )
    parser.add_argument("--only", metavar="CODEC", action="append", choices=[c.name for c in CASES], help="repeatable")
    parser.add_argument("--levels", type=options.numbers, default=[1, 31], help="dump levels (default: 1,31)")
    parser.add_argument("--threads", type=options.numbers, default=[1, 2], help="of vmsieve (default: 1,2)")
    parser.add_argument(
        "--their-threads", type=options.numbers, default=[1],
        help="of makedumpfile; more than 1: --num-threads, which spins while it waits (default: 1)",
    )  # fmt: skip
    return parser.parse_args(argv)


def _kdump(dump: Path, vmsieve: list[str], scratch: Path) -> Path:
    """Make the input of ``--refilter``: all pages that are not zero, packed with zlib."""
    out = scratch / "kdump"
    run([*vmsieve, "dump", "-q", "-f", "-c", "-d", "1", str(dump), str(out)], out)
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a tool failed."""
    arguments = _arguments(argv)
    kind = "cold" if arguments.cold else "refilter" if arguments.refilter else "side by side"
    vmsieve = options.vmsieve_command(arguments.vmsieve)
    makedumpfile = options.find_makedumpfile(arguments.makedumpfile)
    cases = [c for c in CASES if c.name in arguments.only] if arguments.only else _USUAL[kind]
    guest = guest_size(arguments.dump)
    result: dict[str, Any] = {
        "kind": kind, "guest": guest, **records.machine(options.versions(vmsieve, makedumpfile)),
        "rounds": arguments.rounds,
        "dump": {"name": "/".join(arguments.dump.parts[-2:]), "bytes": arguments.dump.stat().st_size},
    }  # fmt: skip
    status, rows = 0, []
    with ExitStack() as stack:
        dump = arguments.dump
        if arguments.refilter:
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.scratch))
            dump = _kdump(dump, vmsieve, Path(folder))
        setting = Setting(
            dump, arguments.scratch, vmsieve, makedumpfile, arguments.rounds, arguments.seconds, arguments.threads,
            arguments.their_threads, arguments.cold,
        )  # fmt: skip
        if arguments.cold:
            caches.drop(dump)
        else:
            caches.warm(dump)
        result["cache"] = {"state": "cold" if arguments.cold else "warm", "resident": round(caches.resident(dump), 3)}
        print(
            f"{kind}, {guest}: the page cache is {result['cache']['state']}, {result['cache']['resident']:.0%} resident"
        )
        missing = options.unsupported(makedumpfile) if makedumpfile is not None else set()
        for level, group in itertools.product(arguments.levels, groups(cases)):
            form, one = group[0].name.partition(":")[0], setting
            if form in missing:
                print(f"makedumpfile was built without {form}: vmsieve alone is measured", file=sys.stderr)
                one = replace(setting, makedumpfile=None)
            try:
                found = measure(one, group, level)
            except CommandError as error:
                print(error, file=sys.stderr)
                status = 1
                continue
            rows += found
            print(table(compared(found)), end="\n\n", flush=True)
        if not arguments.cold:
            result["cache"]["resident_after"] = round(caches.resident(dump), 3)
    if rows:
        print(f"written: {records.save(f'{kind} {guest}', {**result, 'rows': rows}, arguments.json)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
