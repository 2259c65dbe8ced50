"""The classification loop: struct pages in, page classes out; and loops that count and drop by class.

A page's class is one byte: bit *i* is set if rule *i* of :func:`vmsieve.filters.rules.struct_page_rules` matches. One
look at a struct page so serves any dump level. ``match_rules`` is all the rules' ``matches``, compiled into this loop;
:class:`vmsieve.filters.classify.Classifier` calls the loop, run by run.

A page inherits a class in two ways, and both reach over the end of a run:

* A rule gave the size of a *block*, to ``BLOCK_END``. With ``VERIFY`` it ends at the first page that can't be free.
* A head has the order of a *compound page*, to ``COMPOUND_END``: tails that point to it get its class. PG_hwpoison and
  PG_reserved count for each tail by itself.
"""

from __future__ import annotations

from vmsieve.filters.loops import parameters as at
from vmsieve.filters.loops.runs import AHEAD, alike_ahead, fill, members_ahead, tails_ahead
from vmsieve.filters.loops.struct_page import (
    believed_hits,
    compound_pages,
    field32,
    field64,
    is_copied_head,
    is_hugetlb,
    is_slab,
    is_tail_of,
)
from vmsieve.filters.rules import MAPPING_BITS, ORDERS, RULE_STRIDE
from vmsieve.formats.compiler import inline, loop
from vmsieve.formats.compiler.families import Plugins
from vmsieve.formats.compiler.primitives import ctz64, load8, load32, load64, prefetch, store8, store64
from vmsieve.formats.slim.typing import Any, Callable, Final

_EIGHT: Final = 0x0101010101010101


def _rules() -> list[Callable[..., int]]:
    from vmsieve.filters.rules import struct_page_rules

    return [rule.matches for rule in struct_page_rules() if rule.matches is not None]


match_rules: Any = Plugins(_rules, "hits", RULE_STRIDE)


@inline
def count_up(p: int, offset: int) -> int:
    """Increment the counter at ``offset`` of the parameter block."""
    return store64(p, offset, load64(p, offset) + 1)


@inline
def count_foreign_tail(p: int, number: int) -> int:
    """Count a tail that points to a foreign head, and once the 4 KiB of struct pages, by number, that it is in."""
    count_up(p, at.CONTRADICTIONS)
    if load64(p, at.LAST_FOREIGN) == number + 1:
        return 0
    count_up(p, at.FOREIGN_TAILS)
    return store64(p, at.LAST_FOREIGN, number + 1)


@inline
def begin_block(p: int, pfn: int, hits: int, own: int) -> int:
    """Begin the block that the first of the hits covers, if that hit is believed; returns its class bit, or 0.

    ``hits``: all matches, and from bit 8 on the pages that the first covers. ``own``: the matches that are believed.
    """
    covers = hits >> 8
    first = own & (0 - own)
    # Rejected matches start no block: the size is that of the first match, believed or not.
    if covers <= 1 or first == 0 or first != hits & 0xFF & (0 - (hits & 0xFF)) or pfn & (covers - 1):
        return 0
    if first == load64(p, at.FREE_BIT):
        count_up(p, at.ORDERS_AT + (ctz64(covers) & 31) * 8)
    if pfn + covers > load64(p, at.BLOCK_END):
        store64(p, at.BLOCK_END, pfn + covers)
        store64(p, at.BLOCK_CLASS, first)
    return first


@inline
def match_page(
    p: int, page: int, pfn: int, flags: int, mapping: int, kind: int, private: int, references: int, more: int,
    mark: int,
) -> int:  # fmt: skip
    """Apply the rules to a page that is no tail, and begin the block that it heads.

    Returns its class; from bit 8 on the class of the block; bit 16: a struct page that looks the same has the same
    class. ``more``: the next struct page is in memory; ``mark``: the mark of this one's memory.
    """
    swap = load64(p, at.SWAP)
    head = flags & load64(p, at.HEAD_FLAG)
    slab = is_slab(p, flags, kind)
    if slab:
        count_up(p, at.SLABS_ON_LRU if flags & load64(p, at.LRU_FLAG) else at.SLABS)
    hugetlb = 0
    if head and more:
        hugetlb = is_hugetlb(p, page, flags, kind, swap)
    order = min(private, ORDERS)
    known = flags & load64(p, at.KNOWN_FLAGS)
    active = load64(p, at.ACTIVE)
    if flags & load64(p, at.RESERVED_FLAG):
        active &= load64(p, at.RESERVED_RULES)
    hits = match_rules(active, p + at.RULES_AT, pfn, known, mapping & MAPPING_BITS, kind, order, slab, hugetlb)
    matched = hits & 0xFF
    if matched == 0:
        return 0 if head else 1 << 16
    unreferenced = load64(p, at.UNREFERENCED)
    own = believed_hits(matched, references, unreferenced)
    doubt = own != matched
    if doubt:
        count_up(p, at.CONTRADICTIONS)
    if mark and own:
        count_up(p, at.CONFLICTS)
        own = 0
    if hits >> 8 > 1:
        # Only the first rule matched a block. The others matched this page.
        return begin_block(p, pfn, hits, own) << 8 | (hits & (hits - 1) & own)  # type: ignore[no-any-return]
    # Pages that look alike may differ in the reference counter and in the memory that their struct page lies in.
    return own if head or mark or doubt or matched & unreferenced else own | 1 << 16


@inline
def classify_run(p: int, pages: int, first_pfn: int, count: int, more: int, out: int) -> int:
    """Classify ``count`` struct pages at address ``pages``; see :func:`classify_pages`."""
    size = load64(p, at.SIZE)
    swap = load64(p, at.SWAP)
    thorough = load64(p, at.THOROUGH)
    verify = load64(p, at.VERIFY)
    tail_at = load64(p, at.TAIL_AT)
    head_flag = load64(p, at.HEAD_FLAG)
    kind_at = load64(p, at.KIND)
    count_at = load64(p, at.REFCOUNT)
    count_mask = load64(p, at.REFCOUNT_MASK)
    marks = load64(p, at.MARKS)
    block_end = load64(p, at.BLOCK_END)
    compound_end = load64(p, at.COMPOUND_END)
    compound_class = load64(p, at.COMPOUND_CLASS)
    virtual = load64(p, at.BASE) + first_pfn * size - pages
    mark = 0
    classed = 0
    i = 0
    while i < count:
        pfn = first_pfn + i
        page = pages + i * size
        block = 0
        own = 0
        if pfn < block_end:
            block = load64(p, at.BLOCK_CLASS)
            # Its pages are one run, unless other rules' bits are wanted or a compound page goes on behind the block.
            skip = thorough == 0 and compound_end <= block_end
            run = min(block_end - pfn, count - i) if skip else 1
            if verify:
                members = members_ahead(p, page, run, swap)
                if members < run:
                    block_end = pfn + members
                    count_up(p, at.CONTRADICTIONS)
                run = members
            if skip:
                compound_end = 0 if run else compound_end  # a compound page ends where the block goes on
                classed += fill(out, i, run, block)
                i += run
                continue
            if run == 0:
                block = 0
        prefetch(page, AHEAD)
        flags = field64(page, load64(p, at.FLAGS), swap)
        next_known = more or i + 1 < count
        run = 0  # pages that follow and have the same class; none in memory with marks
        most = 0 if marks or (block and thorough == 0) else count - i - 1
        if marks:
            mark = load8(marks, (load64(p, at.PHASE) + i * size) >> 12)
        if mark == at.CONTESTED:
            block = 0
            compound_end = 0
            block_end = 0
        elif pfn < compound_end and flags & head_flag and next_known and is_copied_head(p, page, pfn, tail_at, swap):
            own = compound_class
        elif tail_at != at.NOWHERE and field64(page, tail_at, swap) & 1:
            if pfn < compound_end:
                if is_tail_of(p, field64(page, tail_at, swap), page + virtual):
                    own = compound_class
                    if flags & load64(p, at.RESERVED_FLAG):
                        own &= load64(p, at.RESERVED_RULES)
                    if flags & load64(p, at.POISON_FLAG):
                        own |= load64(p, at.POISON_BIT)
                    if pfn >= block_end and own == compound_class:
                        run = tails_ahead(p, page, page + virtual, min(most, compound_end - pfn - 1), tail_at, swap)
                else:
                    count_foreign_tail(p, (load64(p, at.PHASE) + i * size) >> 12)
        else:
            mapping = field64(page, load64(p, at.MAPPING), swap)
            kind = field32(page, kind_at, swap)
            private = field64(page, load64(p, at.PRIVATE), swap)
            references = field32(page, count_at, swap) & count_mask
            store64(p, at.BLOCK_END, block_end)
            found = match_page(p, page, pfn, flags, mapping, kind, private, references, next_known, mark)
            block_end = load64(p, at.BLOCK_END)
            own = found & 0xFF
            compound_end = 0
            if flags & head_flag and next_known:
                compound_end = pfn + compound_pages(p, page, pfn, flags, swap)
                compound_class = own
                store64(p, at.COMPOUND_HEAD, page + virtual)
            elif found >> 16:
                run = alike_ahead(p, page, min(most, block_end - pfn - 1) if block else most, swap, block and verify)
            own |= found >> 8 & 0xFF
        own |= block
        store8(out, i, own)
        classed += own != 0
        i += 1
        if run:
            classed += fill(out, i, run, own)
            i += run
    store64(p, at.BLOCK_END, block_end)
    store64(p, at.COMPOUND_END, compound_end)
    store64(p, at.COMPOUND_CLASS, compound_class)
    return classed


@inline
def apply_run(classes: int, count: int, kept: int, bit: int, drop: int, histogram: int) -> int:
    """Clear bits of dropped pages; see :func:`apply_classes`."""
    cleared = 0
    i = 0
    while i < count:
        place = (bit + i) >> 3
        byte = load8(kept, place)
        which = load8(classes, i)
        # Neighbours usually have one class: take eight at a time where a byte of the bitmap is full.
        if byte == 0xFF and (bit + i) & 7 == 0 and i + 8 <= count and load64(classes, i) == which * _EIGHT:
            store64(histogram, which * 8, load64(histogram, which * 8) + 8)
            if which & drop:
                store8(kept, place, 0)
                cleared += 8
            i += 8
            continue
        mask = 1 << ((bit + i) & 7)
        if byte & mask:
            store64(histogram, which * 8, load64(histogram, which * 8) + 1)
            if which & drop:
                store8(kept, place, byte ^ mask)
                cleared += 1
        i += 1
    return cleared


@loop
def classify_pages(p: int, pages: int, first_pfn: int, count: int, more: int, out: int) -> int:
    """Classify ``count`` struct pages at address ``pages``, those of the page frames from ``first_pfn`` on.

    ``p``: address of the parameters. ``more``: 1 if another struct page follows the last one in memory; a head's first
    tail has its order. ``out``: address of ``count`` bytes, set to the classes. Returns how many are not 0.
    Runs come in ascending order: the parameters carry the state over.
    """
    return classify_run(p, pages, first_pfn, count, more, out)


@loop
def apply_classes(classes: int, count: int, kept: int, bit: int, drop: int, histogram: int) -> int:
    """Clear the bits of dropped pages in a bitmap, and count the pages that were set by class.

    ``classes``: address of ``count`` classes; ``kept``: address of the bitmap, least significant bit first, whose bit
    ``bit`` belongs to the first class; ``drop``: the class bits that drop a page; ``histogram``: address of 256 64-bit
    counters. Returns how many bits were cleared.
    """
    return apply_run(classes, count, kept, bit, drop, histogram)


@loop
def count_pages(classes: int, base: int, pfns: int, zeros: int, sizes: int, count: int, table: int) -> int:
    """Count ``count`` pages by class; returns how many are zero pages.

    ``classes``: address of the classes of page frames from ``base`` on; ``pfns``: address of 64-bit page frame numbers;
    ``zeros``: address of a byte a page, 1 for a zero page; ``sizes``: address of a 32-bit compressed size a page, or 0
    if the sizes are not known. ``table``: address of 4 x 256 64-bit counters by class: pages with content, zero pages,
    pages with content whose size is known, and the sum of those sizes.
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
    """Count by class the pages that are set in bitmap ``there`` and clear in ``here``; returns how many there are.

    ``classes``: address of ``count`` classes (a multiple of 8); ``histogram``: address of 256 64-bit counters.
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
