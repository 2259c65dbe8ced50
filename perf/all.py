"""The whole set of measurements of one machine, the suites one after the other.

    python -m perf.all VMCORE... --rounds 5 --scratch /dev/shm

The dumps are ELF cores of guests of different sizes. The second smallest is also read cold, refiltered, and sampled for
the encoders; large machines are made of the smallest (``perf.scale``). Suites that this machine's file already has, of
the same version and with as many rounds, are skipped: an interrupted run goes on where it ended. Five rounds of dumps
of 512 MiB, 2 and 4 GiB take some 20 minutes on two cores.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from perf import ceiling, foreign, options, records, scale, side_by_side, startup

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence


class Job(NamedTuple):
    """A suite's name in the file of results, its program, and arguments."""

    suite: str
    main: Callable[[Sequence[str]], int]
    words: list[str]


def jobs(dumps: Sequence[Path], rounds: int, scratch: Path, disk: Path, tools: Sequence[str]) -> list[Job]:
    """List all jobs, the quick ones first."""
    by_size = sorted(dumps, key=lambda path: path.stat().st_size)
    small, middle = by_size[0], by_size[min(1, len(by_size) - 1)]
    counted = ["--rounds", str(rounds)]
    beside = [*counted, "--scratch", str(scratch), *tools]
    ours = tools[: tools.index("--makedumpfile")] if "--makedumpfile" in tools else tools
    guest = side_by_side.guest_size(middle)
    return [
        Job("startup", startup.main, ["--rounds", str(4 * rounds + 1), "--scratch", str(scratch), *ours]),
        Job("foreign", foreign.main, counted),
        Job("ceiling", ceiling.main, [str(middle), *counted, "--sample", "32"]),
        *(
            Job(f"side by side {side_by_side.guest_size(path)}", side_by_side.main, [str(path), *beside])
            for path in by_size
        ),
        Job(f"refilter {guest}", side_by_side.main, [str(middle), "--refilter", *beside]),
        Job(f"cold {guest}", side_by_side.main, [str(middle), "--cold", *beside]),
        Job("scale", scale.main, [str(small), *counted, "--scratch", str(disk), *tools]),
    ]


def done_before(job: Job, version: str, path: str | None) -> bool:
    """True if the file of results has the suite, of this version and with as many rounds."""
    found = records.measured(job.suite, path)
    rounds = int(job.words[job.words.index("--rounds") + 1])
    return found is not None and found["version"] == version and found.get("rounds", 0) >= rounds


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = options.parser("all", __doc__, 5, "--makedumpfile", "--vmsieve", "--json")
    parser.add_argument("dumps", type=Path, nargs="+", help="ELF cores of x86_64")
    parser.add_argument("--scratch", type=Path, default=Path("/dev/shm"), help="for outputs (default: /dev/shm)")
    parser.add_argument(
        "--disk", type=Path, default=Path(tempfile.gettempdir()), help="for dumps of large machines, 6 GB"
    )
    parser.add_argument("--only", metavar="SUITE", action="append", help="suites whose names begin so; repeatable")
    parser.add_argument("--again", action="store_true", help="also suites that were measured before")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all; 1 if a suite failed."""
    arguments = _arguments(argv)
    tools = ["--vmsieve", arguments.vmsieve] if arguments.vmsieve else []
    tools += ["--makedumpfile", arguments.makedumpfile] if arguments.makedumpfile else []
    version = records.version(*options.vmsieve_command(arguments.vmsieve))
    status = 0
    for job in jobs(arguments.dumps, arguments.rounds, arguments.scratch, arguments.disk, tools):
        if arguments.only and not any(job.suite.startswith(word) for word in arguments.only):
            continue
        if not arguments.again and done_before(job, version, arguments.json):
            print(f"== {job.suite}: measured before ==")
            continue
        print(f"== {job.suite} ==", flush=True)
        began = time.monotonic()
        try:
            status |= job.main([*job.words, *(["--json", arguments.json] if arguments.json else [])])
        except (Exception, SystemExit) as error:  # one suite costs no other
            print(f"{job.suite} failed: {error}", file=sys.stderr)
            status = 1
        print(f"== {job.suite}: {time.monotonic() - began:.0f} s ==\n", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
