"""FSE tables (RFC 8878, 4.1): made from symbol counts, described, and used to encode.

Counts are 16-bit words of up to 64 symbols. ``memory`` is the zstd loops' scratch memory.
"""

from __future__ import annotations

from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import big_endian, load8, load16, load64, store16, store64, swap64
from vmsieve.formats.loops.zstd_memory import PLACES, SHARES, SPREAD, STATES, TOP
from vmsieve.formats.slim.typing import Final

_EACH_BYTE: Final = 0x0101010101010101


@inline
def make_coder(memory: int, counts: int, symbols: int, total: int, log: int, coder: int) -> int:
    """Make the coder of a table with ``1 << log`` states, 6 or 8; at least two symbols occur. Returns 0."""
    _share_states(memory, counts, symbols, total, log)
    start = 0
    for i in range(symbols):
        share = load16(memory + SHARES, i * 2)
        store16(memory + PLACES, i * 2, start)
        store64(memory + SPREAD + start, 0, i * _EACH_BYTE)
        for k in range(1, (share + 7) >> 3):
            store64(memory + SPREAD + start, k * 8, i * _EACH_BYTE)
        most = log - load8(memory + TOP, share)
        word = (STATES + (start - share) * 2) << 32 | (((most << 16) - (share << most)) & 0xFFFFFFFF)
        store64(coder, i * 8, word)
        start += share
    # Neighbours of a symbol's states are size / 2 + size / 8 + 3 apart: the inverse leads from state to state.
    step = 3 if log == 6 else 11
    at = 0
    for state in range(1 << log):
        place = memory + PLACES + load8(memory + SPREAD, at) * 2
        index = load16(place, 0)
        store16(place, 0, index + 1)
        store16(coder + STATES, index * 2, (1 << log) + state)
        at = (at + step) & ((1 << log) - 1)
    return 0


@inline
def _share_states(memory: int, counts: int, symbols: int, total: int, log: int) -> int:
    """Share the states out: in proportion to counts, and at least one for a symbol that occurs; return 0."""
    shares = memory + SHARES
    ratio = (1 << (16 + log)) // total
    left = 1 << log
    most = 0
    largest = 0
    for i in range(symbols):
        count = load16(counts, i * 2)
        share = (count * ratio + 0x7000) >> 16
        share += (count != 0) & (share == 0)
        store16(shares, i * 2, share)
        left -= share
        largest = i if share > most else largest
        most = max(most, share)
    # The largest gets what is left. If there were too few, it gives at most half of its own.
    while left >> 63 and (0 - left) * 2 >= most:
        store16(shares, largest * 2, most - 1)
        left += 1
        most = 0
        for i in range(symbols):
            share = load16(shares, i * 2)
            largest = i if share > most else largest
            most = max(most, share)
    return store16(shares, largest * 2, most + left)


@inline
def put_table(memory: int, log: int, out: int) -> int:
    """Describe the table just made; return its end. Up to eight bytes behind it are overwritten."""
    shares = memory + SHARES
    at = out
    bits = log - 5
    count = 4
    left = (1 << log) + 1
    symbol = 0
    while left > 1:
        share = load16(shares, symbol * 2)
        symbol += 1
        width = load8(memory + TOP, left) + 1
        small = (1 << width) - 1 - left
        value = share + 1
        count_of = width - (value < small)
        value += small if value >> (width - 1) else 0
        bits |= value << count
        count += count_of
        left -= share
        if share == 0:
            # How many more symbols do not occur: two bits each time, 3 if others follow.
            zeros = 0
            while load16(shares, symbol * 2) == 0:
                symbol += 1
                zeros += 1
                if zeros == 3:
                    bits |= 3 << count
                    count += 2
                    zeros = 0
            bits |= zeros << count
            count += 2
        put_bits(at, bits)
        at += count >> 3
        bits >>= count & 56
        count &= 7
    return at + (count != 0)


@inline
def first_state(coder: int, symbol: int) -> int:
    """The first of a symbol's states: what is encoded before it takes at least a bit."""
    word = load64(coder, symbol * 8)
    most = ((word & 0xFFFFFFFF) + 0xFFFF) >> 16
    share = ((most << 16) - (word & 0xFFFFFFFF)) >> most
    return load16(coder + (word >> 32), share * 2)


@inline
def width_of(word: int, state: int) -> int:
    """Number of a state's lowest bits to write before a symbol; ``word``: the coder's for it."""
    return ((word + state) & 0xFFFFFFFF) >> 16


@inline
def next_state(coder: int, word: int, state: int, width: int) -> int:
    """The state after a symbol."""
    return load16(coder + (word >> 32), (state >> width) * 2)


@inline
def top(memory: int, value: int) -> int:
    """Floor of the binary logarithm of 1 to 67583."""
    return load8(memory + TOP, value if value < 256 else value >> 8) + (0 if value < 256 else 8)


@inline
def put_bits(at: int, bits: int) -> int:
    """Store eight bytes of a stream, first bit lowest; return 0."""
    if big_endian():
        bits = swap64(bits)
    return store64(at, 0, bits)
