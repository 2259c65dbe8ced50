"""Plot of the figures: CPU time of each codec beside makedumpfile's, and classification by machine size.

    python -m perf.plot

Draws the tables of ``perf.figures``, the worst of the machines in ``perf/results`` (or in the files named), to
``perf/results/figures.png``. Needs matplotlib, the ``perf`` extra.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perf import figures, records

if TYPE_CHECKING:
    from collections.abc import Sequence

_OURS, _PALE, _THEIRS, _FAINT = "#1f6f8b", "#8fc1d4", "#c0632c", "#8a8a8a"


def codec_bars(results: Sequence[dict[str, Any]], level: int = 1) -> list[tuple[str, float, float, float]]:
    """Return for each codec at ``level`` its name and three ratios to makedumpfile's figures, the worst of all guests.

    CPU time with one thread, wall time with two, size.
    """
    columns = [f"{name}, `-d {level}`" for name in ("CPU", "wall, 2 threads", "size")]
    found = figures.summary(results)
    return [
        (codec, *(found[codec,][column] for column in columns))  # type: ignore[misc]
        for codec in figures.CODECS
        if all(column in found.get((codec,), {}) for column in columns)
    ]


def scale_lines(results: Sequence[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Return for each tool GiB of memory and wall seconds of classification, of the machine with the worst ratio."""
    lines: dict[str, list[tuple[float, float]]] = {}
    suites = [suite for _, suite in figures.counted(results, "scale")]
    if suites:
        slowest = max(suites, key=lambda suite: max(cells.get("CPU", 0.0) for cells in figures.scan(suite).values()))
        for row in slowest["rows"]:
            name = f"{row['tool']}, {row['threads']} threads" if row["threads"] > 1 else row["tool"]
            lines.setdefault(name, []).append((row["gib"], row.get("wall", row["cpu"])))
    return lines


def draw(results: Sequence[dict[str, Any]], out: Path) -> None:
    """Write the picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    _draw_bars(left, codec_bars(results))
    _draw_lines(right, scale_lines(results))
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _draw_bars(axes: Any, bars: list[tuple[str, float, float, float]]) -> None:
    rows = range(len(bars))
    axes.axvline(1, color=_THEIRS, linewidth=1.2)
    axes.barh([i - 0.2 for i in rows], [bar[1] for bar in bars], color=_OURS, height=0.36, label="CPU time, one thread")
    axes.barh(
        [i + 0.2 for i in rows], [bar[2] for bar in bars], color=_PALE, height=0.36, label="wall time, two threads"
    )
    for i, (_, cpu, wall, size) in enumerate(bars):
        for place, value in ((i - 0.2, f"{cpu:.2f}, size {size:.2f}"), (i + 0.2, f"{wall:.2f}")):
            axes.text(_beside(cpu if place < i else wall), place, value, va="center", fontsize=8)
    axes.set_yticks(list(rows), [bar[0] for bar in bars])
    axes.set_xlim(0, max([1.0, *(max(bar[1:3]) for bar in bars)]) * 1.35)
    axes.invert_yaxis()
    axes.set_title("Dump level 1, as a part of makedumpfile's", fontsize=9)
    if bars:
        axes.legend(framealpha=1, edgecolor="white", fontsize=8, loc="lower right")
    _tidy(axes)


def _beside(value: float) -> float:
    """Return where the label of a bar begins, clear of the line at 1."""
    return (value if value < 0.7 else max(value, 1.0)) + 0.02


def _draw_lines(axes: Any, lines: dict[str, list[tuple[float, float]]]) -> None:
    for tool, colour in (("makedumpfile", _THEIRS), ("vmsieve", _OURS), ("vmsieve, 2 threads", _PALE)):
        points = sorted(lines.get(tool, []))
        if points:
            axes.plot(*zip(*points), marker="o", markersize=4, color=colour, label=tool)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({gib for points in lines.values() for gib, _ in points})
    axes.set_xticks(ticks, [f"{gib:g}" for gib in ticks])
    axes.minorticks_off()
    axes.set_xlabel("GiB of memory", fontsize=8)
    axes.set_title("Seconds to classify all pages", fontsize=9)
    if lines:
        axes.legend(frameon=False, fontsize=8)
    axes.grid(color=_FAINT, alpha=0.25)
    _tidy(axes)


def _tidy(axes: Any) -> None:
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw all results."""
    parser = argparse.ArgumentParser(prog="python -m perf.plot", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("results", type=Path, nargs="*", help="JSON files (default: those of all machines)")
    parser.add_argument("--out", type=Path, default=records.RESULTS / "figures.png")
    arguments = parser.parse_args(argv)
    draw(records.load(arguments.results or None), arguments.out)
    print(f"written: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
