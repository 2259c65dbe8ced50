"""Prefix codes: optimal code lengths for symbol counts, and codes of these lengths (RFC 1951, 3.2.2)."""

from __future__ import annotations

from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load8, load16, load32, store8, store32, store64
from vmsieve.formats.slim.typing import Final

#: Symbols of the largest alphabet, rounded up.
_MOST: Final = 320
_SYMBOL: Final = 511  # bits of a key that hold the symbol; its count is above
_MANY: Final = 63  # few symbols have this count or more: they are sorted by insertion
_HUGE: Final = 0xFFFFFFFF
# Scratch memory: arrays of 32-bit words.
_SORTED, _NODES, _PARENTS = _MOST * 4, _MOST * 8, _MOST * 12
_BUCKETS: Final = _MOST * 16
_LEVELS: Final = _BUCKETS + 256
_NEXT: Final = _LEVELS + 128
#: Bytes of scratch memory.
WORK_SIZE: Final = _NEXT + 128


@inline
def make_code(counts: int, size: int, limit: int, lengths: int, codes: int, mirror: int, work: int) -> int:
    """Make the cheapest code of at most ``limit`` bits; return its cost in bits.

    The code is complete: if fewer than two symbols occur, one or two others get a code of one bit.

    Args:
        counts: Address of ``size`` 16-bit words: symbol counts.
        size: Symbols of the alphabet, at most 320.
        limit: At most 15, and ``1 << limit`` is at least ``size``. A code that reaches it may be slightly suboptimal.
        lengths: Address of ``size`` bytes, rounded up to 8, set to code lengths; 0 for symbols without a code.
        codes: Address of ``size`` 32-bit words, set for symbols with a code: the code, first bit lowest, and from bit
            16 on its length.
        mirror: Address of 256 bytes, each its index with the bits reversed.
        work: Address of :data:`WORK_SIZE` bytes.
    """
    used = 0
    for i in range(size):
        count = load16(counts, i * 2)
        store32(work, used * 4, count << 9 | i)
        used += count != 0
    for i in range((size + 7) >> 3):
        store64(lengths, i * 8, 0)
    if used < 2:
        only = load32(work, 0) & _SYMBOL if used == 1 else 0
        store32(work, 0, load16(counts, 0) << 9)
        store32(work, 4, load16(counts, max(only, 1) * 2) << 9 | max(only, 1))
        used = 2
    _sort(work, used)
    _measure(work, used, limit)
    at = 0
    code = 0
    for i in range(limit):
        length = limit - i
        count = load32(work, _LEVELS + length * 4)
        for _ in range(count):
            store8(lengths, load32(work, _SORTED + at * 4) & _SYMBOL, length)
            at += 1
    for i in range(1, limit + 1):
        store32(work, _NEXT + i * 4, code)
        code += load32(work, _LEVELS + i * 4) << (16 - i)
    cost = 0
    for i in range(used):
        key = load32(work, i * 4)
        symbol = key & _SYMBOL
        length = load8(lengths, symbol)
        cost += (key >> 9) * length
        code = load32(work, _NEXT + length * 4)
        store32(work, _NEXT + length * 4, code + (1 << (16 - length)))
        code = load8(mirror, code & 255) << 8 | load8(mirror, code >> 8)
        store32(codes, symbol * 4, length << 16 | code)
    return cost


@inline
def _sort(work: int, used: int) -> int:
    """Sort keys by count: into buckets, then the last bucket by insertion."""
    buckets = work + _BUCKETS
    for i in range(32):
        store64(buckets, i * 8, 0)
    for i in range(used):
        bucket = min(load32(work, i * 4) >> 9, _MANY)
        store32(buckets, bucket * 4, load32(buckets, bucket * 4) + 1)
    start = 0
    for i in range(_MANY + 1):
        count = load32(buckets, i * 4)
        store32(buckets, i * 4, start)
        start += count
    for i in range(used):
        key = load32(work, i * 4)
        bucket = min(key >> 9, _MANY)
        place = load32(buckets, bucket * 4)
        store32(buckets, bucket * 4, place + 1)
        store32(work, _SORTED + place * 4, key)
    first = load32(buckets, (_MANY - 1) * 4)
    for i in range(first + 1, used):
        key = load32(work, _SORTED + i * 4)
        place = work + _SORTED + i * 4
        while place > work + _SORTED + first * 4 and load32(place - 4, 0) > key:
            store32(place, 0, load32(place - 4, 0))
            place -= 4
        store32(place, 0, key)
    return 0


@inline
def _measure(work: int, used: int, limit: int) -> int:
    """Count codes of each length from 1 to ``limit``: Huffman's algorithm on the sorted keys.

    Nodes are created in ascending order of count, so two queues replace a heap, and are taken without a branch on which
    queue is next.
    """
    store32(work, _SORTED + used * 4, _HUGE)
    store32(work, _NODES, _HUGE >> 9)
    leaf = work + _SORTED
    node = work + _NODES
    new = node
    for i in range(used - 1):
        first = load32(leaf, 0) >> 9
        other = load32(node, 0)
        store32(node, _PARENTS - _NODES, i)
        step = (other < first) * 4
        leaf += 4 - step
        node += step
        first = min(first, other)
        second = load32(leaf, 0) >> 9
        other = load32(node, 0)
        store32(node, _PARENTS - _NODES, i)
        step = (other < second) * 4
        leaf += 4 - step
        node += step
        store32(new, 0, first + min(second, other))
        store32(new, 4, _HUGE >> 9)
        new += 4
    levels = work + _LEVELS
    for i in range(limit + 1):
        store32(levels, i * 4, 0)
    store32(levels, 4, 2)
    # From the root down: each node replaces a leaf by two of the next level. A node too deep replaces the deepest
    # leaf above the limit instead, which keeps the code complete.
    depths = work + _NODES
    store32(depths, (used - 2) * 4, 0)
    for i in range(used - 2):
        this = used - 3 - i
        level = load32(depths, load32(work, _PARENTS + this * 4) * 4) + 1
        store32(depths, this * 4, level)
        if level >= limit:
            level = limit - 1
            while load32(levels, level * 4) == 0:
                level -= 1
        store32(levels, level * 4, load32(levels, level * 4) - 1)
        store32(levels, level * 4 + 4, load32(levels, level * 4 + 4) + 2)
    return 0
