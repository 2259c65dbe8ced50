"""Drawing of memory maps: title, rows of cells with addresses and zones, legend."""

from __future__ import annotations

from itertools import islice

from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final
from vmsieve.pipeline.inspect.cells import COLUMNS, Band, Cells

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.zones import Zone

SIDE: Final = 4  # width and height of a cell in pixels
LEFT, TOP, _EDGE = 124, 46, 12  # x of the first column, y of the first row, margin
LINE: Final = 16  # height of a line of text in pixels
_LABEL_ROWS: Final = 16  # rows from one address label to the next
_FIRST: Final = 2  # palette: paper, ink, then one colour for each category, then two for zones
_STRIP: Final = 6  # width of the strip of zones
_MOST_ZONES: Final = 64  # in the legend

#: Colour by category; a category that is missing here gets a spare one. People who do not tell red from green can tell
#: any two of them apart: a test computes it.
COLOURS: Final = {
    "kept": 0x0B5FA5, "free": 0xBFE3B4, "unaccepted": 0x1F7A5A, "cache": 0xF2B705, "cache_private": 0x5A3500,
    "user": 0xDA5F2F, "hwpoison": 0x000000, "offline": 0xE8A6D2, "zero": 0x6FB7F0, "absent": 0x9A9A9A,
    "unreadable": 0x6A00A8, "hole": 0xE9ECEF,
}  # fmt: skip
#: The same on dark paper.
DARK: Final = {
    "kept": 0x2A7FD0, "free": 0x3F6B4A, "unaccepted": 0x8FD3B0, "cache": 0xF5B703, "cache_private": 0x7A4A00,
    "user": 0xF0733F, "hwpoison": 0xFFFFFF, "offline": 0xF28FC8, "zero": 0x9CD2F7, "absent": 0x858C94,
    "unreadable": 0x7B2FF0, "hole": 0x262C33,
}  # fmt: skip
_SPARE: Final = (0x00A6A6, 0x7A4E2D, 0x66CC00, 0x336666)
_ZONES: Final = (0x808890, 0xC4CAD0)  # neighbours alternate


def colours(cells: Cells, palette: dict[str, int]) -> list[int]:
    """Return the colour of each category as 0xRRGGBB."""
    spare = iter(_SPARE * len(cells.categories))
    return [palette[name] if name in palette else next(spare) for name in cells.categories]


def binary_size(size: int) -> str:
    """Format ``size`` bytes exactly, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size % 1024 or not size:
            return f"{size:,} {unit}"
        size //= 1024
    return f"{size:,} TiB"


def rounded_size(size: float) -> str:
    """Format ``size`` bytes in binary units, rounded as the page's script rounds."""
    units, number = ("B", "KiB", "MiB", "GiB", "TiB"), 0
    while size >= 1024 and number < len(units) - 1:
        size, number = size / 1024, number + 1
    return f"{size:.1f} {units[number]}" if size < 100 and size % 1 else f"{size:,.0f} {units[number]}"


class Figure:
    """Draws a map on a canvas, a ``Picture`` or a ``Vector``."""

    def __init__(self, cells: Cells, page_size: int, zones: list[Zone]) -> None:
        self._cells, self._page_size, self._zones = cells, page_size, zones[:_MOST_ZONES]
        self._cell = page_size << cells.layout.shift
        self.tops: list[int] = []  # y coordinate of the first row of each band
        self._end = TOP
        for band in cells.layout.bands:  # one below the other, with a line of text between two
            self.tops.append(self._end)
            self._end += (band.end - band.first) * SIDE + LINE
        self._end += 4

    def draw(self, canvas: type[Any], title: str, totals: list[int]) -> bytes:
        """Return the file; ``totals``: page frames of each category in all cells."""
        cells, bands = self._cells, self._cells.layout.bands
        height = self._end + (len(cells.categories) + len(self._zones)) * LINE + _EDGE
        palette = [0xFFFFFF, 0x202020, *colours(cells, COLOURS), *_ZONES]
        picture = canvas(LEFT + COLUMNS * SIDE + _EDGE, height, palette)
        picture.text(LEFT, 8, title)
        picture.text(LEFT, 26, f"1 cell = {binary_size(self._cell)}   1 row = {binary_size(self._cell * COLUMNS)}")
        for band, top in zip(bands, self.tops):
            self._draw_band(picture, band, top)
        for one, two, top in zip(bands, bands[1:], self.tops[1:]):
            size = binary_size((two.first - one.end) * COLUMNS * self._cell)
            picture.text(LEFT, top - LINE + 3, f"hole of {size}")
        self._draw_legend(picture, totals)
        data: bytes = picture.file()
        return data

    def _draw_band(self, picture: Any, band: Band, top: int) -> None:
        rows = self._main(band)
        for number, row in enumerate(range(band.first, band.end)):
            y = top + number * SIDE
            kinds = bytes(_FIRST + kind for kind in islice(rows, COLUMNS) for _ in range(SIDE))
            picture.row(LEFT, y, kinds, SIDE)
            zone = self._zone(row)
            if zone is not None:
                colour = _FIRST + len(self._cells.categories) + zone % 2
                picture.fill(LEFT - _STRIP - 2, y, _STRIP, SIDE, colour)
            # The label of the next labelled row would overlap that of a first row just above it.
            overlaps = number == 0 and row % _LABEL_ROWS > _LABEL_ROWS - 3 and row + 3 < band.end
            if (row % _LABEL_ROWS == 0 or number == 0) and not overlaps:
                picture.text(LEFT - _STRIP - 6, y, f"{row * COLUMNS * self._cell:X}", right=True)

    def _main(self, band: Band) -> Iterator[int]:
        """Yield the most frequent category of each cell; hole only if the cell has no memory."""
        known: dict[bytes, int] = {}
        for counters in self._cells.rows(band.first * COLUMNS, band.end * COLUMNS):
            if counters not in known:
                memory = self._cells.by_category(counters)[:-1]
                known[counters] = memory.index(max(memory)) if any(memory) else len(memory)
            yield known[counters]

    def _zone(self, row: int) -> int | None:
        """Return the number of the zone that spans the middle of a row, or begins in it."""
        pages = COLUMNS << self._cells.layout.shift
        first, end = row * pages, (row + 1) * pages
        found = [i for i, zone in enumerate(self._zones) if zone.first_pfn < end and zone.end_pfn > first]
        inside = [i for i in found if self._zones[i].first_pfn <= first + pages // 2 < self._zones[i].end_pfn]
        return next(iter(inside or found), None)

    def _draw_legend(self, picture: Any, totals: list[int]) -> None:
        y = self._end
        for number, (title, count) in enumerate(zip(self._cells.categories.values(), totals)):
            picture.fill(LEFT, y, 10, 10, _FIRST + number)
            picture.text(LEFT + 20, y, title)
            picture.text(LEFT + 370, y, f"{count:,} pages", right=True)
            picture.text(LEFT + 470, y, rounded_size(count * self._page_size), right=True)
            y += LINE
        for number, zone in enumerate(self._zones):
            picture.fill(LEFT + 2, y, _STRIP, LINE, _FIRST + len(self._cells.categories) + number % 2)
            ends = f"{zone.first_pfn * self._page_size:X} - {zone.end_pfn * self._page_size - 1:X}"
            picture.text(LEFT + 20, y, f"Node {zone.node}, zone {zone.name}: {ends}")
            y += LINE
