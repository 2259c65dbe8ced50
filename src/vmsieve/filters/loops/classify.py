"""From struct pages to page classes, one call for a run of struct pages.

A page's class is one byte: bit *i* says that rule *i* (:func:`vmsieve.filters.rules.struct_page_rules`) drops it. One
look at a struct page so serves any dump level.
"""

from __future__ import annotations

from typing import Any, Callable, Final

from vmsieve.filters.loops.runs import AHEAD, alike_ahead, fill, members_ahead, tails_ahead
from vmsieve.filters.loops.struct_page import (
    ACTIVE,
    ALIASES,
    BASE,
    BLOCK_CLASS,
    BLOCK_END,
    COMPOUND_CLASS,
    COMPOUND_END,
    COMPOUND_HEAD,
    CONFLICTS,
    CONTESTED,
    COUNT_MASK,
    DOUBTS,
    FLAG_BITS,
    FLAGS,
    FREE_BIT,
    HEAD,
    HEAD_MASK,
    KIND,
    LAST_MISPLACED,
    LIFELESS,
    LRU,
    MAPPING,
    MISPLACED,
    MIXED,
    ORDERS_AT,
    PHASE,
    POISON,
    POISON_BIT,
    PRIVATE,
    REFCOUNT,
    RESERVED,
    RULES_AT,
    SIZE,
    SLABS,
    STANDING,
    SWAP,
    THOROUGH,
    VERIFY,
    believable,
    compound_pages,
    copied_head,
    half,
    is_hugetlb,
    is_slab,
    is_tail_of,
    word,
)  # fmt: skip
from vmsieve.filters.rules import MAPPING_BITS, ORDERS, RULE_STRIDE
from vmsieve.formats.compiler import inline, loop
from vmsieve.formats.compiler.families import Plugins
from vmsieve.formats.compiler.primitives import ctz64, load8, load32, load64, prefetch, store8, store64

__all__ = ["apply_classes", "census_pages", "classify_pages", "count_missing"]

_NOWHERE: Final = 0xFFFFFFFFFFFFFFFF
_EIGHT: Final = 0x0101010101010101


def _rules() -> list[Callable[..., int]]:
    from vmsieve.filters.rules import struct_page_rules

    functions: list[Any] = [rule.matches for rule in struct_page_rules()]
    return functions


match_rules: Any = Plugins(_rules, "hits", RULE_STRIDE)


@inline
def count_up(p: int, at: int) -> int:
    return store64(p, at, load64(p, at) + 1)


@inline
def note_misplaced(p: int, at: int) -> int:
    """Count a tail that means another head than that before it; and the 4 KiB of struct pages, number ``at``, once."""
    count_up(p, DOUBTS)
    if load64(p, LAST_MISPLACED) == at + 1:
        return 0
    count_up(p, MISPLACED)
    return store64(p, LAST_MISPLACED, at + 1)


@inline
def begin_block(p: int, pfn: int, hits: int, own: int) -> int:
    """Begin the block that the first of ``own`` covers, if it covers one; returns the class bit of its pages, or 0."""
    covers = hits >> 8
    first = own & (0 - own)
    # What of the hits is not believed does not cover anything.
    if covers <= 1 or first == 0 or first != hits & 0xFF & (0 - (hits & 0xFF)) or pfn & (covers - 1):
        return 0
    if first == load64(p, FREE_BIT):
        count_up(p, ORDERS_AT + (ctz64(covers) & 31) * 8)
    if pfn + covers > load64(p, BLOCK_END):
        store64(p, BLOCK_END, pfn + covers)
        store64(p, BLOCK_CLASS, first)
    return first


@inline
def judge(
    p: int,
    page: int,
    pfn: int,
    flags: int,
    mapping: int,
    kind: int,
    private: int,
    references: int,
    more: int,
    mark: int,
) -> int:
    """What the rules say of a page that is no tail: its class; from bit 8 on the class of the block it begins, or 0.

    Bit 16: what looks alike may be judged alike. ``more``: whether the next struct page is there; ``mark``: what is
    known of the memory of this one. Begins the block.
    """
    swap = load64(p, SWAP)
    head = flags & load64(p, HEAD_MASK)
    slab = is_slab(p, flags, kind)
    if slab:
        count_up(p, MIXED if flags & load64(p, LRU) else SLABS)
    hugetlb = 0
    if head and more:
        hugetlb = is_hugetlb(p, page, flags, kind, swap)
    known = flags & load64(p, FLAG_BITS)
    order = min(private, ORDERS)
    active = load64(p, ACTIVE)
    if flags & load64(p, RESERVED):
        active &= load64(p, STANDING)
    hits = match_rules(active, p + RULES_AT, pfn, known, mapping & MAPPING_BITS, kind, order, slab, hugetlb)
    said = hits & 0xFF
    if said == 0:
        return 0 if head else 1 << 16
    lifeless = load64(p, LIFELESS)
    own = believable(said, references, lifeless)
    doubt = own != said
    if doubt:
        count_up(p, DOUBTS)
    if mark and own:
        count_up(p, CONFLICTS)
        own = 0
    if hits >> 8 > 1:
        # The rule with the lowest bit said so; the others speak of this page alone.
        return begin_block(p, pfn, hits, own) << 8 | (hits & (hits - 1) & own)  # type: ignore[no-any-return]
    # What the reference counter or the place has to do with is not the same for all that look alike.
    return own if head or mark or doubt or said & lifeless else own | 1 << 16


@loop
def classify_pages(p: int, pages: int, first_pfn: int, count: int, more: int, out: int) -> int:
    """Classify ``count`` struct pages at address ``pages``, of page frames from ``first_pfn`` on.

    ``p``: the parameters. ``more``: 1 if one more struct page follows the last one in memory (the first tail of a
    head). ``out``: address of ``count`` bytes, each set to its page's class. Returns how many got a class other than 0.

    A page that heads a compound page hands its class to the tails that are marked as its own; a block of free memory
    hands it to all of its pages, or, if they are verified, as far as each looks free. An unaligned block is damage.
    """
    size = load64(p, SIZE)
    swap = load64(p, SWAP)
    thorough = load64(p, THOROUGH)
    verify = load64(p, VERIFY)
    head_at = load64(p, HEAD)
    head_mask = load64(p, HEAD_MASK)
    kind_at = load64(p, KIND)
    count_at = load64(p, REFCOUNT)
    count_mask = load64(p, COUNT_MASK)
    aliases = load64(p, ALIASES)
    block_end = load64(p, BLOCK_END)
    compound_end = load64(p, COMPOUND_END)
    compound_class = load64(p, COMPOUND_CLASS)
    # From a struct page's place here to its virtual address.
    virtual = load64(p, BASE) + first_pfn * size - pages
    mark = 0
    marked = 0
    i = 0
    while i < count:
        pfn = first_pfn + i
        page = pages + i * size
        block = 0
        own = 0
        if pfn < block_end:
            block = load64(p, BLOCK_CLASS)
            # Free pages need no further look; nor any, if they are not verified: on to the end of the block.
            skip = thorough == 0 and compound_end <= block_end
            run = min(block_end - pfn, count - i) if skip else 1
            if verify:
                members = members_ahead(p, page, run, swap)
                if members < run:
                    block_end = pfn + members
                    count_up(p, DOUBTS)
                run = members
            if skip:
                compound_end = 0 if run else compound_end  # none of these is a tail
                marked += fill(out, i, run, block)
                i += run
                continue
            if run == 0:
                block = 0
        prefetch(page, AHEAD)
        flags = word(page, load64(p, FLAGS), swap)
        next_known = more or i + 1 < count
        run = 0  # pages that follow and are the same
        most = 0 if aliases or (block and thorough == 0) else count - i - 1
        if aliases:
            mark = load8(aliases, (load64(p, PHASE) + i * size) >> 12)
        if mark == CONTESTED:
            block = 0
            compound_end = 0
            block_end = 0
        elif pfn < compound_end and flags & head_mask and next_known and copied_head(p, page, pfn, head_at, swap):
            own = compound_class
        elif head_at != _NOWHERE and word(page, head_at, swap) & 1:
            if pfn < compound_end:
                if is_tail_of(p, word(page, head_at, swap), page + virtual):
                    own = compound_class & load64(p, STANDING) if flags & load64(p, RESERVED) else compound_class
                    own |= load64(p, POISON_BIT) if flags & load64(p, POISON) else 0
                    if pfn >= block_end and own == compound_class:
                        run = tails_ahead(p, page, page + virtual, min(most, compound_end - pfn - 1), head_at, swap)
                else:
                    note_misplaced(p, (load64(p, PHASE) + i * size) >> 12)
        else:
            mapping = word(page, load64(p, MAPPING), swap)
            kind = half(page, kind_at, swap)
            private = word(page, load64(p, PRIVATE), swap)
            references = half(page, count_at, swap) & count_mask
            store64(p, BLOCK_END, block_end)
            said = judge(p, page, pfn, flags, mapping, kind, private, references, next_known, mark)
            block_end = load64(p, BLOCK_END)
            own = said & 0xFF
            compound_end = 0
            if flags & head_mask and next_known:
                compound_end = pfn + compound_pages(p, page, pfn, flags, swap)
                compound_class = own
                store64(p, COMPOUND_HEAD, page + virtual)
            elif said >> 16:
                run = alike_ahead(p, page, min(most, block_end - pfn - 1) if block else most, swap, block and verify)
            own |= said >> 8 & 0xFF
        own |= block
        store8(out, i, own)
        marked += own != 0
        i += 1
        if run:
            marked += fill(out, i, run, own)
            i += run
    store64(p, BLOCK_END, block_end)
    store64(p, COMPOUND_END, compound_end)
    store64(p, COMPOUND_CLASS, compound_class)
    return marked


@loop
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


@loop
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


@loop
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
