"""Bitmaps of page frames: one bit per page, least significant bit first."""

from __future__ import annotations

from vmsieve.formats.compiler import inline, loop
from vmsieve.formats.compiler.primitives import load8, load32, load64, store8, store32, store64
from vmsieve.formats.loops.copies import store_pair
from vmsieve.formats.slim.typing import Final

#: 64-bit words that :func:`gather_pages` returns.
GATHER_WORDS: Final = 4
#: Index of a page that is known to be zeros, and in no span.
ZERO_PAGE: Final = 0xFFFFFFFF


@inline
def ones(word: int) -> int:
    """Count bits set in a 64-bit word."""
    word = word - ((word >> 1) & 0x5555555555555555)
    word = (word & 0x3333333333333333) + ((word >> 2) & 0x3333333333333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F0F0F0F0F
    return (word * 0x0101010101010101) >> 56


@inline
def all_set(bitmap: int, first: int, end: int) -> int:
    """True if every bit from ``first`` up to ``end`` is set."""
    for bit in range(first, end):
        if load8(bitmap, bit >> 3) & (1 << (bit & 7)) == 0:
            return 0
    return 1


@inline
def set_bit(bitmap: int, bit: int) -> int:
    """Set one bit; return 0."""
    return store8(bitmap, bit >> 3, load8(bitmap, bit >> 3) | 1 << (bit & 7))


@loop
def count_bits(bitmap: int, size: int) -> int:
    """Count bits set in ``size`` bytes at address ``bitmap``."""
    found = 0
    words = size >> 3
    for i in range(words):
        found += ones(load64(bitmap, i * 8))
    for i in range(words << 3, size):
        found += ones(load8(bitmap, i))
    return found


@loop
def gather_pages(
    kept: int, stored: int, first: int, end: int, pages: int, room: int, bridge: int,
    spans: int, most_spans: int, index: int, pfns: int, base: int, result: int, zeros: int,
) -> int:  # fmt: skip
    """Choose the next kept pages to read, in spans of one read each; return their number, 0 at the end.

    Takes up to ``pages`` kept pages from bit ``first`` on, in at most ``most_spans`` spans of at most ``room`` pages in
    all. Two kept pages share a span if at most ``bridge`` pages lie between them, all stored in the input: reading over
    them is cheaper than another read. Both bitmaps end at bit ``end``.

    Args:
        spans: Address of 64-bit pairs, set to first bit and pages of each span.
        index: Address of 32-bit words, set to each kept page's index in the concatenated spans, or ``ZERO_PAGE``.
        pfns: Address of 64-bit words, set to each kept page's bit plus ``base``.
        result: Address of :data:`GATHER_WORDS` words, set to the bit to go on from, kept pages, spans, pages in all
            spans.
        zeros: Address of a bitmap of pages that are known to be zeros and are not read; 0: none are known.
    """
    found = 0
    used = 0
    count = 0
    start = 0
    last = 0
    bit = first
    while bit < end and found < pages:
        if bit & 7 == 0 and load8(kept, bit >> 3) == 0:
            bit += 8
            continue
        if load8(kept, bit >> 3) & (1 << (bit & 7)) == 0:
            bit += 1
            continue
        if zeros != 0 and load8(zeros, bit >> 3) & (1 << (bit & 7)):
            store32(index, found * 4, ZERO_PAGE)
            store64(pfns, found * 8, base + bit)
            found += 1
            bit += 1
            continue
        near = count != 0 and bit - last - 1 <= bridge and used + (bit - last) <= room
        if near and all_set(stored, last + 1, bit):
            used += bit - last
        else:
            if count == most_spans or used == room:
                break
            count += 1
            start = bit
            used += 1
        store_pair(spans, (count - 1) * 16, start, bit - start + 1)
        store32(index, found * 4, used - 1)
        store64(pfns, found * 8, base + bit)
        found += 1
        last = bit
        bit += 1
    store_pair(result, 0, bit, found)
    store_pair(result, 16, count, used)
    return found


@loop
def count_words(words: int, count: int, value: int) -> int:
    """Count 32-bit words equal to ``value`` among ``count`` at address ``words``."""
    found = 0
    for i in range(count):
        if load32(words, i * 4) == value:
            found += 1
    return found


@loop
def and_bits(one: int, other: int, size: int, out: int) -> int:
    """Store the intersection of two bitmaps of ``size`` bytes (a multiple of 8) at address ``out``; return 0."""
    for i in range(size >> 3):
        store64(out, i * 8, load64(one, i * 8) & load64(other, i * 8))
    return 0


@loop
def bridge_gaps(kept: int, readable: int, count: int, gap: int) -> int:
    """Fill gaps of fewer than ``gap`` clear bits, if all of them are readable; return bits set.

    ``kept``, ``readable``: addresses of bitmaps of ``count`` bits.
    """
    found = 0
    last = 0
    seen = 0
    bit = 0
    while bit < count:
        if bit & 7 == 0 and load8(kept, bit >> 3) == 0:
            bit += 8
            continue
        if load8(kept, bit >> 3) & (1 << (bit & 7)):
            if seen and bit - last > 1 and bit - last <= gap and all_set(readable, last + 1, bit):
                found += bit - last - 1
                for between in range(last + 1, bit):
                    set_bit(kept, between)
            seen = 1
            last = bit
        bit += 1
    return found


@loop
def spread_bits(bits: int, count: int, ratio: int, out: int) -> int:
    """Repeat each of ``count`` bits at address ``bits`` ``ratio`` times; return bits set.

    ``out``: address of ``count * ratio`` bits, all 0.
    """
    found = 0
    for bit in range(count):
        if load8(bits, bit >> 3) & (1 << (bit & 7)):
            for part in range(bit * ratio, (bit + 1) * ratio):
                set_bit(out, part)
            found += ratio
    return found


@loop
def join_bits(bits: int, count: int, ratio: int, out: int) -> int:
    """Store the OR of each ``ratio`` bits at address ``bits``; return bits set.

    ``out``: address of ``count`` bits, all 0.
    """
    found = 0
    for bit in range(count):
        some = 0
        for part in range(bit * ratio, (bit + 1) * ratio):
            if load8(bits, part >> 3) & (1 << (part & 7)):
                some = 1
        if some:
            set_bit(out, bit)
            found += 1
    return found
