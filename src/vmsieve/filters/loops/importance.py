"""Loops that mark pages: of slab caches and boot allocations by their struct pages, and those that words point into."""

from __future__ import annotations

from vmsieve.filters.loops.parameters import FLAGS, KIND, NOWHERE, RESERVED_FLAG, SIZE, SWAP, TAIL_AT
from vmsieve.filters.loops.struct_page import field32, field64, is_slab
from vmsieve.formats.compiler import loop
from vmsieve.formats.compiler.primitives import load8, load64, store8, store64
from vmsieve.formats.loops.lookup import is_wanted
from vmsieve.formats.slim.typing import Final

#: Marks: a page with PG_reserved; a slab page of a wanted cache, of a cache that can be reclaimed, of any other.
RESERVED: Final = 1
TASKS: Final = 2
RECLAIMABLE: Final = 4
SLAB: Final = 8


@loop
def mark_pages(
    p: int, pages: int, count: int, cache_at: int, tasks: int, reclaimable: int, state: int, bit: int, out: int,
    stride: int,
) -> int:  # fmt: skip
    """Set the bits of marked pages in four bitmaps; return how many pages have a mark.

    Args:
        p: Address of the parameters of :mod:`vmsieve.filters.loops.parameters`.
        pages: Address of ``count`` struct pages.
        cache_at: Offset of a slab page's ``slab_cache``; NOWHERE: it is not known.
        tasks: Address of a hash table of :mod:`vmsieve.formats.loops.lookup`: addresses of caches.
        reclaimable: Likewise.
        state: Address of a word that carries the mark of a compound page's head between calls.
        bit: Bit of the first page.
        out: Address of four bitmaps of ``stride`` bytes, in the order of the marks.
    """
    size = load64(p, SIZE)
    swap = load64(p, SWAP)
    tail_at = load64(p, TAIL_AT)
    reserved = load64(p, RESERVED_FLAG)
    mark = load64(state, 0)
    found = 0
    for i in range(count):
        page = pages + i * size
        if tail_at == NOWHERE or field64(page, tail_at, swap) & 1 == 0:
            flags = field64(page, load64(p, FLAGS), swap)
            mark = 0
            if is_slab(p, flags, field32(page, load64(p, KIND), swap)):
                mark = SLAB
                if cache_at != NOWHERE:
                    cache = field64(page, cache_at, swap)
                    if is_wanted(tasks, cache):
                        mark = TASKS
                    elif is_wanted(reclaimable, cache):
                        mark = RECLAIMABLE
            elif flags & reserved:
                mark = RESERVED
        if mark:
            at = out + (bit + i >> 3)
            if mark == TASKS:
                at += stride
            elif mark == RECLAIMABLE:
                at += 2 * stride
            elif mark == SLAB:
                at += 3 * stride
            store8(at, 0, load8(at, 0) | 1 << (bit + i & 7))
            found += 1
    store64(state, 0, mark)
    return found


@loop
def mark_targets(words: int, count: int, swap: int, start: int, end: int, shift: int, out: int) -> int:
    """Set the bit of each page that a word points into; return the number of such words.

    Args:
        words: Address of ``count`` 64-bit words; ``swap``: in the other byte order.
        start: Addresses from here up to ``end`` count; bit 0 of ``out`` is the page of ``start``.
        shift: Binary logarithm of the page size.
    """
    found = 0
    for i in range(count):
        word = field64(words, i * 8, swap)
        if start <= word and word < end:
            bit = (word >> shift) - (start >> shift)
            store8(out + (bit >> 3), 0, load8(out + (bit >> 3), 0) | 1 << (bit & 7))
            found += 1
    return found
