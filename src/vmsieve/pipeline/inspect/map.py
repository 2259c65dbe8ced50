"""Memory maps as files: PNG, or HTML that describes the cell under the pointer."""

from __future__ import annotations

import base64
import html
import json
from itertools import groupby

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.text import shown
from vmsieve.pipeline.dump.report import size_text
from vmsieve.pipeline.inspect.cells import COLUMNS
from vmsieve.pipeline.inspect.picture import LEFT, SIDE, binary_size, colours, draw
from vmsieve.pipeline.process.saving import saved

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.pipeline.inspect.cells import Cells
    from vmsieve.pipeline.inspect.classes import ClassCounts
    from vmsieve.pipeline.inspect.picture import Drawing

_SHARES: Final = 15  # the share of a category in a cell is one hexadecimal digit, in fifteenths

_STYLE: Final = """
body { font: 14px sans-serif; margin: 1em; color: #202020; background: #fff }
td, th { padding: 0 1em 0 0; text-align: right } td:first-child, th:first-child { text-align: left }
i { display: inline-block; width: 1em; height: 1em; margin-right: .5em; vertical-align: middle }
#told { position: fixed; display: none; background: #fff; border: 1px solid #202020; padding: .5em; white-space: pre;
  font: 12px monospace; pointer-events: none; box-shadow: 2px 2px 4px #808080 }
"""

#: ``map.places`` has top, first row, rows and runs of like cells of each band.
_SCRIPT: Final = """
const map = JSON.parse(document.getElementById("data").textContent);
const image = document.getElementById("map"), told = document.getElementById("told");
const hex = n => "0x" + BigInt(n).toString(16);
function find(x, y) {
  const column = Math.floor((x - map.left) / map.side);
  if (column < 0 || column >= map.columns) return null;
  for (const place of map.places) {
    const row = Math.floor((y - place.top) / map.side);
    if (row < 0 || row >= place.rows) continue;
    let cell = row * map.columns + column, first = 0;
    const base = BigInt(place.first) * BigInt(map.columns);
    for (let i = 0; i < place.runs.length; i++) {
      const run = place.runs[i];
      const at = base + BigInt(cell);
      if (cell < first + run[0]) return { at, kind: run[1], shares: run[2], ...region(place, i, base) };
      first += run[0];
    }
  }
  return null;
}
function region(place, i, base) {
  let low = i, high = i + 1, first = 0;
  while (low > 0 && place.runs[low - 1][1] === place.runs[i][1]) low--;
  while (high < place.runs.length && place.runs[high][1] === place.runs[i][1]) high++;
  for (let k = 0; k < low; k++) first += place.runs[k][0];
  let end = first;
  for (let k = low; k < high; k++) end += place.runs[k][0];
  return { start: base + BigInt(first), end: base + BigInt(end) };
}
function words(found) {
  const cell = BigInt(map.cell);
  const lines = [map.titles[found.kind], "here    " + hex(found.at * cell) + " - " + hex(found.at * cell + cell - 1n)];
  lines.push("region  " + hex(found.start * cell) + " - " + hex(found.end * cell - 1n));
  [...(found.shares || "")].forEach((digit, i) => {
    if (digit !== "0") lines.push("        " + Math.round(parseInt(digit, 16) / 15 * 100) + " % " + map.titles[i]);
  });
  return lines.join("\\n");
}
image.addEventListener("mousemove", event => {
  const box = image.getBoundingClientRect();
  const found = find(event.clientX - box.left, event.clientY - box.top);
  told.style.display = found ? "block" : "none";
  if (!found) return;
  told.textContent = words(found);
  told.style.left = Math.min(event.clientX + 16, innerWidth - told.offsetWidth - 8) + "px";
  told.style.top = Math.min(event.clientY + 16, innerHeight - told.offsetHeight - 8) + "px";
});
image.addEventListener("mouseleave", () => { told.style.display = "none"; });
"""


def check_name(path: str) -> None:
    """Raise UsageError unless the file name ends in .png or .html."""
    if not path.endswith((".png", ".html")):
        raise UsageError("a map's name ends in .png or .html", found=path)


def write_map(
    path: str, source: str, counts: ClassCounts, cells: Cells, inputs: Iterable[str] = (), *, force: bool = False
) -> None:
    """Write a map of the dump ``source`` to a .png or .html file.

    The files in ``inputs`` are never overwritten, other files only with ``force``.
    """
    pages = {
        **counts.pages(),
        "absent": counts.existing - counts.stored,
        "unreadable": counts.unreadable,
        "hole": counts.total - counts.existing,
    }
    totals = [pages[name] for name in cells.categories]
    drawing = draw(cells, totals, counts.page_size)
    data = drawing.png if path.endswith(".png") else _page(source, counts, cells, totals, drawing).encode()
    with saved(path, inputs, force=force, what="map") as out:
        out.write(data)


def _page(source: str, counts: ClassCounts, cells: Cells, totals: list[int], drawing: Drawing) -> str:
    """Return the map as a self-contained HTML page."""
    name = html.escape(shown(source))
    legend = "\n".join(
        f'<tr><td><i style="background:#{colour:06x}"></i>{html.escape(title)}</td>'
        f"<td>{count:,}</td><td>{size_text(count * counts.page_size)}</td></tr>"
        for title, colour, count in zip(cells.categories.values(), colours(cells), totals)
    )
    cell = counts.page_size << cells.layout.shift
    data = {
        "left": LEFT, "side": SIDE, "columns": COLUMNS, "cell": str(cell),
        "titles": list(cells.categories.values()),
        "places": [
            {"top": top, "first": band.first, "rows": band.end - band.first,
             "runs": _runs(cells, band.first * COLUMNS, main)}
            for band, top, main in zip(cells.layout.bands, drawing.tops, drawing.main)
        ],
    }  # fmt: skip
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    picture = base64.b64encode(drawing.png).decode()
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Memory of {name}</title><style>{_STYLE}</style></head>
<body>
<h1>Memory of {name}</h1>
<p>One cell is {binary_size(cell)}, one row {binary_size(cell * COLUMNS)}; a cell has the colour of what most of it is.
Point at a cell to read what it is.</p>
<img id="map" width="{drawing.width}" height="{drawing.height}" alt="Map of memory"
 src="data:image/png;base64,{picture}">
<table><tr><th>Pages</th><th>Number</th><th>Size</th></tr>
{legend}
</table>
<div id="told"></div>
<script type="application/json" id="data">{text}</script>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _runs(cells: Cells, first: int, main: bytes) -> list[list[int | str]]:
    """Merge equal neighbours into runs: length, category and, if a cell has several pages, their shares."""
    if cells.layout.shift == 0:
        return [[len(list(run)), kind] for kind, run in groupby(main)]
    described = (
        (kind, _shares(cells.by_category(row))) for kind, row in zip(main, cells.rows(first, first + len(main)))
    )
    return [[len(list(run)), kind, shares] for (kind, shares), run in groupby(described)]


def _shares(counts: list[int]) -> str:
    """Return a digit for each category, at least 1 for one that occurs."""
    total = sum(counts)
    return "".join(f"{max(round(count * _SHARES / total), count > 0):x}" for count in counts).rstrip("0")
