"""Pictures of rectangles and text as SVG, of any size: drawn like those of :mod:`vmsieve.pipeline.inspect.picture`."""

from __future__ import annotations

import html
from itertools import groupby

from vmsieve.formats.slim.typing import Final

_INK: Final = 1


class Vector:
    """Shapes of colours that are numbers in a palette."""

    def __init__(self, width: int, height: int, palette: list[int]) -> None:
        """Make a blank picture; colours 0 and 1 are paper and ink."""
        self.width, self.height = width, height
        self._palette = palette
        self._shapes: dict[int, list[str]] = {}  # by colour: commands of a path
        self._texts: list[str] = []

    def fill(self, x: int, y: int, width: int, height: int, colour: int) -> None:
        """Draw a rectangle."""
        self._shapes.setdefault(colour, []).append(f"M{x} {y}h{width}v{height}h-{width}z")

    def row(self, x: int, y: int, colours: bytes, height: int) -> None:
        """Draw a row of pixels ``height`` times, one below the other."""
        for colour, run in groupby(colours):
            count = len(list(run))
            self.fill(x, y, count, height, colour)
            x += count

    def text(self, x: int, y: int, text: str, *, right: bool = False) -> None:
        """Draw a line of text, 10 pixels high, from ``x`` on, or up to ``x`` if ``right``."""
        anchor = ' text-anchor="end"' if right else ""
        self._texts.append(f'<text x="{x}" y="{y + 10}"{anchor} xml:space="preserve">{html.escape(text)}</text>')

    def file(self) -> bytes:
        """Return the picture as an SVG file."""
        paper, ink = f"#{self._palette[0]:06x}", f"#{self._palette[_INK]:06x}"
        paths = [
            f'<path fill="#{self._palette[colour]:06x}" d="{"".join(shapes)}"/>'
            for colour, shapes in self._shapes.items()
        ]
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img">',
            f'<rect width="100%" height="100%" fill="{paper}"/>',
            f'<g shape-rendering="crispEdges">{"".join(paths)}</g>',
            f'<g fill="{ink}" font-family="system-ui, sans-serif" font-size="12">',
            *self._texts,
            "</g>", "</svg>", "",
        ]  # fmt: skip
        return "\n".join(lines).encode()
