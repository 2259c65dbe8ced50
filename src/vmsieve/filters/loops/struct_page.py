"""Fields of one struct page and its neighbours, decoded by the parameters."""

from __future__ import annotations

from vmsieve.filters.loops import parameters as at
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load8, load16, load32, load64, swap16, swap32, swap64
from vmsieve.formats.slim.typing import Final

#: No page has 2**28 references; garbage usually has more.
REFCOUNT_BITS: Final = 28


@inline
def field64(page: int, offset: int, swap: int) -> int:
    """Read a 64-bit field of a struct page."""
    value = load64(page, offset)
    return swap64(value) if swap else value


@inline
def field32(page: int, offset: int, swap: int) -> int:
    """Read a 32-bit field."""
    value = load32(page, offset)
    return swap32(value) if swap else value


@inline
def field_of_width(page: int, offset: int, width: int, swap: int) -> int:
    """Read a field of 1, 2 or 4 bytes; for ``width`` 8 the low byte of a 64-bit field."""
    if width == 8:
        return field64(page, offset, swap) & 0xFF
    if width == 4:
        return field32(page, offset, swap)
    if width == 1:
        return load8(page, offset)
    value = load16(page, offset)
    return swap16(value) if swap else value


@inline
def compound_pages(p: int, page: int, pfn: int, flags: int, swap: int) -> int:
    """Return how many page frames the compound page of head ``page`` has; 1 if its order is unknown or impossible."""
    mask = load64(p, at.HEAD_FLAG)
    width = load64(p, at.ORDER_WIDTH)
    if flags & mask == 0 or width == 0:
        return 1
    order = field_of_width(page + load64(p, at.SIZE), load64(p, at.ORDER_AT), width, swap)
    if order >= 64:
        return 1
    pages = 1 << order
    return 1 if pfn & (pages - 1) else pages


@inline
def is_copied_head(p: int, page: int, pfn: int, tail_at: int, swap: int) -> int:
    """True if a head among the tails of a compound page is that compound page's own head, mapped again.

    A kernel with ``hugetlb_free_vmemmap=on`` maps all struct pages of a huge page to the first page of them (Linux
    commit e7d324850bfc, "mm: hugetlb: free the 2nd vmemmap page associated with each HugeTLB page", v5.18). Such a copy
    is recognised by its order: no compound page of that order can begin here.
    """
    width = load64(p, at.ORDER_WIDTH)
    if width == 0 or tail_at == at.NOWHERE or field64(page, tail_at, swap) & 1:
        return 0
    order = field_of_width(page + load64(p, at.SIZE), load64(p, at.ORDER_AT), width, swap)
    return order < 64 and pfn & ((1 << order) - 1) != 0


@inline
def is_hugetlb(p: int, page: int, flags: int, kind: int, swap: int) -> int:
    """True if a head belongs to hugetlbfs."""
    how = load64(p, at.HUGETLB_BY)
    if how == 0 or flags & load64(p, at.HEAD_FLAG) == 0:
        return 0
    value = load64(p, at.HUGETLB_VALUE)
    if how == 1:
        return kind & load64(p, at.HUGETLB_MASK) == value
    tail = page + load64(p, at.SIZE)
    if how == 2:
        return field64(tail, load64(p, at.FLAGS), swap) & value != 0
    return field_of_width(tail, load64(p, at.HUGETLB_AT), load64(p, at.ORDER_WIDTH), swap) == value


@inline
def is_slab(p: int, flags: int, kind: int) -> int:
    """True if a page other than a tail belongs to the slab allocator: by its type, or before v6.10 by a flag."""
    mask = load64(p, at.SLAB_MASK)
    if mask:
        return kind & mask == load64(p, at.SLAB_TYPE)
    return flags & load64(p, at.SLAB_FLAG) != 0


@inline
def is_tail_of(p: int, word: int, tail: int) -> int:
    """True if a tail, whose struct page is at virtual address ``tail``, points to the preceding head.

    ``word`` is the head's address plus 1. Since v7.1, with the vmemmap optimisation, it is a mask for the tail's own
    address, plus 1 (``include/linux/page-flags.h``).
    """
    head = load64(p, at.COMPOUND_HEAD)
    target = word - 1
    if target == head or load64(p, at.BASE) == 0:
        return 1
    low = target ^ at.NOWHERE
    return low & (low + 1) == 0 and tail & target == head


@inline
def believed_hits(hits: int, count: int, unreferenced: int) -> int:
    """Return the class bits that the reference counter does not contradict.

    ``unreferenced``: class bits that require a counter of 0.
    """
    if count >> REFCOUNT_BITS:
        return 0
    return hits & (unreferenced ^ 0xFF) if count else hits
