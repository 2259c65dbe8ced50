"""Words in a given byte order, and pairs of words."""

from __future__ import annotations

from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load32, load64, store64, swap32, swap64


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
