"""A picture of the rooms and of who imports whom: ``python -m perf.rooms docs/rooms.svg``.

A room is a package or a module of a floor (``pipeline``, ``filters``, ``formats``). Arrows are imports, including those
for type checkers. An arrow is omitted if others lead to the same room; arrows of a circle are red.
"""

from __future__ import annotations

import argparse
import ast
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOORS: Final = ("pipeline", "filters", "formats")
_PACKAGE: Final = Path(__file__).parents[1] / "src" / "vmsieve"
_HEIGHT, _GAP, _LETTER, _PER_ROW = 22, 26, 7, 15


def room(dotted: str) -> str | None:
    """The room of a module of ``vmsieve``, as ``floor.room``; None for the package's own files."""
    parts = dotted.split(".")
    return ".".join(parts[1:3]) if len(parts) > 2 and parts[1] in FLOORS else None


def modules(package: Path = _PACKAGE) -> dict[str, Path]:
    """Every module on the floors, and its file."""
    found = {}
    for floor in FLOORS:
        for path in sorted((package / floor).rglob("*.py")):
            parts = ("vmsieve", *path.relative_to(package).with_suffix("").parts)
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules that the file imports anywhere; of a package that re-exports a name, the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def arrows(package: Path = _PACKAGE) -> dict[str, set[str]]:
    """Every room, and the rooms that it imports."""
    known = modules(package)
    found: dict[str, set[str]] = defaultdict(set)
    for dotted, path in known.items():
        here = room(dotted)
        if here is None:
            continue
        found[here] |= {there for there in map(room, imports(path, known)) if there not in (None, here)}
    return dict(found)


def reach(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Every room, and all rooms that its arrows lead to, over others too; itself, if it is in a circle."""
    reached = {one: set(others) for one, others in graph.items()}
    while True:
        more = {one: set().union(others, *(reached.get(o, set()) for o in others)) for one, others in reached.items()}
        if more == reached:
            return reached
        reached = more


def _rows(graph: dict[str, set[str]], floor: str) -> list[list[str]]:
    """Rooms of a floor, those that import others above them."""
    reached = reach(graph)
    depth: dict[str, int] = {}
    rooms = sorted(one for one in graph if one.split(".")[0] == floor)
    # Fewer rooms are within reach of a room than of those that import it, circles apart.
    for one in sorted(rooms, key=lambda r: len(reached[r] & set(rooms))):
        below = [depth[o] for o in graph[one] & depth.keys() if one not in reached[o]]
        depth[one] = 1 + max(below, default=-1)
    levels = [sorted(r for r in rooms if depth[r] == level) for level in sorted(set(depth.values()), reverse=True)]
    return [row[at : at + _PER_ROW] for row in levels for at in range(0, len(row), _PER_ROW)]


def draw(graph: dict[str, set[str]]) -> str:
    """The picture, as SVG."""
    places: dict[str, tuple[float, float, float]] = {}
    bands, y, width = [], 16, 0.0
    for floor in FLOORS:
        top = y
        y += 30
        for row in _rows(graph, floor):
            x = 24.0
            for one in row:
                size = len(one.split(".")[1]) * _LETTER + 18.0
                places[one] = (x, y, size)
                x += size + 18
            width = max(width, x + 8)
            y += _HEIGHT + _GAP
        bands.append((floor, top, y - top - 24))
    middle = _centred(places, width)
    shapes = [
        f'<rect class="floor" x="8" y="{top}" width="{width - 8:.0f}" height="{size}"/>'
        f'<text class="name" x="18" y="{top + 18}">{floor}</text>'
        for floor, top, size in bands
    ]
    return _svg(width + 8, y, [*shapes, *_curves(graph, middle), *_boxes(middle)])


def _centred(places: dict[str, tuple[float, float, float]], width: float) -> dict[str, tuple[float, float, float]]:
    ends: dict[float, float] = defaultdict(float)
    for x, y, size in places.values():
        ends[y] = max(ends[y], x + size)
    return {one: (x + (width - 16 - ends[y]) / 2, y, size) for one, (x, y, size) in places.items()}


def _boxes(places: dict[str, tuple[float, float, float]]) -> Iterator[str]:
    for one, (x, y, size) in places.items():
        yield f'<rect class="room" x="{x:.0f}" y="{y:.0f}" width="{size:.0f}" height="{_HEIGHT}" rx="4"/>'
        yield f'<text x="{x + size / 2:.0f}" y="{y + 15:.0f}" text-anchor="middle">{one.split(".")[1]}</text>'


def _curves(graph: dict[str, set[str]], places: dict[str, tuple[float, float, float]]) -> Iterator[str]:
    reached = reach(graph)
    for one, others in sorted(graph.items()):
        for other in sorted(others):
            circle = one in reached.get(other, ())
            if not circle and any(other in reached[o] for o in others - {other}):
                continue
            (x, y, size), (to_x, to_y, to_size) = places[one], places[other]
            start, end = (y + _HEIGHT, to_y) if to_y > y else (y, to_y + _HEIGHT)
            bend = (end - start) / 2 or -30
            start_x, end_x = x + size / 2, to_x + to_size / 2
            yield (
                f'<path class="{"circle" if circle else "arrow"}" marker-end="url(#head)" d="M{start_x:.0f} {start:.0f}'
                f'C{start_x:.0f} {start + bend:.0f} {end_x:.0f} {end - bend:.0f} {end_x:.0f} {end:.0f}"/>'
            )


def _svg(width: float, height: float, shapes: list[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" '
            'font-size="12">',
            "<style>svg{background:#fff}.floor{fill:#f4f6f8;stroke:#c8d0d8}.name{fill:#667;font-style:italic}"
            ".room{fill:#fff;stroke:#345}.arrow{fill:none;stroke:#68a}.circle{fill:none;stroke:#c33}</style>",
            '<marker id="head" markerWidth="7" markerHeight="7" refX="6" refY="3" orient="auto">'
            '<path d="M0 0L6 3L0 6z" fill="context-stroke"/></marker>',
            *shapes,
            "</svg>\n",
        ]
    )


def main() -> None:
    """Draw the rooms of a package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, default=_PACKAGE, help="the folder that has the floors in it")
    parser.add_argument("output", type=Path, help="the SVG file to write")
    arguments = parser.parse_args()
    arguments.output.write_text(draw(arrows(arguments.package)), encoding="utf-8")


if __name__ == "__main__":
    main()
