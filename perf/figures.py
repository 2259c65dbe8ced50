"""Tables of the figures in README.md and perf/README.md: the worst of all machines measured, rounded up.

    python -m perf.figures            # writes the tables between their markers
    python -m perf.figures --check    # exit status 1 if a table differs from the results

Each cell is the worst of its own: two cells of a row may come from different machines. Smaller is better in every
column.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from perf import records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    #: For each key of a row, the value of each column.
    Figures = dict[tuple[Any, ...], dict[str, float]]

ROOT: Final = Path(__file__).parent.parent
_PAGES: Final = ("README.md", "perf/README.md")
_MARKED: Final = re.compile(r"(<!-- figures: ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_UNITS: Final = {"MiB": 1 / 1024, "GiB": 1.0}
CODECS: Final = ("lzo", "snappy", "zstd", "zstd:0", "zlib", "zlib:0", "none")
_BESIDE: Final = ("CPU", "wall", "wall, 2 threads", "2 threads to 1", "size", "MiB", "MiB, 2 threads")


def side_by_side(suite: dict[str, Any]) -> Figures:
    """Return figures by guest, level and codec: parts of makedumpfile's, and MiB."""
    found: Figures = {}
    by_key: dict[tuple[Any, ...], dict[tuple[str, int], dict[str, Any]]] = {}
    for row in suite["rows"]:
        by_key.setdefault((suite["guest"], row["level"], row["codec"]), {})[row["tool"], row["threads"]] = row
    for key, rows in by_key.items():
        one, two, its = (rows.get(tool) for tool in (("vmsieve", 1), ("vmsieve", 2), ("makedumpfile", 1)))
        best = min((row["wall"] for (tool, _), row in rows.items() if tool == "makedumpfile"), default=None)
        cells = found.setdefault(key, {})
        for threads, mine in (("", one), (", 2 threads", two)):
            if mine is not None:
                cells[f"MiB{threads}"] = mine["rss"]
                cells |= {f"wall{threads}": mine["wall"] / best} if best is not None else {}
        if one is not None and two is not None:
            cells["2 threads to 1"] = two["wall"] / one["wall"]
        if one is not None and its is not None:
            cells |= {"CPU": one["cpu"] / its["cpu"], "size": one["size"] / its["size"]}
            if one.get("read") and its.get("read"):
                cells["read"] = one["read"] / its["read"]
    return found


def scan(suite: dict[str, Any]) -> Figures:
    """Return figures by GiB and threads: parts of makedumpfile's, and MiB."""
    found: Figures = {}
    theirs = {row["gib"]: row for row in suite["rows"] if row["tool"] == "makedumpfile"}
    for row in suite["rows"]:
        its = theirs.get(row["gib"], {})
        if row["tool"] == "vmsieve":
            cells = found.setdefault((row["gib"], row["threads"]), {})
            for name, column in (
                ("cpu", "CPU"),
                ("wall", "wall"),
                ("whole_cpu", "run, CPU"),
                ("whole_wall", "run, wall"),
            ):
                cells |= {column: row[name] / its[name]} if name in row and name in its else {}
            cells |= {"MiB": row["rss"]} if "rss" in row else {}
    return found


def startup(suite: dict[str, Any]) -> Figures:
    """Return figures by command: multiples of a bare Python's."""
    return {
        (row["command"],): {"CPU": row["cpu_multiple"], "wall": row["wall_multiple"], "MiB": row["rss"]}
        for row in suite["rows"]
        if row["command"] != "python"
    }


def encoders(suite: dict[str, Any]) -> Figures:
    """Return figures by codec, library and action: parts of the C library's."""
    return {
        (row["codec"], row["level"], row["action"]): {
            "CPU": row["ratio"], **({"size": row["size_ratio"]} if "size_ratio" in row else {}),
        }
        for row in suite["rows"]
    }  # fmt: skip


_KINDS: Final[dict[str, Callable[[dict[str, Any]], Figures]]] = {
    "side by side": side_by_side, "cold": side_by_side, "refilter": side_by_side, "scale": scan, "startup": startup,
    "ceiling": encoders,
}  # fmt: skip


def counted(results: Sequence[dict[str, Any]], kind: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the suites of a kind that count, with their machines: superseded ones only if there are no others."""
    suites = [(r["cpu"], suite) for r in results for suite in r["suites"].values() if suite["kind"] == kind]
    return [(cpu, suite) for cpu, suite in suites if "superseded" not in suite] or suites


def worst(results: Sequence[dict[str, Any]], kind: str) -> Figures:
    """Return the largest value of each cell over all machines."""
    found: Figures = {}
    for _, suite in counted(results, kind):
        for key, cells in _KINDS[kind](suite).items():
            row = found.setdefault(key, {})
            for column, value in cells.items():
                row[column] = max(value, row.get(column, 0.0))
    return found


def summary(results: Sequence[dict[str, Any]]) -> Figures:
    """Return the worst over all guests too, by codec; columns name the level."""
    found: Figures = {}
    for (_, level, codec), cells in worst(results, "side by side").items():
        row = found.setdefault((codec,), {})
        for column in ("CPU", "wall, 2 threads", "size"):
            if column in cells and level in (1, 31):
                name = f"{column}, `-d {level}`"
                row[name] = max(cells[column], row.get(name, 0.0))
    return found


def _order(key: tuple[Any, ...]) -> list[Any]:
    """Sort guests by size, codecs as listed, and the rest by value."""
    order: list[Any] = []
    for word in key:
        number, _, unit = str(word).partition(" ")
        known = CODECS.index(word) if word in CODECS else len(CODECS)
        order.append((known, float(number) * _UNITS.get(unit, 1.0) if number.isdigit() else 0.0, str(word)))
    return order


def _cell(column: str, value: float | None) -> str:
    """Round up."""
    if value is None:
        return ""
    digits = 1 if column.startswith("MiB") else 2
    return f"{math.ceil(value * 10**digits - 1e-6) / 10**digits:.{digits}f}"


def _table(keys: Sequence[str], columns: Iterable[str], figures: Figures) -> str:
    shown = [column for column in columns if any(column in cells for cells in figures.values())]
    lines = [f"| {' | '.join([*keys, *shown])} |", "|---" * (len(keys) + len(shown)) + "|"]
    for key in sorted(figures, key=_order):
        words = [*map(str, key), *(_cell(column, figures[key].get(column)) for column in shown)]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)


def _machines(results: Sequence[dict[str, Any]]) -> str:
    """Return a line for each machine and version of vmsieve."""
    rows: dict[tuple[str, ...], list[tuple[str, dict[str, Any]]]] = {}
    for result in results:
        for name, suite in result["suites"].items():
            key = (result["cpu"], str(suite["cores"]), suite["kernel"], suite["version"], suite.get("superseded", ""))
            rows.setdefault(key, []).append((name, suite))
    lines = ["| CPU | cores | kernel | version | measured | load | suites | superseded: |", "|---" * 8 + "|"]
    for (*words, why), suites in rows.items():
        dates, loads = ([suite[field] for _, suite in suites] for field in ("date", "load"))
        words += [max(dates), f"up to {max(load[0] for load in loads):g}", ", ".join(name for name, _ in suites), why]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)


def tables(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return all tables by their markers' names."""
    columns = [f"{name}, `-d {level}`" for name in ("CPU", "wall, 2 threads", "size") for level in (1, 31)]
    beside = ("guest", "`-d`", "codec")
    return {
        "summary": _table(("codec",), columns, summary(results)),
        "side by side": _table(beside, _BESIDE, worst(results, "side by side")),
        "cold": _table(beside, ("CPU", "wall", "wall, 2 threads", "read"), worst(results, "cold")),
        "refilter": _table(beside, _BESIDE, worst(results, "refilter")),
        "scan": _table(("GiB", "threads"), ("CPU", "wall", "run, CPU", "run, wall", "MiB"), worst(results, "scale")),
        "startup": _table(("command",), ("CPU", "wall", "MiB"), worst(results, "startup")),
        "encoders": _table(("codec", "level", "action"), ("CPU", "size"), worst(results, "ceiling")),
        "machines": _machines(results),
    }


def filled(text: str, results: Sequence[dict[str, Any]]) -> str:
    """Return ``text`` with the tables between its markers replaced."""
    made = tables(results)
    return _MARKED.sub(lambda found: f"{found[1]}{made[found[2]]}\n{found[3]}", text)


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the tables."""
    parser = argparse.ArgumentParser(prog="python -m perf.figures", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if a table differs from the results")
    arguments = parser.parse_args(argv)
    results, status = records.load(), 0
    for name in _PAGES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        if (new := filled(text, results)) != text:
            print(f"{name}: {'differs from perf/results' if arguments.check else 'written'}")
            status |= arguments.check
            if not arguments.check:
                path.write_text(new, encoding="utf-8")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
