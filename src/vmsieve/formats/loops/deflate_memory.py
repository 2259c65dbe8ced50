"""Scratch memory of the deflate loops: what lies where in it, and the tables it begins with.

The three alphabets of a block are numbered through: literals and lengths, from :data:`DISTANCES` on distances, from
:data:`ORDERS` on the lengths of codes. So each symbol has one place in an array, whatever it is of.
"""

from __future__ import annotations

import struct
from itertools import groupby
from typing import Final

from vmsieve.formats.loops.huffman import WORK_SIZE

__all__ = [
    "CODES", "COUNTS", "DISTANCES", "DISTANCE_FORMS", "DISTANCE_SYMBOLS", "END", "FOUND", "LENGTHS",
    "LENGTH_FORMS", "LENGTH_SYMBOLS", "LITERALS", "MORE_COUNTS", "ORDER", "ORDERS", "REVERSED", "RUNS", "TABLE",
    "WORK", "constants", "fast_constants", "memory_size",
]  # fmt: skip

#: The symbol that ends a block; those of lengths follow.
END: Final = 256
DISTANCES: Final = 288
ORDERS: Final = 320
_SYMBOLS: Final = 352

# Constants: bytes with their bits reversed; symbols by length less 3, and by distance less 1, the last 7 bits left out
# where it is 256 or more; for both alphabets, 32-bit words of what a symbol stands for at least (from which 3 or 1 is
# taken, too) and, from bit 16 on, how many bits follow it; the order in which lengths of codes are described.
REVERSED, LENGTH_SYMBOLS, DISTANCE_SYMBOLS, LENGTH_FORMS, DISTANCE_FORMS, ORDER = 0, 256, 512, 1024, 1152, 1280
#: How often each symbol occurs, 16-bit words.
COUNTS: Final = 1312
#: The same for literals alone, three times: by where they stand, so that none waits for the byte before it.
MORE_COUNTS: Final = COUNTS + _SYMBOLS * 2
#: How many bits each symbol's code has, bytes.
LENGTHS: Final = MORE_COUNTS + 3 * 512
#: Codes, 32-bit words: the bits, the first one lowest, and from bit 16 on how many they are.
CODES: Final = LENGTHS + _SYMBOLS
#: The description of the lengths of codes, 16-bit words: a symbol, from bit 5 on what follows it.
RUNS: Final = CODES + _SYMBOLS * 4
#: How many literals there are, a 64-bit word.
FOUND: Final = RUNS + _SYMBOLS * 2
WORK: Final = FOUND + 8
#: Where four bytes were last seen, 16-bit words by a hash of 13 bits.
TABLE: Final = WORK + WORK_SIZE
#: All literals one after another; then the sequences, 64 bits each.
LITERALS: Final = TABLE + (2 << 13)

_ORDER: Final = bytes([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15])
#: How many bits the codes made beforehand have, a hexadecimal digit for each symbol of the two alphabets. From pages of
#: six dumps of four architectures, then made even: telling them takes 40 bytes of each page, and the best codes 107.
_FAST_LENGTHS: Final = (
    "4888888888888888888aaaaaaaaaaaaa69999999999999888888888888888888888888888899999"
    "999999999999999999777777777777777777777999999999999999999999999999aaaaaaaaaaaaa"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa7aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa9999999999999"
    "99999999999999999969945555777777777aaaaaaaaaaaaa777777455554444444444446aaaaaa9"
)
#: The same for the lengths of codes, by which these are told.
_FAST_ORDERS: Final = "0000454453300000100"


def memory_size(page_size: int) -> int:
    """Bytes of scratch memory that packing a page takes: 40 KiB if it has 4 KiB. It begins with :func:`constants`."""
    return LITERALS + 3 * page_size + 128


def constants(order: str) -> bytes:
    """What scratch memory begins with, in the byte order that :mod:`struct` calls ``order``."""
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
    """The same for packing with codes made beforehand: with these codes, and what a stream begins with in RUNS.

    That is a 64-bit word, its size in bits, and then its bits.
    """
    lengths = [int(digit, 16) for digit in _FAST_LENGTHS]
    codes = [*_codes(lengths[:286]), 0, 0, *_codes(lengths[286:])]
    size, header = _header(lengths)
    out = constants(order).ljust(CODES, b"\0") + struct.pack(f"{order}{len(codes)}I", *codes)
    return out.ljust(RUNS, b"\0") + struct.pack(f"{order}Q", size) + header.to_bytes((size + 63) // 64 * 8, "little")


def _codes(lengths: list[int]) -> list[int]:
    """Codes of these lengths (RFC 1951, 3.2.2), as in CODES."""
    code, out = 0, [0] * len(lengths)
    for length in range(1, 16):
        for symbol in (s for s, n in enumerate(lengths) if n == length):
            out[symbol] = length << 16 | int(f"{code:0{length}b}"[::-1], 2)
            code += 1
        code <<= 1
    return out


def _header(lengths: list[int]) -> tuple[int, int]:
    """Bits of what comes before a page's sequences, the first one lowest, and how many they are."""
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
