"""A memory map as one HTML file: the page's text and its data. The files in ``web`` draw it."""

from __future__ import annotations

import base64
import html
import json

from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any
from vmsieve.formats.text import shown
from vmsieve.pipeline.inspect.cells import COLUMNS
from vmsieve.pipeline.inspect.figure import COLOURS, DARK, binary_size, colours, rounded_size
from vmsieve.pipeline.inspect.mixtures import Mixtures
from vmsieve.pipeline.inspect.pages import fill, web_file
from vmsieve.pipeline.process.dates import date_text

if TYPE_CHECKING:
    from vmsieve.filters.linux.zones import Zone
    from vmsieve.pipeline.inspect.cells import Cells
    from vmsieve.pipeline.inspect.classes import ClassCounts


@record(frozen=True)
class Subject:
    """What a map shows."""

    source: str  # name of the dump
    release: str = ""  # of the kernel; empty if unknown
    crash_time: int | None = None  # seconds since 1970
    zones: list[Zone] = field(default_factory=list)

    def heading(self) -> str:
        """The kernel."""
        return f"Linux {shown(self.release)}" if self.release else "Memory of an unknown kernel"

    def when(self) -> str:
        """The time of the crash."""
        return f"crashed {date_text(self.crash_time)}" if self.crash_time else "no time of a crash"

    def line(self) -> str:
        """Kernel, time and file, in one line."""
        return f"{self.heading()}, {self.when()}: {shown(self.source)}"


def map_page(subject: Subject, counts: ClassCounts, cells: Cells, totals: list[int]) -> str:
    """Return the map as a page that needs no other file and no network."""
    size = rounded_size(counts.existing * counts.page_size)
    memory = f"{size} of memory, {counts.existing:,} pages of {binary_size(counts.page_size)}"
    return fill(
        "map.html",
        title=html.escape(subject.line()),
        heading=html.escape(subject.heading()),
        when=html.escape(subject.when()),
        facts=html.escape(f"{shown(subject.source)} - {memory}"),
        base=web_file("base.css"),
        style=web_file("map.css"),
        legend=_legend(cells, totals, counts.page_size),
        zones=_zones(subject.zones, counts.page_size),
        data=json.dumps(_data(subject, counts, cells), separators=(",", ":")).replace("<", "\\u003c"),
        script="".join(map(web_file, ("map_data.js", "map.js", "map_events.js"))),
    )


def _legend(cells: Cells, totals: list[int], page_size: int) -> str:
    palettes = zip(colours(cells, COLOURS), colours(cells, DARK))
    return "\n".join(
        f'<li{"" if count else " class=none"}><label><input type="checkbox" checked data-category="{number}">'
        f'<span class="swatch" style="--light:#{light:06x};--dark:#{dark:06x}"></span>'
        f"<span>{html.escape(title)}</span></label>"
        f'<span class="pages">{count:,} pages</span><span class="size">{rounded_size(count * page_size)}</span>'
        f'<button type="button" class="only" aria-label="Show only: {html.escape(title)}">only</button></li>'
        for number, (title, count, (light, dark)) in enumerate(zip(cells.categories.values(), totals, palettes))
    )


def _zones(zones: list[Zone], page_size: int) -> str:
    if not zones:
        return ""
    rows = "\n".join(
        f"<tr><td>{zone.node}</td><td>{html.escape(shown(zone.name))}</td>"
        f"<td><code>{zone.first_pfn * page_size:#x} - {zone.end_pfn * page_size - 1:#x}</code></td></tr>"
        for zone in zones
    )
    head = "<tr><th>Node</th><th>Zone</th><th>Addresses</th></tr>"
    return f"<fieldset><legend>NUMA nodes and zones</legend><table class=zones>{head}\n{rows}\n</table></fieldset>"


def _data(subject: Subject, counts: ClassCounts, cells: Cells) -> dict[str, Any]:
    """Return the data that the scripts in ``web`` read."""
    spans = [(band.first * COLUMNS, band.end * COLUMNS) for band in cells.layout.bands]
    mixtures = Mixtures(cells, spans)
    last = [(len(cells.categories) - 3 + i, 0) for i in range(3)]  # absent, unreadable, hole: no level drops them
    levels = [counts.level(level) for level in range(32)]
    nodes: dict[int, list[int]] = {}
    for zone in subject.zones:
        low, high = nodes.get(zone.node, [zone.first_pfn, zone.end_pfn])
        nodes[zone.node] = [min(low, zone.first_pfn), max(high, zone.end_pfn)]
    return {
        "pageSize": counts.page_size,
        "shift": cells.layout.shift,
        "categories": [
            {"name": name, "title": title, "light": f"#{light:06x}", "dark": f"#{dark:06x}"}
            for (name, title), light, dark in zip(
                cells.categories.items(), colours(cells, COLOURS), colours(cells, DARK)
            )
        ],
        "kinds": [*cells.kinds, *last],
        "levels": [(level["pages"], level["bytes"]) for level in levels],
        "always": counts.always,
        "nodes": [{"node": node, "first": low, "end": high} for node, (low, high) in nodes.items()],
        "zones": [
            {"node": zone.node, "zone": shown(zone.name), "first": zone.first_pfn, "end": zone.end_pfn}
            for zone in subject.zones
        ],
        "spans": [(first, end - first) for first, end in spans],
        "mixtures": base64.b64encode(mixtures.packed_table()).decode(),
        "runs": base64.b64encode(mixtures.packed_runs()).decode(),
    }
