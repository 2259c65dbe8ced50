"""Ranks of page frames in a bitmap: how many of its bits are set before each."""

from __future__ import annotations

from vmsieve.formats.compiler import loop
from vmsieve.formats.compiler.primitives import load8, load64, store64
from vmsieve.formats.loops.bits import ones


@loop
def rank_runs(bitmap: int, base: int, bits: int, pfns: int, first: int, count: int, out: int, room: int) -> int:
    """Cut pages into runs with consecutive ranks in a block of a bitmap; return the number of runs.

    Pages behind the block, a page whose bit is clear and those behind it, and runs beyond ``room`` are left.

    Args:
        bitmap: Address of the block's bits, least significant first.
        base: Page frame of bit 0.
        bits: Bits of the block, a multiple of 64.
        pfns: Address of ``count`` native 64-bit words, ascending.
        first: Index of the first page to take.
        out: Address of ``2 * room + 2`` words, set to the index of each run's first page and its rank in the block,
            then to the index of the first page that is left, and 0.
    """
    found = 0
    rank = 0
    at = 0  # bits before this one are counted in rank
    expected = bits
    i = first
    while i < count:
        bit = load64(pfns, i * 8) - base
        if bit >= bits:
            break
        if load8(bitmap, bit >> 3) & (1 << (bit & 7)) == 0:
            break
        if found == 0 or bit != expected:
            while at + 64 <= bit:
                rank += ones(load64(bitmap, at >> 3))
                at += 64
            part = rank
            for byte in range(at >> 3, bit >> 3):
                part += ones(load8(bitmap, byte))
            part += ones(load8(bitmap, bit >> 3) & ((1 << (bit & 7)) - 1))
            # Pages that are neighbours among the bits set continue a run.
            if found == 0 or part != load64(out, found * 16 - 8) + (i - load64(out, found * 16 - 16)):
                if found == room:
                    break
                store64(out, found * 16, i)
                store64(out, found * 16 + 8, part)
                found += 1
        expected = bit + 1
        i += 1
    store64(out, found * 16, i)
    store64(out, found * 16 + 8, 0)
    return found


@loop
def count_up(first: int, count: int, out: int) -> int:
    """Store ``count`` consecutive 64-bit words, from ``first`` on, at address ``out``; return 0."""
    for i in range(count):
        store64(out, i * 8, first + i)
    return 0
