"""Plot of the results: CPU time of each codec compared with makedumpfile's, and classification by machine size.

    python -m perf.plot

Reads the JSON files of ``perf/results`` (or those named) and writes ``perf/results/figures.png``. Needs matplotlib, the
``perf`` extra.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["codec_bars", "draw", "main", "scale_lines"]

_RESULTS: Final = Path(__file__).parent / "results"
_OURS, _PALE, _THEIRS, _FAINT = "#1f6f8b", "#8fc1d4", "#c0632c", "#8a8a8a"


def codec_bars(results: Sequence[dict[str, Any]], level: int = 1) -> list[tuple[str, float, float, float]]:
    """Return for each codec at ``level`` its name and three ratios to makedumpfile's figures.

    CPU time with one thread, wall time with the most threads measured, size. Of several results the first counts.
    """
    bars: dict[str, tuple[str, float, float, float]] = {}
    for result in results:
        rows = [row for row in result["rows"] if row.get("level") == level] if result["what"] == "side by side" else []
        for codec in dict.fromkeys(row["codec"] for row in rows):
            mine = [row for row in rows if (row["codec"], row["tool"]) == (codec, "vmsieve")]
            theirs = [row for row in rows if (row["codec"], row["tool"]) == (codec, "makedumpfile")]
            alone = [next((r for r in tool if r["threads"] == 1), None) for tool in (mine, theirs)]
            if alone[0] is None or alone[1] is None:
                continue
            most = max(mine, key=lambda row: row["threads"])
            wall = most["wall"] / min(row["wall"] for row in theirs)
            cpu, size = (alone[0][name] / alone[1][name] for name in ("cpu", "size"))
            bars.setdefault(codec, (codec, cpu, wall, size))
    return list(bars.values())


def scale_lines(results: Sequence[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Return for each tool GiB of memory and CPU seconds of classification."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        for row in result["rows"] if result.get("what") == "scale" else ():
            for tool in ("vmsieve", "makedumpfile"):
                if f"{tool}_filter" in row:
                    lines.setdefault(tool, []).append((row["gib"], row[f"{tool}_filter"]))
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
    axes.set_xlim(0, max([1.0, *(bar[1] for bar in bars)]) * 1.35)
    axes.invert_yaxis()
    axes.set_title("Dump level 1, as a part of makedumpfile's", fontsize=9)
    if bars:
        axes.legend(framealpha=1, edgecolor="white", fontsize=8, loc="upper right")
    _tidy(axes)


def _beside(value: float) -> float:
    """Return where the label of a bar begins, clear of the line at 1."""
    return (value if value < 0.7 else max(value, 1.0)) + 0.02


def _draw_lines(axes: Any, lines: dict[str, list[tuple[float, float]]]) -> None:
    for tool, colour in (("makedumpfile", _THEIRS), ("vmsieve", _OURS)):
        points = sorted(lines.get(tool, []))
        if points:
            axes.plot(*zip(*points), marker="o", markersize=4, color=colour, label=tool)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({gib for points in lines.values() for gib, _ in points})
    axes.set_xticks(ticks, [f"{gib:g}" for gib in ticks])
    axes.minorticks_off()
    axes.set_xlabel("GiB of memory", fontsize=8)
    axes.set_title("CPU seconds to classify all pages", fontsize=9)
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
    parser.add_argument("results", type=Path, nargs="*", help="JSON files (default: all of perf/results)")
    parser.add_argument("--out", type=Path, default=_RESULTS / "figures.png")
    arguments = parser.parse_args(argv)
    paths = arguments.results or sorted(_RESULTS.glob("*.json"))
    draw([json.loads(path.read_text(encoding="utf-8")) for path in paths], arguments.out)
    print(f"written: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
