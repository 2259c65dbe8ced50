"""Scratch memory of the zstd loops: layout and initial tables.

A sequence has three symbols (RFC 8878, 3.1.1.3.2.1), one of each *alphabet*: literal length, match length, offset. In
arrays of all three, they are in this order and each has 64 places.
"""

from __future__ import annotations

import struct

from vmsieve.formats.slim.typing import Final

#: Bytes of an FSE coder: 64 words, one a symbol, then up to 256 states of 16 bits. A word has two parts of 32 bits: the
#: lower plus a state, shifted right by 16, is the number of bits to write; the state without these bits, times two,
#: plus the upper, is the next state's place.
STATES: Final = 64 * 8
CODER_SIZE: Final = STATES + 256 * 2

# Constants. Bytes: symbol of a literal length below 64, of a match length less 3 below 128; further bits of a symbol of
# the two alphabets; floor of the binary logarithm of a number below 264. Then coders of the predefined tables.
LITERAL_SYMBOLS, MATCH_SYMBOLS, LITERAL_BITS, MATCH_BITS, TOP = 0, 64, 192, 256, 320
PREDEFINED: Final = 584

#: Coders of this page's own tables.
CODERS: Final = PREDEFINED + 3 * CODER_SIZE
#: Symbol counts, 16-bit words.
COUNTS: Final = CODERS + 3 * CODER_SIZE
#: An FSE table in the making: 16-bit words, states a symbol has and the place of its next; bytes, symbol by state.
SHARES: Final = COUNTS + 3 * 64 * 2
PLACES: Final = SHARES + 64 * 2
SPREAD: Final = PLACES + 64 * 2
#: Four counts of literals, 16-bit words, by position modulo 4: equal neighbours would wait for each other's store.
HISTOGRAM: Final = SPREAD + 256 + 64
# A Huffman code in the making. Bytes: the literals that occur, in order; of each of them, code length and rounding
# class; their order by that class. Weights of all literals.
USED, LENGTHS, CLASSES, ORDER, WEIGHTS = (HISTOGRAM + 2048 + 264 * i for i in range(5))
#: 16-bit words: by rounding class the place in ORDER, by length the next code, by weight a count.
CLASS_PLACES, NEXT, WEIGHT_COUNTS = (WEIGHTS + 264 + 32 * i for i in range(3))
#: Codes of literals, 64-bit words: the code in the highest bits, its length in the lowest.
CODES: Final = WEIGHT_COUNTS + 32
#: Number of literals, a 64-bit word.
FOUND: Final = CODES + 256 * 8
#: Last place of five bytes, 16-bit words by a hash of 12 bits for pages of 4 KiB, else 13.
TABLE: Final = FOUND + 8

_LITERAL_BITS: Final = bytes(16) + bytes([1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])
_MATCH_BITS: Final = bytes(32) + bytes([1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])
#: Predefined tables (RFC 8878, 3.1.1.3.2.2): states of each symbol; 0: one of the last states.
_TABLES: Final = (
    bytes([4, 3, *[2] * 11, 1, 1, 1, *[2] * 9, 3, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0]),
    bytes([1, 4, 3, 2, 2, 2, 2, 2, 2, *[1] * 37, *[0] * 7]),
    bytes([1, 1, 1, 1, 1, 1, 2, 2, 2, *[1] * 15, 0, 0, 0, 0, 0]),
)


def table_bits(page_size: int) -> int:
    """Bits of the hash."""
    return 12 if page_size <= 4096 else 13


def literals_at(page_size: int) -> int:
    """Offset of the literals, which sequences follow."""
    return TABLE + (2 << table_bits(page_size))


def memory_size(page_size: int) -> int:
    """Bytes of scratch memory for a page: 40 KiB for 4 KiB. It begins with :func:`constants`."""
    return literals_at(page_size) + page_size + 80 + (page_size // 4 + 1) * 16


def constants(order: str) -> bytes:
    """The start of scratch memory, in byte order ``order`` of :mod:`struct`."""
    symbols = _symbols(_LITERAL_BITS)[:64] + _symbols(_MATCH_BITS)[:128]
    bits = _LITERAL_BITS.ljust(64, b"\0") + _MATCH_BITS.ljust(64, b"\0")
    top = bytes(max(i, 1).bit_length() - 1 for i in range(264))
    coders = [_coder(order, table, log) for table, log in zip(_TABLES, (6, 6, 5))]
    return symbols + bits + top + b"".join(coders)


def _symbols(bits: bytes) -> bytes:
    """Symbols of the numbers from 0 on, by their further bits."""
    return b"".join(bytes([symbol]) * (1 << count) for symbol, count in enumerate(bits))


def _coder(order: str, shares: bytes, log: int) -> bytes:
    """A coder of ``1 << log`` states (RFC 8878, 4.1.1)."""
    size = 1 << log
    rare = [symbol for symbol, share in enumerate(shares) if share == 0]
    spread = [*[-1] * (size - len(rare)), *reversed(rare)]
    at = 0
    for symbol, share in enumerate(shares):
        for _ in range(share):
            spread[at] = symbol
            at = (at + size // 2 + size // 8 + 3) % size
            while at >= size - len(rare):
                at = (at + size // 2 + size // 8 + 3) % size
    states = [(symbol, size + state) for state, symbol in enumerate(spread)]
    states.sort(key=lambda pair: pair[0])
    words = []
    for symbol, share in enumerate(max(share, 1) for share in shares):
        most = log + 1 - share.bit_length()
        start = next(i for i, pair in enumerate(states) if pair[0] == symbol)
        words.append((STATES + (start - share) * 2) << 32 | ((most << 16) - (share << most)) & 0xFFFFFFFF)
    content = struct.pack(f"{order}{len(words)}Q", *words).ljust(STATES, b"\0")
    return content + struct.pack(f"{order}{size}H", *(state for _, state in states)).ljust(CODER_SIZE - STATES, b"\0")
