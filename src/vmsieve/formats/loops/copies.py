"""Helpers of other loops: words in a given byte order, copies, comparisons, the packers' hash table."""

from __future__ import annotations

from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import (
    big_endian,
    ctz64,
    load8,
    load32,
    load64,
    store8,
    store64,
    swap32,
    swap64,
)
from vmsieve.formats.slim.typing import Final

#: Bytes of a packer's scratch memory: last place of four bytes, 16-bit words by a hash of 12 bits for pages of 4 KiB,
#: else 13. It is cleared for each page, so equal pages are packed equally.
TABLE_SIZE: Final = 2 << 13
#: The hash of four bytes: the highest bits of their product with this.
MIX: Final = 0x9E3779B97F4A7C15
#: No match begins in the last bytes of a page: eight bytes can be read from any match.
TAIL: Final = 16
#: One nibble per distance below 8: its smallest multiple of at least 8.
_MULTIPLES: Final = 0xECA89880


@inline
def copy(out: int, source: int, size: int) -> int:
    """Copy ``size`` bytes between places that do not overlap."""
    at = 0
    while at + 8 <= size:
        store64(out, at, load64(source, at))
        at += 8
    while at < size:
        store8(out, at, load8(source, at))
        at += 1
    return 0


@inline
def copy_match(at: int, distance: int, length: int, limit: int) -> int:
    """Append ``length`` bytes from ``distance`` before ``at``, repeating them if it is shorter; return the copy's end.

    ``distance`` is not 0, and the bytes fit before ``limit``. Bytes between their end and ``limit`` may be overwritten.
    """
    if limit - at < length + 7:
        for i in range(length):
            store8(at, i, load8(at - distance, i))
    elif distance >= 8:
        for i in range((length + 7) >> 3):
            store64(at, i * 8, load64(at - distance, i * 8))
    else:
        # The first eight bytewise, as source and target overlap; then words from a multiple of the distance.
        for i in range(min(length, 8)):
            store8(at, i, load8(at - distance, i))
        far = (_MULTIPLES >> (distance * 4)) & 15
        for i in range(1, (length + 7) >> 3):
            store64(at, i * 8, load64(at + i * 8 - far, 0))
    return at + length


@inline
def copy_run(at: int, here: int, run: int, limit: int, end: int) -> int:
    """Copy ``run`` literals that both sides have room for; return the end of the copy."""
    if limit - at >= run + 7 and end - here >= run + 7:
        for i in range((run + 7) >> 3):
            store64(at, i * 8, load64(here, i * 8))
    else:
        for i in range(run):
            store8(at, i, load8(here, i))
    return at + run


@inline
def copy_short(at: int, here: int, run: int) -> int:
    """Copy ``run`` literals, usually few; both sides have room for 16, or for 7 more than ``run``. Returns the end."""
    store64(at, 0, load64(here, 0))
    store64(at, 8, load64(here, 8))
    for i in range(2, (run + 7) >> 3):
        store64(at, i * 8, load64(here, i * 8))
    return at + run


@inline
def clear_table(table: int, bits: int) -> int:
    """Clear the hash table; return the right shift that makes a hash of ``bits``."""
    for i in range(1 << (bits - 2)):
        store64(table, i * 8, 0)
    return 64 - bits


@inline
def match_length(here: int, match: int, end: int, known: int) -> int:
    """Count equal bytes at ``here`` and ``match``; the first ``known`` are equal, and eight more lie before ``end``."""
    bits = load64(here, known) ^ load64(match, known)
    length = known + 8
    while bits == 0 and here + length + 8 <= end:
        bits = load64(here, length) ^ load64(match, length)
        length += 8
    if bits != 0:
        if big_endian():
            bits = swap64(bits)
        return length - 8 + (ctz64(bits) >> 3)
    while here + length < end and load8(here, length) == load8(match, length):
        length += 1
    return length


@inline
def little32(base: int, offset: int) -> int:
    """Load 32 bits, the first byte lowest on every machine."""
    return swap32(load32(base, offset)) if big_endian() else load32(base, offset)


@inline
def little64(base: int, offset: int) -> int:
    """Load 64 bits, the first byte lowest on every machine."""
    return swap64(load64(base, offset)) if big_endian() else load64(base, offset)


@inline
def slot(word: int, shift: int) -> int:
    """Offset in the hash table of four bytes from :func:`little32`: equal pages are packed alike on all machines."""
    return ((word * MIX) >> shift) * 2


@inline
def word32(base: int, offset: int, swap: int) -> int:
    """Load 32 bits; ``swap``: they are not in this machine's byte order."""
    word = load32(base, offset)
    return swap32(word) if swap else word


@inline
def word64(base: int, offset: int, swap: int) -> int:
    """Load 64 bits; ``swap``: they are not in this machine's byte order."""
    word = load64(base, offset)
    return swap64(word) if swap else word


@inline
def store_pair(base: int, offset: int, first: int, second: int) -> int:
    """Store two 64-bit words."""
    store64(base, offset, first)
    return store64(base, offset + 8, second)
