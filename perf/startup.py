"""Start-up: vmsieve's commands as multiples of a bare Python, ``python3 -I -c pass``, in interleaved runs.

python -m perf.startup
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from perf import options, records
from perf.measure import as_row, interleave, run, table

if TYPE_CHECKING:
    from collections.abc import Sequence

DEMO: Final = Path(__file__).parent.parent / "tests" / "demo" / "demo.elf.zst"


def unpack_demo(folder: Path) -> Path:
    """Unpack the demo dump, 95 MB, into ``folder``."""
    import zstandard

    out = folder / "vmcore"
    with DEMO.open("rb") as packed, out.open("wb") as file:
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(packed, read_across_frames=True)
        shutil.copyfileobj(reader, file, 1 << 20)
    return out


def measure(vmsieve: list[str], dump: Path, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each command; multiples of the bare Python's CPU and wall time."""
    output = dump.with_name("output")
    commands = {
        "python": [sys.executable, "-I", "-c", "pass"],
        "--version": [*vmsieve, "--version"],
        "info": [*vmsieve, "info", str(dump)],
        "dump": [*vmsieve, "dump", "-q", "-f", "-d", "31", "-l", str(dump), str(output)],
    }
    cases = {name: partial(run, command) for name, command in commands.items()}
    interleave(cases, 1)  # bytecode is cached from here on
    rows = [{"command": name, **as_row(found)} for name, found in interleave(cases, rounds).items()]
    output.unlink()
    for row in rows:
        row |= {f"{name}_multiple": round(row[name] / rows[0][name], 3) for name in ("cpu", "wall")}
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = options.parser("startup", __doc__, 21, "--scratch", "--vmsieve", "--json")
    arguments = parser.parse_args(argv)
    vmsieve = options.vmsieve_command(arguments.vmsieve)
    result = {
        "kind": "startup", **records.machine(options.versions(vmsieve)), "rounds": arguments.rounds,
        "cache": {"state": "warm"},
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        rows = measure(vmsieve, unpack_demo(Path(folder)), arguments.rounds)
    names = ["command", "cpu", "wall", "rss", "cpu_multiple", "wall_multiple"]
    print(table([names, *([row[name] for name in names] for row in rows)]))
    print(f"written: {records.save('startup', {**result, 'rows': rows}, arguments.json)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
