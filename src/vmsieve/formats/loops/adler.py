"""Adler-32, the checksum of zlib streams (RFC 1950), eight bytes at a time."""

from __future__ import annotations

from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import big_endian, load8, load64, store32, swap32, swap64
from vmsieve.formats.slim.typing import Final

_BASE: Final = 65521
#: Words per block: their sums, and the sums of those sums, fit into 16 bits.
_BLOCK: Final = 16
_BYTES: Final = 0x00FF00FF00FF00FF
_PAIRS: Final = 0x0000FFFF0000FFFF


@inline
def put_adler32(at: int, source: int, size: int) -> int:
    """Write the checksum that ends a stream; return the stream's end."""
    check = adler32(source, size)
    store32(at, 0, check if big_endian() else swap32(check))
    return at + 4


@inline
def adler32(source: int, size: int) -> int:
    """Compute the checksum of up to 65536 bytes: few enough for one division at the end."""
    low = 1
    high = 0
    at = 0
    while at + _BLOCK * 8 <= size:
        # Four 16-bit lanes each: even bytes, odd bytes, and running sums of the bytes before each word.
        even = 0
        odd = 0
        before = 0
        for i in range(_BLOCK):
            word = load64(source, at + i * 8)
            if big_endian():
                word = swap64(word)
            before += even + odd
            even += word & _BYTES
            odd += (word >> 8) & _BYTES
        # A byte's weight is the number of bytes from it to the block's end: 8 to 1 within its word.
        high += low * _BLOCK * 8 + _lanes(before, 8, 8, 8, 8) + _lanes(even, 8, 6, 4, 2) + _lanes(odd, 7, 5, 3, 1)
        low += _lanes(even + odd, 1, 1, 1, 1)
        at += _BLOCK * 8
    while at < size:
        low += load8(source, at)
        high += low
        at += 1
    return (high % _BASE) << 16 | low % _BASE


@inline
def _lanes(lanes: int, first: int, second: int, third: int, fourth: int) -> int:
    """Add four 16-bit lanes, weighted."""
    outer = (lanes & _PAIRS) * (first << 32 | third)
    inner = ((lanes >> 16) & _PAIRS) * (second << 32 | fourth)
    return (outer >> 32) + (inner >> 32)
