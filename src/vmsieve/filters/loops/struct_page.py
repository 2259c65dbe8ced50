"""One struct page and its neighbours, decoded by the classification kernel; and the parameters that say how."""

from __future__ import annotations

from typing import Final

from vmsieve.filters.rules import RULE_STRIDE
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load8, load16, load32, load64, swap16, swap32, swap64

__all__ = [
    "ACTIVE", "ALIAS", "ALIASES", "BASE", "BLOCK_CLASS", "BLOCK_END", "COMPOUND_CLASS", "COMPOUND_END", "COMPOUND_HEAD",
    "CONFLICTS", "CONTESTED", "COUNT_BITS", "COUNT_MASK", "DOUBTS", "FLAGS", "FLAG_BITS", "FREE_BIT", "HEAD",
    "HEAD_MASK", "HUGETLB_AT", "HUGETLB_HOW", "HUGETLB_MASK", "HUGETLB_VALUE", "KIND", "LAST_MISPLACED", "LIFELESS",
    "LRU", "MAPPING", "MISPLACED", "MIXED", "ORDERS_AT", "ORDER_AT", "ORDER_WIDTH", "PHASE", "POISON", "POISON_BIT",
    "PRIVATE", "REFCOUNT", "RESERVED", "RULES_AT", "SIZE", "SLABS", "SLAB_FLAG", "SLAB_MASK", "SLAB_TYPE", "STANDING",
    "SWAP", "THOROUGH", "VERIFY", "WORDS", "believable", "compound_pages", "copied_head", "half", "is_hugetlb",
    "is_slab", "is_tail_of", "small", "word",
]  # fmt: skip

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
COMPOUND_HEAD: Final = 200  # whose head has this virtual address
REFCOUNT: Final = 208  # offset of the reference counter
BASE: Final = (
    216  # virtual address of page frame 0's struct page if it were in this run; 0: tails are not held against it
)
VERIFY: Final = 224  # 1: each page of a free block has to look free itself
FREE_BIT: Final = 232  # the class bit of free pages
LIFELESS: Final = 240  # the class bits of pages that nobody holds a reference to
LRU: Final = 248  # flag of pages on a list of the page cache; 0: not known
ALIASES: Final = 256  # address of a byte for each 4 KiB of struct pages: ALIAS, CONTESTED or 0; or 0: all are 0
PHASE: Final = 296  # bytes from the first of those 4 KiB to the first struct page
COUNT_MASK: Final = 304  # bits of it that count: 0 if it is not known
# Counted by the kernel, for those who judge the whole:
SLABS: Final = 264  # slab pages seen
MIXED: Final = 272  # of those, the ones on a list of the page cache, which can't be
DOUBTS: Final = 280  # pages kept because what is said of them can't be
CONFLICTS: Final = 288  # pages that would be dropped by struct pages that are at two places
MISPLACED: Final = 312  # 4 KiB of struct pages with tails that mean other heads
LAST_MISPLACED: Final = 320  # 1 more than the number of the last such
FLAG_BITS: Final = 328  # flags that tell classes apart
RESERVED: Final = 336  # the flag PG_reserved; 0: not known
STANDING: Final = 344  # the class bits that a page with that flag may have
RULES_AT: Final = 384  # the rules' own parameters
ORDERS_AT: Final = RULES_AT + 8 * RULE_STRIDE  # 32 words: heads of free blocks found, by order; those of one page not
#: 64-bit words of the whole block.
WORDS: Final = (ORDERS_AT + 32 * 8) // 8

#: Struct pages in memory that holds those of other page frames too: only tails of compound pages are believed.
ALIAS: Final = 1
#: Struct pages that are not believed at all.
CONTESTED: Final = 2

_NOWHERE: Final = 0xFFFFFFFFFFFFFFFF
#: No page has references of more bits. What is no struct page as a rule has such a number where the counter would be.
COUNT_BITS: Final = 28


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


@inline
def is_tail_of(p: int, mark: int, tail: int) -> int:
    """Whether the word ``mark`` of the tail whose struct page is at virtual address ``tail`` means the last head.

    It is the head's address plus 1; since v7.1, where struct pages are saved, a mask for the tail's own address, plus 1
    (``include/linux/page-flags.h``).
    """
    head = load64(p, COMPOUND_HEAD)
    target = mark - 1
    if target == head or load64(p, BASE) == 0:
        return 1
    low = target ^ _NOWHERE
    return low & (low + 1) == 0 and tail & target == head


@inline
def believable(own: int, count: int, lifeless: int) -> int:
    """Those of a page's class bits that its number of references does not speak against."""
    if count >> COUNT_BITS:
        return 0
    return own & (lifeless ^ 0xFF) if count else own
