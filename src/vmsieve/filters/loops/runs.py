"""Runs of struct pages that are alike.

Most struct pages equal their predecessor in every field that a rule reads. A run costs one full look and then a few
comparisons a page. All comparisons but that of ``private`` are of bits, so constants are byte-swapped once instead of
every field.
"""

from __future__ import annotations

from vmsieve.filters.loops import parameters as at
from vmsieve.filters.loops.struct_page import REFCOUNT_BITS, field64
from vmsieve.filters.rules import MAPPING_BITS, ORDERS
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load32, load64, prefetch, store8, swap32, swap64
from vmsieve.formats.slim.typing import Final

_NO_TYPE: Final = 0xFFFFFFFF
#: Bytes between a struct page and the one that is prefetched: into the next page of memory, which hardware prefetchers
#: do not reach. Takes a quarter off the time from a mapped file.
AHEAD: Final = 4096


@inline
def fill(out: int, start: int, count: int, which: int) -> int:
    """Set the class of ``count`` pages from ``start`` on; returns how many classes other than 0 were set."""
    i = start
    while i < start + count:
        store8(out, i, which)
        i += 1
    return count if which else 0


@inline
def tails_ahead(p: int, page: int, tail: int, most: int, tail_at: int, swap: int) -> int:
    """Count the struct pages after ``page``, ``most`` at most, that are plain tails of the same head.

    ``page`` passed :func:`is_tail_of`; its virtual address is ``tail``. Poisoned and reserved tails end the run: they
    have classes of their own. So do heads, which may be copies of the compound page's own.
    """
    size = load64(p, at.SIZE)
    flags_at = load64(p, at.FLAGS)
    special = load64(p, at.HEAD_FLAG) | load64(p, at.POISON_FLAG) | load64(p, at.RESERVED_FLAG)
    if swap:
        special = swap64(special)
    mark = load64(page, tail_at)
    target = field64(page, tail_at, swap) - 1
    head = load64(p, at.COMPOUND_HEAD)
    if load64(p, at.BASE) and target != head:
        # The word is a mask for the tail's own address: it leads to this head only within the masked span.
        most = min(most, (head + (target ^ at.NOWHERE) - tail) // size)
    n = 0
    page += size
    while n < most and load64(page, tail_at) == mark and load64(page, flags_at) & special == 0:
        prefetch(page, AHEAD)
        page += size
        n += 1
    return n


@inline
def members_ahead(p: int, page: int, most: int, swap: int) -> int:
    """Count the struct pages from ``page`` on, ``most`` at most, that look like members of a free block.

    ``free_pages_prepare`` and the merging of blocks (Linux mm/page_alloc.c) leave pages without a type, without
    references and not marked as tails.
    """
    size = load64(p, at.SIZE)
    kind_at = load64(p, at.KIND)
    count_at = load64(p, at.REFCOUNT)
    many = load64(p, at.REFCOUNT_MASK)
    tail_at = load64(p, at.TAIL_AT)
    tail = 0 if tail_at == at.NOWHERE else 1
    tail_at = tail_at if tail else 0
    if swap:
        tail = swap64(tail)
    n = 0
    while n < most:
        if (load32(page, kind_at) ^ _NO_TYPE) | (load32(page, count_at) & many) | (load64(page, tail_at) & tail):
            break
        prefetch(page, AHEAD)
        page += size
        n += 1
    return n


@inline
def alike_ahead(p: int, page: int, most: int, swap: int, free: int) -> int:
    """Count the struct pages after ``page``, ``most`` at most, that every rule takes for the same as it.

    ``page`` is no tail. ``free``: only pages without references count.
    """
    size = load64(p, at.SIZE)
    flags_at = load64(p, at.FLAGS)
    mapping_at = load64(p, at.MAPPING)
    kind_at = load64(p, at.KIND)
    private_at = load64(p, at.PRIVATE)
    count_at = load64(p, at.REFCOUNT)
    tail_at = load64(p, at.TAIL_AT)
    # Without a tail mark, bit 0 of no word means a tail.
    tail = 0 if tail_at == at.NOWHERE else 1
    tail_at = tail_at if tail else flags_at
    many = load64(p, at.REFCOUNT_MASK) if free else load64(p, at.REFCOUNT_MASK) >> REFCOUNT_BITS << REFCOUNT_BITS
    flag_bits = load64(p, at.KNOWN_FLAGS)
    mapping_bits = MAPPING_BITS
    # Bits are compared as they are stored; of private a number, as rules see any value from ORDERS on as ORDERS.
    if swap:
        tail = swap64(tail)
        many = swap32(many)
        flag_bits = swap64(flag_bits)
        mapping_bits = swap64(mapping_bits)
    flags = load64(page, flags_at)
    mapping = load64(page, mapping_at)
    kind = load32(page, kind_at)
    least = min(field64(page, private_at, swap), ORDERS)
    span = at.NOWHERE - ORDERS if least == ORDERS else 0
    n = 0
    page += size
    while n < most:
        other = ((load64(page, flags_at) ^ flags) & flag_bits) | ((load64(page, mapping_at) ^ mapping) & mapping_bits)
        other |= (load32(page, kind_at) ^ kind) | (load64(page, tail_at) & tail) | (load32(page, count_at) & many)
        if other or field64(page, private_at, swap) - least > span:
            break
        prefetch(page, AHEAD)
        page += size
        n += 1
    return n
