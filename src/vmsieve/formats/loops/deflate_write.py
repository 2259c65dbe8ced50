"""Writer of a deflate block with dynamic codes (RFC 1951, 3.2.7), from sequences and symbol counts."""

from __future__ import annotations

from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import big_endian, load8, load16, load32, load64, store16, store64, swap64
from vmsieve.formats.loops.deflate_memory import (
    CODES,
    COUNTS,
    DISTANCE_FORMS,
    DISTANCES,
    END,
    LENGTH_FORMS,
    LENGTHS,
    LITERALS,
    ORDER,
    ORDERS,
    REVERSED,
    RUNS,
    WORK,
)  # fmt: skip
from vmsieve.formats.loops.huffman import make_code
from vmsieve.formats.slim.typing import Final

_REPEAT, _ZEROS, _MANY_ZEROS = 16, 17, 18  # symbols of the alphabet of code lengths
_FORMS: Final = 30  # distance symbols; length symbols rounded up
_BITS: Final = 0xFFFF


@inline
def choose_codes(memory: int) -> int:
    """Make codes for the counts, and their description; return the block's size in bits."""
    counts = memory + COUNTS
    cost = 3 + 14
    for i in range(_FORMS):
        cost += load16(counts, (END + 1 + i) * 2) * (load32(memory + LENGTH_FORMS, i * 4) >> 16)
        cost += load16(counts, (DISTANCES + i) * 2) * (load32(memory + DISTANCE_FORMS, i * 4) >> 16)
    for alphabet in range(3):
        first = 0 if alphabet == 0 else DISTANCES if alphabet == 1 else ORDERS
        size = 286 if alphabet == 0 else 30 if alphabet == 1 else 19
        if alphabet == 2:
            _describe(memory)
            cost += load16(counts, (ORDERS + _REPEAT) * 2) * 2
            cost += load16(counts, (ORDERS + _ZEROS) * 2) * 3 + load16(counts, (ORDERS + _MANY_ZEROS) * 2) * 7
        # At most 14 bits: four literals and up to 7 pending bits then fit into a word.
        cost += make_code(
            counts + first * 2, size, 14 if alphabet < 2 else 7, memory + LENGTHS + first, memory + CODES + first * 4,
            memory + REVERSED, memory + WORK,
        )  # fmt: skip
    return cost + _orders(memory) * 3


@inline
def _trimmed(memory: int, alphabet: int) -> int:
    """Number of code lengths to describe: without trailing zeros, but at least RFC 1951's minimum."""
    lengths = memory + LENGTHS + alphabet * DISTANCES
    size = 30 if alphabet else 286
    while size > (1 if alphabet else 257) and load8(lengths, size - 1) == 0:
        size -= 1
    return size


@inline
def _orders(memory: int) -> int:
    """Number of code length symbols to describe, in their own order."""
    size = 19
    while size > 4 and load8(memory + LENGTHS + ORDERS, load8(memory + ORDER, size - 1)) == 0:
        size -= 1
    return size


@inline
def _describe(memory: int) -> int:
    """Describe the code lengths, count the symbols used, and append a terminating word of ones."""
    runs = memory + RUNS
    counts = memory + COUNTS + ORDERS * 2
    for alphabet in range(2):
        lengths = memory + LENGTHS + alphabet * DISTANCES
        size = _trimmed(memory, alphabet)
        at = 0
        while at < size:
            value = load8(lengths, at)
            left = 1
            while at + left < size and load8(lengths, at + left) == value:
                left += 1
            at += left
            told = 1 if value == 0 else 0
            while left > 0:
                symbol = value
                piece = 1
                extra = 0
                if told and left > 2:
                    symbol = _REPEAT if value else _ZEROS if left < 11 else _MANY_ZEROS
                    piece = min(left, 6 if value else 10 if left < 11 else 138)
                    extra = piece - (11 if symbol == _MANY_ZEROS else 3)
                told = 1
                store16(runs, 0, extra << 5 | symbol)
                store16(counts, symbol * 2, load16(counts, symbol * 2) + 1)
                runs += 2
                left -= piece
    store16(runs, 0, _BITS)
    return 0


@inline
def write_block(memory: int, tokens: int, last: int, out: int) -> int:
    """Write the only block of a stream; return its end. ``tokens``, ``last``: addresses of sequences.

    Up to eight bytes behind the end are overwritten.
    """
    place = _write_codes(memory, out)
    literal = memory + LITERALS
    token = tokens
    while 1:
        word = load64(token, 0)
        run = word >> 35
        place = put_literals(memory, place, literal, run)
        literal += run
        if token == last:
            break
        token += 8
        place = put_match(memory, place, word & _BITS, (word >> 30) & 31, (word >> 16) & 511, (word >> 25) & 31)
    return end_block(memory, place)


@inline
def _write_codes(memory: int, out: int) -> int:
    """Write the part before the sequences; return the end in bits. The last byte's other bits are 0."""
    orders = _orders(memory)
    bits = 1 | 2 << 1 | (_trimmed(memory, 0) - 257) << 3 | (_trimmed(memory, 1) - 1) << 8 | (orders - 4) << 13
    put_bits(out, bits)
    at = out + 2
    bits >>= 16
    count = 1
    for i in range(orders):
        bits |= load8(memory + LENGTHS + ORDERS, load8(memory + ORDER, i)) << count
        count += 3
    runs = memory + RUNS
    while 1:
        put_bits(at, bits)
        at += count >> 3
        bits >>= count & 56
        count &= 7
        run = load16(runs, 0)
        if run == _BITS:
            break
        runs += 2
        symbol = run & 31
        code = load32(memory + CODES, (ORDERS + symbol) * 4)
        bits |= ((code & _BITS) | (run >> 5) << (code >> 16)) << count
        count += (code >> 16) + (0 if symbol < _REPEAT else 2 if symbol == _REPEAT else symbol * 4 - 65)
    return at * 8 + count


@inline
def put_literals(memory: int, place: int, literal: int, run: int) -> int:
    """Write ``run`` literals at bit ``place``; return their end. Reads up to four bytes beyond them."""
    codes = memory + CODES
    at = place >> 3
    count = place & 7
    bits = load8(at, 0)
    left = run
    while 1:
        # Usually there are few: up to four are written without a branch on their number.
        for i in range(4):
            code = load32(codes, load8(literal, i) * 4) & (0 - (left > i))
            bits |= (code & _BITS) << count
            count += code >> 16
        put_bits(at, bits)
        at += count >> 3
        bits >>= count & 56
        count &= 7
        if left <= 4:
            break
        literal += 4
        left -= 4
    return at * 8 + count


@inline
def put_match(memory: int, place: int, distance: int, near: int, length: int, symbol: int) -> int:
    """Write a match at bit ``place``: distance less 1, length less 3, and their symbols."""
    at = place >> 3
    count = place & 7
    bits = load8(at, 0)
    code = load32(memory + CODES, (END + 1 + symbol) * 4)
    form = load32(memory + LENGTH_FORMS, symbol * 4)
    bits |= ((code & _BITS) | (length - (form & _BITS)) << (code >> 16)) << count
    count += (code >> 16) + (form >> 16)
    code = load32(memory + CODES, (DISTANCES + near) * 4)
    form = load32(memory + DISTANCE_FORMS, near * 4)
    bits |= ((code & _BITS) | (distance - (form & _BITS)) << (code >> 16)) << count
    put_bits(at, bits)
    return place + (count - (place & 7)) + (code >> 16) + (form >> 16)


@inline
def end_block(memory: int, place: int) -> int:
    """Write the end-of-block symbol at bit ``place``; return the end in bytes."""
    at = place >> 3
    code = load32(memory + CODES, END * 4)
    put_bits(at, load8(at, 0) | (code & _BITS) << (place & 7))
    return (place + (code >> 16) + 7) >> 3


@inline
def put_bits(at: int, bits: int) -> int:
    """Store eight bytes of a stream, first bit lowest; return 0."""
    if big_endian():
        bits = swap64(bits)
    return store64(at, 0, bits)
