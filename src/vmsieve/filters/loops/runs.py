"""Struct pages that follow one and are like it: most are, and need no look of their own."""

from __future__ import annotations

from typing import Final

from vmsieve.filters.loops.struct_page import (
    BASE,
    COMPOUND_HEAD,
    COUNT_BITS,
    COUNT_MASK,
    FLAG_BITS,
    FLAGS,
    HEAD,
    HEAD_MASK,
    KIND,
    MAPPING,
    POISON,
    PRIVATE,
    REFCOUNT,
    RESERVED,
    SIZE,
    word,
)  # fmt: skip
from vmsieve.filters.rules import MAPPING_BITS, ORDERS
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load32, load64, prefetch, store8, swap32, swap64

__all__ = ["AHEAD", "alike_ahead", "fill", "members_ahead", "tails_ahead"]

_NOWHERE: Final = 0xFFFFFFFFFFFFFFFF
_NO_TYPE: Final = 0xFFFFFFFF
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
    special = load64(p, HEAD_MASK) | load64(p, POISON) | load64(p, RESERVED)
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
def members_ahead(p: int, page: int, most: int, swap: int) -> int:
    """How many of the ``most`` struct pages from ``page`` on can be in a free block that began before them.

    ``free_pages_prepare`` (Linux mm/page_alloc.c) leaves pages so, whatever they were, and what merges blocks does too:
    no tail, of no type, and nobody's.
    """
    size = load64(p, SIZE)
    kind_at = load64(p, KIND)
    count_at = load64(p, REFCOUNT)
    many = load64(p, COUNT_MASK)
    head_at = load64(p, HEAD)
    tail = 0 if head_at == _NOWHERE else 1
    head_at = head_at if tail else 0
    if swap:
        tail = swap64(tail)
    n = 0
    while n < most:
        if (load32(page, kind_at) ^ _NO_TYPE) | (load32(page, count_at) & many) | (load64(page, head_at) & tail):
            break
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
    many = load64(p, COUNT_MASK) if free else load64(p, COUNT_MASK) >> COUNT_BITS << COUNT_BITS
    flag_bits = load64(p, FLAG_BITS)
    mapping_bits = MAPPING_BITS
    # Of the order of private alone, numbers are compared; of all else, bits as they are stored.
    if swap:
        tail = swap64(tail)
        many = swap32(many)
        flag_bits = swap64(flag_bits)
        mapping_bits = swap64(mapping_bits)
    flags = load64(page, flags_at)
    mapping = load64(page, mapping_at)
    kind = load32(page, kind_at)
    least = min(word(page, private_at, swap), ORDERS)
    span = _NOWHERE - ORDERS if least == ORDERS else 0
    n = 0
    page += size
    while n < most:
        other = ((load64(page, flags_at) ^ flags) & flag_bits) | ((load64(page, mapping_at) ^ mapping) & mapping_bits)
        other |= (load32(page, kind_at) ^ kind) | (load64(page, head_at) & tail) | (load32(page, count_at) & many)
        if other or word(page, private_at, swap) - least > span:
            break
        prefetch(page, AHEAD)
        page += size
        n += 1
    return n
