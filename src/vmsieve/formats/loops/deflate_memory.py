"""Scratch memory of the deflate loops: layout and initial tables.

The three alphabets of a block share one numbering, so each symbol has one index in every array: literals and lengths,
distances from :data:`DISTANCES` on, code lengths from :data:`ORDERS` on.
"""

from __future__ import annotations

import struct
from itertools import groupby

from vmsieve.formats.loops.huffman import WORK_SIZE
from vmsieve.formats.slim.typing import Final

#: The end-of-block symbol; lengths follow.
END: Final = 256
DISTANCES: Final = 288
ORDERS: Final = 320
_SYMBOLS: Final = 352

# Constants: bytes with their bits reversed; symbol by length less 3; symbol by distance less 1 (>> 7 from 256 on); for
# both alphabets 32-bit words: a symbol's lowest value (less 3 or 1) and, from bit 16 on, its number of extra bits; the
# order in which code lengths are described.
REVERSED, LENGTH_SYMBOLS, DISTANCE_SYMBOLS, LENGTH_FORMS, DISTANCE_FORMS, ORDER = 0, 256, 512, 1024, 1152, 1280
#: Symbol counts, 16-bit words.
COUNTS: Final = 1312
#: Three more counts of literals, by position modulo 4: equal neighbours would wait for each other's store.
MORE_COUNTS: Final = COUNTS + _SYMBOLS * 2
#: Code lengths in bits, bytes.
LENGTHS: Final = MORE_COUNTS + 3 * 512
#: Codes, 32-bit words: the code, first bit lowest, and from bit 16 on its length.
CODES: Final = LENGTHS + _SYMBOLS
#: Description of the code lengths, 16-bit words: a symbol, and from bit 5 on its extra bits.
RUNS: Final = CODES + _SYMBOLS * 4
#: Number of literals, a 64-bit word.
FOUND: Final = RUNS + _SYMBOLS * 2
WORK: Final = FOUND + 8
#: Last place of four bytes, 16-bit words by a 13-bit hash.
TABLE: Final = WORK + WORK_SIZE
#: All literals, then the sequences, 64 bits each.
LITERALS: Final = TABLE + (2 << 13)

_ORDER: Final = bytes([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15])
#: Lengths of the predefined codes, a hexadecimal digit per symbol of the two alphabets. From pages of six dumps of four
#: architectures, then smoothed: their description takes 40 bytes of each page, that of the best codes 107.
_FAST_LENGTHS: Final = (
    "4888888888888888888aaaaaaaaaaaaa69999999999999888888888888888888888888888899999"
    "999999999999999999777777777777777777777999999999999999999999999999aaaaaaaaaaaaa"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa7aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa9999999999999"
    "99999999999999999969945555777777777aaaaaaaaaaaaa777777455554444444444446aaaaaa9"
)
#: The same for the alphabet of code lengths, which describes them.
_FAST_ORDERS: Final = "0000454453300000100"


def memory_size(page_size: int) -> int:
    """Bytes of scratch memory for a page: 40 KiB for 4 KiB. It begins with :func:`constants`."""
    return LITERALS + 3 * page_size + 128


def constants(order: str) -> bytes:
    """The start of scratch memory, in byte order ``order`` of :mod:`struct`."""
    reverse = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))
    lengths = [(i, 0) for i in range(8)] + [((i & 3 | 4) << (i >> 2) - 1, (i >> 2) - 1) for i in range(8, 28)]
    lengths.append((255, 0))
    distances = [(i, 0) for i in range(4)] + [((i & 1 | 2) << (i >> 1) - 1, (i >> 1) - 1) for i in range(4, 30)]
    length_symbols = bytes(max(s for s, (base, _) in enumerate(lengths) if base <= n) for n in range(256))
    places = [*range(256), *(i << 7 for i in range(256))]
    distance_symbols = bytes(max(s for s, (base, _) in enumerate(distances) if base <= n) for n in places)
    forms = [struct.pack(f"{order}{len(f)}I", *(base | extra << 16 for base, extra in f)) for f in (lengths, distances)]
    return reverse + length_symbols + distance_symbols + b"".join(f.ljust(128, b"\0") for f in forms) + _ORDER


def fast_constants(order: str) -> bytes:
    """The start of scratch memory for predefined codes: also CODES and, in RUNS, the stream's first bits.

    RUNS holds a 64-bit word, their number, then the bits.
    """
    lengths = [int(digit, 16) for digit in _FAST_LENGTHS]
    codes = [*_codes(lengths[:286]), 0, 0, *_codes(lengths[286:])]
    size, header = _header(lengths)
    out = constants(order).ljust(CODES, b"\0") + struct.pack(f"{order}{len(codes)}I", *codes)
    return out.ljust(RUNS, b"\0") + struct.pack(f"{order}Q", size) + header.to_bytes((size + 63) // 64 * 8, "little")


def _codes(lengths: list[int]) -> list[int]:
    """Assign codes to lengths (RFC 1951, 3.2.2), as in CODES."""
    code, out = 0, [0] * len(lengths)
    for length in range(1, 16):
        for symbol in (s for s, n in enumerate(lengths) if n == length):
            out[symbol] = length << 16 | int(f"{code:0{length}b}"[::-1], 2)
            code += 1
        code <<= 1
    return out


def _header(lengths: list[int]) -> tuple[int, int]:
    """Size and value of the bits before a page's sequences, first bit lowest."""
    orders = [int(digit) for digit in _FAST_ORDERS]
    told = max(i for i, symbol in enumerate(_ORDER) if orders[symbol]) + 1
    parts = [(0x0178, 16), (1 | 2 << 1, 3), (29, 5), (29, 5), (told - 4, 4), *((orders[i], 3) for i in _ORDER[:told])]
    codes = _codes(orders)
    for value, group in groupby(lengths):
        left = len(list(group)) - 1
        parts.append((codes[value] & 0xFFFF, codes[value] >> 16))
        while left > 2:
            parts += [(codes[16] & 0xFFFF, codes[16] >> 16), (min(left, 6) - 3, 2)]
            left -= min(left, 6)
        parts += [(codes[value] & 0xFFFF, codes[value] >> 16)] * left
    size = bits = 0
    for part, count in parts:
        bits |= part << size
        size += count
    return size, bits
