"""A picture of the results: CPU time of each codec against makedumpfile's, and classification as machines grow.

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
_OURS, _THEIRS, _FAINT = "#1f6f8b", "#c0632c", "#8a8a8a"


def codec_bars(results: Sequence[dict[str, Any]], level: int = 1) -> list[tuple[str, float, float]]:
    """For each codec at ``level`` with one thread: its name, and CPU time and size as parts of makedumpfile's."""
    bars = []
    for result in results:
        if result.get("what") != "side by side":
            continue
        alone = [row for row in result["rows"] if row["level"] == level and row["threads"] == 1]
        tools = {(row["codec"], row["tool"]): row for row in alone}
        for (codec, tool), ours in tools.items():
            theirs = tools.get((codec, "makedumpfile"))
            if tool == "vmsieve" and theirs is not None:
                bars.append((codec, ours["cpu"] / theirs["cpu"], ours["size"] / theirs["size"]))
    return bars


def scale_lines(results: Sequence[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """For each tool: GiB of memory, and CPU seconds of classification."""
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


def _draw_bars(axes: Any, bars: list[tuple[str, float, float]]) -> None:
    names = [name for name, _, _ in bars]
    axes.barh(names, [cpu for _, cpu, _ in bars], color=_OURS, height=0.6)
    for i, (_, cpu, size) in enumerate(bars):
        axes.text(cpu + 0.02, i, f"{cpu:.2f} (size {size:.2f})", va="center", fontsize=8)
    axes.axvline(1, color=_THEIRS, linewidth=1.2)
    axes.set_xlim(0, max([1.0, *(cpu for _, cpu, _ in bars)]) * 1.35)
    axes.invert_yaxis()
    axes.set_title("CPU time, dump level 1, one thread (makedumpfile = 1)", fontsize=9)
    _tidy(axes)


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
    """Draw what there is."""
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
