"""Pictures of indexed colours with rectangles and text, and PNG (ISO/IEC 15948) by zlib alone."""

from __future__ import annotations

import struct
import zlib
from functools import cache

from vmsieve.formats.slim.typing import Any, Final

_INK: Final = 1  # number of the letters' colour
_GREYS: Final = 6  # colours between paper and ink, behind the others: edges of letters
_LETTER: Final = 12  # pixels: size of a letter of Pillow's font

#: Letters of 3 x 5 dots: five octal digits each, a row of three bits a digit.
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ:.,=-/%()"
_DOTS: Final = (
    "755572622771747717175571174717747577111175757757172575565656344436555674647746443455355755"
    "722271115255655444475775565555255526564425563656553421672222555575555255775552555522271247"
    "020200000200024070700070011244512452444221112"
)
_LETTERS: Final = {letter: tuple(map(int, _DOTS[5 * i : 5 * i + 5])) for i, letter in enumerate(_ALPHABET)}


class Picture:
    """Pixels with one byte each: a number in the palette."""

    def __init__(self, width: int, height: int, palette: list[int]) -> None:
        """Make a blank picture; colours 0 and 1 are paper and ink."""
        self.width, self.height = width, height
        self._palette = [*palette, *_greys(palette[0], palette[_INK])]
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

    def text(self, x: int, y: int, text: str, *, right: bool = False) -> None:
        """Draw a line of text, 10 pixels high, from ``x`` on, or up to ``x`` if ``right``.

        With Pillow, in its font; otherwise in capitals of 8 x 10 pixels, with a space for an unknown letter.
        """
        font = _font()
        if font is not None:
            mask, (across, down) = font.getmask2(text, "L", anchor="ls")  # from the base line on
            self._smooth(x + across - (mask.size[0] if right else 0), y + 10 + down, mask)
            return
        x -= 8 * len(text) if right else 0
        for letter in text.upper():
            for down, bits in enumerate(_LETTERS.get(letter, ())):
                for across in range(3):
                    if bits & 4 >> across:
                        self.fill(x + 2 * across, y + 2 * down, 2, 2, _INK)
            x += 8

    def _smooth(self, x: int, y: int, mask: Any) -> None:
        """Draw the pixels of ``mask``, 0 to 255 each: how much ink."""
        width, height = mask.size
        steps = [None, *range(len(self._palette) - _GREYS, len(self._palette)), _INK]
        for down in range(height):
            for across in range(width):
                colour = steps[mask.getpixel((across, down)) * (len(steps) - 1) // 255]
                if colour is not None:
                    self.fill(x + across, y + down, 1, 1, colour)

    def file(self) -> bytes:
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


def _greys(paper: int, ink: int) -> list[int]:
    def between(i: int, shift: int) -> int:
        low, high = paper >> shift & 255, ink >> shift & 255
        return (low + (high - low) * i // (_GREYS + 1)) << shift

    return [between(i, 16) | between(i, 8) | between(i, 0) for i in range(1, _GREYS + 1)]


@cache
def _font() -> Any:
    """Pillow's own font; None without Pillow, or if it is older than 10.1 or lacks FreeType."""
    try:
        from PIL import ImageFont

        font = ImageFont.load_default(_LETTER)
    except (ImportError, OSError, TypeError):
        return None
    return font if hasattr(font, "getbbox") and hasattr(font, "path") else None
