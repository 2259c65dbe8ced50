"""From struct pages to page classes, one call for a run of struct pages.

A page's class is one byte: bit *i* says that rule *i* (:func:`vmsieve.filters.rules.struct_page_rules`) drops it. One
look at a struct page so serves any dump level.
"""

from __future__ import annotations

from typing import Any, Callable, Final

from vmsieve.filters.rules import RULE_STRIDE
from vmsieve.formats.kernels import inline, kernel
from vmsieve.formats.kernels.families import Plugins
from vmsieve.formats.kernels.primitives import (
    load8,
    load16,
    load32,
    load64,
    prefetch,
    store8,
    store64,
    swap16,
    swap32,
    swap64,
)

__all__ = ["RULES_AT", "WORDS", "apply_classes", "census_pages", "classify_pages", "count_missing"]

# The block of parameters: offsets of 64-bit words. The classifier fills it; the last ones carry over between calls.
SIZE: Final = 0  # bytes of a struct page
SWAP: Final = 8  # 1: the dump's byte order is not this machine's
FLAGS: Final = 16  # offsets of fields in a struct page
MAPPING: Final = 24
KIND: Final = 32
PRIVATE: Final = 40
HEAD: Final = 48  # of the word whose bit 0 marks a tail; NOWHERE: there is none
HEAD_MASK: Final = 56  # flag that marks the head of a compound page; 0: not known
ORDER_AT: Final = 64  # of the order in the first tail
ORDER_WIDTH: Final = 72  # bytes of it; 8: low byte of the word; 0: the order is not known
HUGETLB_HOW: Final = 80  # 1: the head's type, 2: a flag of the first tail, 3: a number in the first tail, 0: never
HUGETLB_VALUE: Final = 88
HUGETLB_AT: Final = 96
HUGETLB_MASK: Final = 104
SLAB_TYPE: Final = 112
SLAB_MASK: Final = 120  # 0: slab pages have no type
SLAB_FLAG: Final = 128
ACTIVE: Final = 136  # rules that count, as bits
THOROUGH: Final = 144  # 1: look at every struct page, so that the classes serve every level
POISON: Final = 152  # flag of poisoned memory, which counts for a tail too; 0: not known
POISON_BIT: Final = 160  # the class bit for it
BLOCK_END: Final = 168  # carried over: page frames below this one belong to a block that was dropped,
BLOCK_CLASS: Final = 176  # as this class
COMPOUND_END: Final = 184  # carried over: tails below this one belong to a compound page
COMPOUND_CLASS: Final = 192  # of this class
RULES_AT: Final = 256  # the rules' own parameters
#: 64-bit words of the whole block.
WORDS: Final = (RULES_AT + 8 * RULE_STRIDE) // 8

_NOWHERE: Final = 0xFFFFFFFFFFFFFFFF
_EIGHT: Final = 0x0101010101010101
#: How far ahead struct pages are asked for: into the next page of memory. A quarter less time, from a mapped file.
_AHEAD: Final = 4096


def _rules() -> list[Callable[..., int]]:
    from vmsieve.filters.rules import struct_page_rules

    functions: list[Any] = [rule.matches for rule in struct_page_rules()]
    return functions


match_rules: Any = Plugins(_rules, "hits", RULE_STRIDE)


@inline
def word(page: int, offset: int, swap: int) -> int:
    """A 64-bit field of a struct page."""
    value = load64(page, offset)
    return swap64(value) if swap else value


@inline
def half(page: int, offset: int, swap: int) -> int:
    """A 32-bit field."""
    value = load32(page, offset)
    return swap32(value) if swap else value


@inline
def small(page: int, offset: int, width: int, swap: int) -> int:
    """A field of one, two or four bytes, or, for ``width`` 8, the low byte of a word."""
    if width == 8:
        return word(page, offset, swap) & 0xFF
    if width == 4:
        return half(page, offset, swap)
    if width == 1:
        return load8(page, offset)
    value = load16(page, offset)
    return swap16(value) if swap else value


@inline
def compound_pages(p: int, page: int, pfn: int, flags: int, swap: int) -> int:
    """Page frames of the compound page that ``page`` heads; 1 if it heads none or its order can't be right."""
    mask = load64(p, HEAD_MASK)
    width = load64(p, ORDER_WIDTH)
    if flags & mask == 0 or width == 0:
        return 1
    order = small(page + load64(p, SIZE), load64(p, ORDER_AT), width, swap)
    if order >= 64:
        return 1
    pages = 1 << order
    return 1 if pfn & (pages - 1) else pages


@inline
def copied_head(p: int, page: int, pfn: int, head_at: int, swap: int) -> int:
    """Whether a head among the tails of another compound page is that one's own, seen again.

    A kernel that saves struct pages (``hugetlb_free_vmemmap=on``) maps all those of a huge page to the first page of
    them. Linux commit e7d324850bfc ("mm: hugetlb: free the 2nd vmemmap page associated with each HugeTLB page"), v5.18.
    Its order tells: such a place no compound page can begin at.
    """
    width = load64(p, ORDER_WIDTH)
    if width == 0 or head_at == _NOWHERE or word(page, head_at, swap) & 1:
        return 0
    order = small(page + load64(p, SIZE), load64(p, ORDER_AT), width, swap)
    return order < 64 and pfn & ((1 << order) - 1) != 0


@inline
def is_hugetlb(p: int, page: int, flags: int, kind: int, swap: int) -> int:
    """Whether a head belongs to hugetlbfs."""
    how = load64(p, HUGETLB_HOW)
    if how == 0 or flags & load64(p, HEAD_MASK) == 0:
        return 0
    value = load64(p, HUGETLB_VALUE)
    if how == 1:
        return kind & load64(p, HUGETLB_MASK) == value
    tail = page + load64(p, SIZE)
    if how == 2:
        return word(tail, load64(p, FLAGS), swap) & value != 0
    return small(tail, load64(p, HUGETLB_AT), load64(p, ORDER_WIDTH), swap) == value


@inline
def is_slab(p: int, flags: int, kind: int) -> int:
    """Whether a page that is not a tail belongs to the slab allocator: by its type, or by a flag before v6.10."""
    mask = load64(p, SLAB_MASK)
    if mask:
        return kind & mask == load64(p, SLAB_TYPE)
    return flags & load64(p, SLAB_FLAG) != 0


@kernel
def classify_pages(p: int, pages: int, first_pfn: int, count: int, more: int, out: int) -> int:
    """Classify ``count`` struct pages at address ``pages``, of page frames from ``first_pfn`` on.

    ``p``: the parameters. ``more``: 1 if one more struct page follows the last one in memory (the first tail of a
    head). ``out``: address of ``count`` bytes, each set to its page's class. Returns how many got a class other than 0.

    A page that heads a compound page hands its class to the tails, as long as they are marked as tails; a block of free
    memory hands it to all of its pages. A block that is not aligned to its size is damage and none.
    """
    size = load64(p, SIZE)
    swap = load64(p, SWAP)
    active = load64(p, ACTIVE)
    thorough = load64(p, THOROUGH)
    head_at = load64(p, HEAD)
    head_mask = load64(p, HEAD_MASK)
    flags_at = load64(p, FLAGS)
    mapping_at = load64(p, MAPPING)
    kind_at = load64(p, KIND)
    private_at = load64(p, PRIVATE)
    poison = load64(p, POISON)
    block_end = load64(p, BLOCK_END)
    block_class = load64(p, BLOCK_CLASS)
    compound_end = load64(p, COMPOUND_END)
    compound_class = load64(p, COMPOUND_CLASS)
    # Neighbours are mostly alike: of the last page that is no head, what the rules saw and what they said.
    seen_flags = 0
    seen_mapping = 0
    seen_kind = 0
    seen_private = 0
    seen_class = 0
    seen = 0
    marked = 0
    i = 0
    while i < count:
        pfn = first_pfn + i
        inherited = 0
        if pfn < block_end:
            inherited = block_class
            if thorough == 0 and compound_end <= block_end:
                # Free pages need not be looked at: on to the end of the block.
                end = min(block_end - first_pfn, count)
                marked += end - i
                while i < end:
                    store8(out, i, inherited)
                    i += 1
                continue
        page = pages + i * size
        prefetch(page, _AHEAD)
        flags = word(page, flags_at, swap)
        next_known = more or i + 1 < count
        if pfn < compound_end and flags & head_mask and next_known and copied_head(p, page, pfn, head_at, swap):
            inherited |= compound_class
        elif head_at != _NOWHERE and word(page, head_at, swap) & 1:
            if pfn < compound_end:
                inherited |= compound_class | (load64(p, POISON_BIT) if flags & poison else 0)
        else:
            mapping = word(page, mapping_at, swap)
            kind = half(page, kind_at, swap)
            private = word(page, private_at, swap)
            other = (flags ^ seen_flags) | (mapping ^ seen_mapping) | (kind ^ seen_kind) | (private ^ seen_private)
            if seen and other == 0:
                compound_end = 0
                inherited |= seen_class
            else:
                slab = is_slab(p, flags, kind)
                hugetlb = 0
                if flags & head_mask and next_known:
                    hugetlb = is_hugetlb(p, page, flags, kind, swap)
                hits = match_rules(active, p + RULES_AT, pfn, flags, mapping, kind, private, slab, hugetlb)
                covers = hits >> 8
                own = hits & 0xFF
                compound_end = 0
                if covers > 1:
                    # The rule with the lowest bit said so; the others speak of this page alone.
                    first = own & (0 - own)
                    own ^= first
                    if pfn & (covers - 1) == 0:
                        inherited |= first
                        if pfn + covers > block_end:
                            block_end = pfn + covers
                            block_class = first
                if flags & head_mask and next_known:
                    compound_end = pfn + compound_pages(p, page, pfn, flags, swap)
                    compound_class = own
                inherited |= own
                seen = covers <= 1 and flags & head_mask == 0
                seen_flags = flags
                seen_mapping = mapping
                seen_kind = kind
                seen_private = private
                seen_class = own
        store8(out, i, inherited)
        if inherited:
            marked += 1
        i += 1
    store64(p, BLOCK_END, block_end)
    store64(p, BLOCK_CLASS, block_class)
    store64(p, COMPOUND_END, compound_end)
    store64(p, COMPOUND_CLASS, compound_class)
    return marked


@kernel
def apply_classes(classes: int, count: int, kept: int, bit: int, drop: int, histogram: int) -> int:
    """Drop pages from a bitmap by their class, and count them.

    ``classes``: address of ``count`` classes; ``kept``: address of a bitmap, least significant bit first, whose bit
    ``bit`` belongs to the first of them; ``drop``: the class bits that drop a page; ``histogram``: address of 256
    64-bit counters: for each class, the pages that were in the bitmap. Returns how many bits were cleared.
    """
    cleared = 0
    i = 0
    while i < count:
        at = (bit + i) >> 3
        byte = load8(kept, at)
        which = load8(classes, i)
        # Neighbours are of one class as a rule: eight at a time, where a byte of the bitmap is full.
        if byte == 0xFF and (bit + i) & 7 == 0 and i + 8 <= count and load64(classes, i) == which * _EIGHT:
            store64(histogram, which * 8, load64(histogram, which * 8) + 8)
            if which & drop:
                store8(kept, at, 0)
                cleared += 8
            i += 8
            continue
        mask = 1 << ((bit + i) & 7)
        if byte & mask:
            store64(histogram, which * 8, load64(histogram, which * 8) + 1)
            if which & drop:
                store8(kept, at, byte ^ mask)
                cleared += 1
        i += 1
    return cleared


@kernel
def census_pages(classes: int, base: int, pfns: int, zeros: int, sizes: int, count: int, table: int) -> int:
    """Count ``count`` pages by class.

    ``classes``: address of the classes of page frames from ``base`` on; ``pfns``: address of 64-bit page frame numbers;
    ``zeros``: address of a byte a page, 1 for a zero page; ``sizes``: address of a 32-bit word a page, what it packs
    into, or 0: not known. ``table``: address of 4 x 256 64-bit counters by class: pages with content, zero pages, pages
    with content whose size is known, and the bytes those pack into. Returns how many pages are zero.
    """
    found = 0
    for i in range(count):
        which = load8(classes, load64(pfns, i * 8) - base) * 8
        if load8(zeros, i):
            found += 1
            store64(table, which + 2048, load64(table, which + 2048) + 1)
        else:
            store64(table, which, load64(table, which) + 1)
            if sizes:
                store64(table, which + 4096, load64(table, which + 4096) + 1)
                store64(table, which + 6144, load64(table, which + 6144) + load32(sizes, i * 4))
    return found


@kernel
def count_missing(classes: int, there: int, here: int, count: int, histogram: int) -> int:
    """Count by class the pages that are in one bitmap and not in another.

    ``classes``: address of ``count`` classes; ``there``, ``here``: addresses of bitmaps of ``count`` bits (a multiple
    of 8); ``histogram``: address of 256 64-bit counters. Returns how many pages are in ``there`` and not in ``here``.
    """
    found = 0
    for byte in range(count >> 3):
        gone = load8(there, byte) & (load8(here, byte) ^ 0xFF)
        if gone:
            for bit in range(8):
                if gone & (1 << bit):
                    which = load8(classes, byte * 8 + bit) * 8
                    store64(histogram, which, load64(histogram, which) + 1)
                    found += 1
    return found
