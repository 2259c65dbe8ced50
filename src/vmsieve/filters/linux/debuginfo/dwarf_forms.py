"""What DWARF's entries are made of: forms of values, and the table of abbreviations that entries refer to.

Format: DWARF version 5, sections 7.5.3 to 7.5.6 and 7.6; forms of GNU tools for version 4 among them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.debuginfo.dwarf_units import Units

__all__ = [
    "ADDRESS", "BLOCKS", "FLAG_PRESENT", "IMPLICIT_CONST", "LEB", "LINE_STRP", "OFFSET", "REFERENCES", "REF_ADDR",
    "SDATA", "SIZES", "STRING", "STRP", "STRX", "Abbreviations", "leb128",
]  # fmt: skip

# Forms by the size of their value; and other sizes: an offset's, an address's, a number's of as many bytes as it has,
# and what is no number.
OFFSET, ADDRESS, LEB, _OTHER = -1, -2, -3, -4
SIZES: Final = {
    0x01: ADDRESS, 0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, 0x0E: OFFSET, 0x0F: LEB, 0x11: 1, 0x12: 2, 0x13: 4,
    0x14: 8, 0x15: LEB, 0x17: OFFSET, 0x1A: LEB, 0x1B: LEB, 0x1C: 4, 0x1D: OFFSET, 0x1E: 16, 0x1F: OFFSET,
    0x20: 8, 0x22: LEB, 0x23: LEB, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4,
    0x1F01: LEB, 0x1F02: LEB, 0x1F20: OFFSET, 0x1F21: OFFSET,
}  # fmt: skip
#: Forms of blocks by the size of their length.
BLOCKS: Final = {0x03: 2, 0x04: 4, 0x09: LEB, 0x0A: 1, 0x18: LEB}
STRING, SDATA, REF_ADDR, FLAG_PRESENT, IMPLICIT_CONST = 0x08, 0x0D, 0x10, 0x19, 0x21
STRP, LINE_STRP, STRX = 0x0E, 0x1F, (0x1A, 0x25, 0x26, 0x27, 0x28, 0x1F02)
REFERENCES: Final = (0x11, 0x12, 0x13, 0x14, 0x15)

_LEB_MOST: Final = 10
_KINDS_MOST: Final = 1 << 16
_TABLE: Final = 64 << 10

#: A kind of entry in ``.debug_abbrev``: its code, tag, a byte for children, pairs of attribute and form, two zeros.
_NUMBER, _NOT_ZERO = rb"[\x80-\xff]{0,9}[\x00-\x7f]", rb"(?:[\x80-\xff]{1,9}[\x00-\x7f]|[\x01-\x7f])"
_PAIR: Final = rb"%s(?:\x21%s|(?!\x21)%s)" % (_NOT_ZERO, _NUMBER, _NOT_ZERO)
_KIND: Final = re.compile(rb"(%s)%s[\x00\x01](?:%s){0,256}\x00\x00" % (_NOT_ZERO, _NOT_ZERO, _PAIR))

#: Tag, whether there may be children; and of each attribute its number, form, and size or constant.
_Kind = tuple[int, bool, list[tuple[int, int, int]]]


def leb128(data: bytes, at: int, *, signed: bool = False) -> tuple[int, int]:
    """A number of seven bits a byte, and what follows it. Raises IndexError where ``data`` ends, or it has no end."""
    value = shift = 0
    for byte in data[at : at + _LEB_MOST]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value - (1 << shift) if signed and byte & 0x40 else value, at + shift // 7
    raise IndexError


class Abbreviations:
    """What entries of a unit are made of, looked up as far as it is asked for."""

    def __init__(self, units: Units, at: int, sizes: dict[int, int]) -> None:
        self._units, self._start, self._sizes = units, at, sizes
        self._at = 0
        self._data = units.section(".debug_abbrev").at(at, _TABLE)
        self._places: dict[bytes, bytes] = {}
        self._known: dict[bytes, _Kind] = {}

    def get(self, code: bytes) -> _Kind:
        """The kind whose code has these bytes."""
        if code not in self._known:
            while code not in self._places and len(self._places) < _KINDS_MOST and (match := self._next()) is not None:
                self._places.setdefault(match[1], match[0])
                self._at = match.end()
                self._units.count()
            if code not in self._places:
                raise self._units.error("a kind of DWARF entry is not told of", self._start + self._at)
            self._known[code] = self._parse(self._places[code])
        return self._known[code]

    def _next(self) -> re.Match[bytes] | None:
        match = _KIND.match(self._data, self._at)
        if match is None and self._data[self._at : self._at + 1] != b"\0":
            # It may go on where this piece of the section ends.
            self._start += self._at
            self._data, self._at = self._units.section(".debug_abbrev").at(self._start, _TABLE), 0
            match = _KIND.match(self._data)
        return match

    def _parse(self, data: bytes) -> _Kind:
        _, at = leb128(data, 0)
        tag, at = leb128(data, at)
        children = data[at] != 0
        at += 1
        attributes = []
        while at < len(data) - 2:
            attribute, at = leb128(data, at)
            form, at = leb128(data, at)
            size = self._sizes.get(form, _OTHER)
            if form == IMPLICIT_CONST:
                size, at = leb128(data, at, signed=True)
            attributes.append((attribute, form, size))
        return tag, children, attributes
