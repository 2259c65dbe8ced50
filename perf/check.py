"""Regression check before a release: CPU time in units of C code, and of bare Python, measured in the same run.

    make perf-check

Needs a C compiler and, for each codec, the library that is compared with; neither makedumpfile nor dumps. The pages are
those of the demo dump that a dump of level 31 keeps. The bounds hold on every machine measured, with a margin. What
exceeds its bound is measured again, longer, so that other load is no regression. The exit status is 1 if it still does.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from perf import ceiling, foreign, options, startup
from perf.measure import interleave, table
from perf.sample import write_sample
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: The most that each may take. Codecs: CPU seconds and size, the C library's = 1 (liblzo2, libsnappy, libdeflate at
#: level 1, libzstd at level 1 for 0). Scan: CPU seconds to classify struct pages, a C loop that reads them = 1.
#: Start-up: CPU seconds, ``python3 -I -c pass`` = 1.
BOUNDS: Final = {
    "lzo:1 pack": 0.92, "lzo:1 pack, size": 0.975, "lzo:1 unpack": 0.90,
    "snappy:1 pack": 0.99, "snappy:1 pack, size": 0.99, "snappy:1 unpack": 0.97,
    "zlib:0 pack": 0.28, "zlib:0 pack, size": 1.265, "zlib:1 pack": 0.69, "zlib:1 pack, size": 0.995,
    "zstd:0 pack": 0.54, "zstd:0 pack, size": 1.13, "zstd:1 pack": 0.74, "zstd:1 pack, size": 1.02,
    "scan": 1.30, "start, --version": 2.0, "start, info": 3.5, "start, dump": 7.0,
}  # fmt: skip
_CODECS: Final = ("lzo", "snappy", "zlib:0", "zlib:1", "zstd:0", "zstd:1")
_PASSES: Final = 3
_AGAIN: Final = 3
#: Scans in a round: each takes milliseconds.
_SCANS: Final = 20


def codec_ratios(job: ceiling.Job, program: Path, pages: Path, rounds: int) -> dict[str, float]:
    """Return CPU time and size of one codec, the library's = 1."""
    (row,) = ceiling.compare([job], program, pages, rounds, _PASSES)
    name = f"{job.codec}:{job.level} {job.action}"
    return {name: row["ratio"], **({f"{name}, size": row["size_ratio"]} if "size_ratio" in row else {})}


def scan_ratio(dump: Path, program: Path, rounds: int) -> dict[str, float]:
    """Return the CPU time to classify the struct pages of ``dump``, a read loop's = 1."""
    source = open_source(str(dump))
    content, info = foreign.struct_pages(gather_knowledge(source))
    order = source.byte_order
    source.close()
    pages = bytearray(content)
    read = ctypes.CDLL(str(program)).read_words
    read.restype = ctypes.c_double
    where = ctypes.c_void_p(address_of(pages))
    cases: dict[str, Callable[[], float]] = {
        "ours": lambda: foreign.classes(pages, info, order, 1)[0],
        "c": lambda: float(read(where, ctypes.c_size_t(len(pages)))),
    }
    found = interleave(cases, rounds * _SCANS)
    return {"scan": min(found["ours"]) / min(found["c"])}


def start_ratios(vmsieve: list[str], dump: Path, rounds: int) -> dict[str, float]:
    """Return the CPU time of each command, a bare Python's = 1."""
    python, *rows = startup.measure(vmsieve, dump, rounds)
    return {f"start, {row['command']}": row["cpu_min"] / python["cpu_min"] for row in rows}


def judge(measures: Sequence[Callable[[int], dict[str, float]]], rounds: int) -> list[tuple[str, float, float]]:
    """Measure all; return for each figure its name, value and bound. A figure without a bound fails."""
    rows = []
    for measure in measures:
        found = measure(rounds)
        if any(value > BOUNDS.get(name, 0) for name, value in found.items()):
            again = measure(rounds * _AGAIN)
            found = {name: min(value, again[name]) for name, value in found.items()}
        rows += [(name, value, BOUNDS.get(name, 0.0)) for name, value in found.items()]
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if something regressed."""
    parser = options.parser("check", __doc__, 7, "--vmsieve")
    arguments = parser.parse_args(argv)
    jobs, missing = ceiling.find_jobs(_CODECS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = ceiling.build(folder)
        if program is None:
            print("there is no C compiler: nothing to compare with", file=sys.stderr)
            return 1
        dump, pages = startup.unpack_demo(folder), folder / "pages"
        write_sample(dump, pages, 1 << 20, level=31)
        rows = judge(
            [
                *(partial(codec_ratios, job, program, pages) for job in jobs),
                partial(scan_ratio, dump, program),
                partial(start_ratios, options.vmsieve_command(arguments.vmsieve), dump),
            ],
            arguments.rounds,
        )
    worse = [name for name, value, bound in rows if value > bound]
    print(table([["", "measured", "bound", ""], *([*row, "REGRESSED" if row[0] in worse else ""] for row in rows)]))
    for line in missing:
        print(f"not checked: {line}", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
