"""Struct pages that follow one and are like it: most are, and need no look of their own."""

from __future__ import annotations

from typing import Final

from vmsieve.filters.kernels.struct_page import (
    BASE,
    COMPOUND_HEAD,
    COUNT_BITS,
    COUNT_MASK,
    FLAGS,
    HEAD,
    HEAD_MASK,
    KIND,
    MAPPING,
    POISON,
    PRIVATE,
    REFCOUNT,
    SIZE,
    half,
    word,
)  # fmt: skip
from vmsieve.formats.kernels import inline
from vmsieve.formats.kernels.primitives import load32, load64, prefetch, store8, swap64

__all__ = ["AHEAD", "alike_ahead", "fill", "tails_ahead"]

_NOWHERE: Final = 0xFFFFFFFFFFFFFFFF
#: How far ahead struct pages are asked for: into the next page of memory. A quarter less time, from a mapped file.
AHEAD: Final = 4096


@inline
def fill(out: int, start: int, count: int, which: int) -> int:
    """Give ``count`` pages from ``start`` on the class ``which``; returns how many got one other than 0."""
    i = start
    while i < start + count:
        store8(out, i, which)
        i += 1
    return count if which else 0


@inline
def tails_ahead(p: int, page: int, tail: int, most: int, head_at: int, swap: int) -> int:
    """How many of the ``most`` struct pages after ``page`` are tails of the same head, and nothing else.

    ``page``: one that :func:`is_tail_of` knows as a tail, whose virtual address is ``tail``.
    """
    size = load64(p, SIZE)
    flags_at = load64(p, FLAGS)
    special = load64(p, HEAD_MASK) | load64(p, POISON)
    if swap:
        special = swap64(special)
    mark = load64(page, head_at)
    target = word(page, head_at, swap) - 1
    head = load64(p, COMPOUND_HEAD)
    if load64(p, BASE) and target != head:
        # A mask: it means this head as far as it reaches.
        most = min(most, (head + (target ^ _NOWHERE) - tail) // size)
    n = 0
    page += size
    while n < most and load64(page, head_at) == mark and load64(page, flags_at) & special == 0:
        prefetch(page, AHEAD)
        page += size
        n += 1
    return n


@inline
def alike_ahead(p: int, page: int, most: int, swap: int, free: int) -> int:
    """How many of the ``most`` struct pages after ``page``, which is no tail, look like it to all rules.

    ``free``: only those that nobody has a reference to.
    """
    size = load64(p, SIZE)
    flags_at = load64(p, FLAGS)
    mapping_at = load64(p, MAPPING)
    kind_at = load64(p, KIND)
    private_at = load64(p, PRIVATE)
    count_at = load64(p, REFCOUNT)
    head_at = load64(p, HEAD)
    # Where it is not known what marks a tail, nothing does.
    tail = 0 if head_at == _NOWHERE else 1
    head_at = head_at if tail else flags_at
    flags = load64(page, flags_at)
    mapping = load64(page, mapping_at)
    kind = load32(page, kind_at)
    private = load64(page, private_at)
    many = load64(p, COUNT_MASK) if free else load64(p, COUNT_MASK) >> COUNT_BITS << COUNT_BITS
    n = 0
    page += size
    while n < most:
        other = (load64(page, flags_at) ^ flags) | (load64(page, mapping_at) ^ mapping)
        other |= (load32(page, kind_at) ^ kind) | (load64(page, private_at) ^ private)
        if other | (word(page, head_at, swap) & tail) | (half(page, count_at, swap) & many):
            break
        prefetch(page, AHEAD)
        page += size
        n += 1
    return n
