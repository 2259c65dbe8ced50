"""Drawing of memory maps: an indexed-colour picture with rectangles and text, and PNG (ISO/IEC 15948) by zlib alone."""

from __future__ import annotations

import struct
import zlib
from itertools import islice

from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import Final
from vmsieve.pipeline.dump.report import size_text
from vmsieve.pipeline.inspect.cells import COLUMNS, Band, Cells

SIDE: Final = 4  # width and height of a cell in pixels
LEFT, _TOP, _EDGE = 116, 26, 12  # x of the first column, y of the first row, margin
_LINE: Final = 16  # height of a line of text in pixels
_LABEL_ROWS: Final = 16  # rows from one address label to the next
_INK, _FIRST = 1, 2  # palette: paper, ink, then one colour for each category

#: Colour by category; a category that is missing here gets a spare one.
COLOURS: Final = {
    "kept": 0x1F4E9C, "free": 0xC9E4C5, "unaccepted": 0x8FBF9F, "cache": 0xF2C14E, "cache_private": 0xD98E04,
    "user": 0xD1495B, "hwpoison": 0x000000, "offline": 0x8E5EA2, "zero": 0x9FC5E8, "absent": 0xB0B0B0,
    "unreadable": 0xFF00FF, "hole": 0xEEEEEE,
}  # fmt: skip
_SPARE: Final = (0x00A6A6, 0x7A4E2D, 0x66CC00, 0x336666)

#: Letters of 3 x 5 dots: five octal digits each, a row of three bits a digit.
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ:.,=-/%()"
_DOTS: Final = (
    "755572622771747717175571174717747577111175757757172575565656344436555674647746443455355755"
    "722271115255655444475775565555255526564425563656553421672222555575555255775552555522271247"
    "020200000200024070700070011244512452444221112"
)
_LETTERS: Final = {letter: tuple(map(int, _DOTS[5 * i : 5 * i + 5])) for i, letter in enumerate(_ALPHABET)}


@record
class Drawing:
    """A drawn map."""

    width: int  # in pixels
    height: int  # in pixels
    tops: list[int]  # y coordinate of the first row of each band
    png: bytes  # the picture as a file
    main: list[bytes]  # the most frequent category of each cell, for each band


class Picture:
    """Pixels with one byte each: a number in the palette."""

    def __init__(self, width: int, height: int, palette: list[int]) -> None:
        self.width, self.height = width, height
        self._palette = palette
        self._pixels = bytearray(width * height)

    def fill(self, x: int, y: int, width: int, height: int, colour: int) -> None:
        """Draw a rectangle, clipped to the picture."""
        start, end = max(x, 0), min(x + width, self.width)
        for row in range(max(y, 0), min(y + height, self.height)):
            at = row * self.width
            self._pixels[at + start : at + end] = bytes([colour]) * max(end - start, 0)

    def row(self, x: int, y: int, colours: bytes, height: int) -> None:
        """Draw a row of pixels ``height`` times, one below the other."""
        for line in range(y, y + height):
            at = line * self.width + x
            self._pixels[at : at + len(colours)] = colours

    def text(self, x: int, y: int, text: str) -> None:
        """Draw a line of text, 8 x 10 pixels a letter; an unknown letter is a space."""
        for letter in text.upper():
            for down, bits in enumerate(_LETTERS.get(letter, ())):
                for right in range(3):
                    if bits & 4 >> right:
                        self.fill(x + 2 * right, y + 2 * down, 2, 2, _INK)
            x += 8

    def png(self) -> bytes:
        """Return the picture as a PNG file."""
        rows = (self._pixels[at : at + self.width] for at in range(0, len(self._pixels), self.width))
        palette = b"".join(colour.to_bytes(3, "big") for colour in self._palette)
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 3, 0, 0, 0)
        data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows), 9)
        chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", data), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )


def colours(cells: Cells) -> list[int]:
    """Return the colour of each category as 0xRRGGBB."""
    spare = iter(_SPARE * len(cells.categories))
    return [COLOURS[name] if name in COLOURS else next(spare) for name in cells.categories]


def binary_size(size: int) -> str:
    """Format ``size`` bytes exactly, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size % 1024 or not size:
            return f"{size:,} {unit}"
        size //= 1024
    return f"{size:,} TiB"


def draw(cells: Cells, totals: list[int], page_size: int) -> Drawing:
    """Draw a map with a legend; ``totals``: page frames of each category in all cells."""
    bands, tops, legend = cells.layout.bands, [], _TOP
    for band in bands:  # one below the other, with a line of text between two
        tops.append(legend)
        legend += (band.end - band.first) * SIDE + _LINE
    legend += 4
    width, height = LEFT + COLUMNS * SIDE + _EDGE, legend + len(cells.categories) * _LINE + _EDGE
    picture = Picture(width, height, [0xFFFFFF, 0x202020, *colours(cells)])
    cell = page_size << cells.layout.shift
    picture.text(LEFT, 8, f"1 cell = {binary_size(cell)}   1 row = {binary_size(cell * COLUMNS)}")
    main = [_draw_band(picture, cells, band, top, cell) for band, top in zip(bands, tops)]
    for one, two, top in zip(bands, bands[1:], tops[1:]):
        picture.text(LEFT, top - _LINE + 3, f"hole of {binary_size((two.first - one.end) * COLUMNS * cell)}")
    for number, (title, count) in enumerate(zip(cells.categories.values(), totals)):
        y = legend + number * _LINE
        picture.fill(LEFT, y, 10, 10, _FIRST + number)
        picture.text(LEFT + 20, y, f"{title:<26} {count:>16,} pages {size_text(count * page_size):>10}")
    return Drawing(width, height, tops, picture.png(), main)


def _draw_band(picture: Picture, cells: Cells, band: Band, top: int, cell: int) -> bytes:
    main, known = bytearray(), dict[bytes, int]()
    rows = cells.rows(band.first * COLUMNS, band.end * COLUMNS)
    for number, row in enumerate(range(band.first, band.end)):
        kinds = bytearray()
        for counters in islice(rows, COLUMNS):
            if counters not in known:
                known[counters] = _main(cells.by_category(counters))
            kinds.append(known[counters])
        y = top + number * SIDE
        picture.row(LEFT, y, bytes(_FIRST + kind for kind in kinds for _ in range(SIDE)), SIDE)
        # The label of the next labelled row would overlap that of a first row just above it.
        overlaps = number == 0 and row % _LABEL_ROWS > _LABEL_ROWS - 3 and row + 3 < band.end
        if (row % _LABEL_ROWS == 0 or number == 0) and not overlaps:
            label = f"{row * COLUMNS * cell:X}"
            picture.text(LEFT - 8 - 8 * len(label), y, label)
        main += kinds
    return bytes(main)


def _main(counts: list[int]) -> int:
    """Return the most frequent category; hole only if the cell has no memory."""
    memory = counts[:-1]
    most = max(memory)
    return memory.index(most) if most else len(memory)
