"""The parameter block of the classification: 64-bit words that tell the loops how a kernel lays out struct pages.

:class:`vmsieve.filters.parameters.Parameters` holds one. A new parameter is one line in the list below.
"""

from __future__ import annotations

from vmsieve.filters.rules import RULE_STRIDE
from vmsieve.formats.slim.typing import Final

#: Where the rules' own parameters begin: :data:`RULE_STRIDE` bytes for each bit of a class.
RULES_AT: Final = 384
#: Where the free blocks found are counted: 32 words, by order. Blocks of order 0 are not counted.
ORDERS_AT: Final = RULES_AT + 8 * RULE_STRIDE
#: 64-bit words of the whole block.
WORDS: Final = ORDERS_AT // 8 + 32

# Each name is the offset of its word. The loops' dialect takes integers of a module as constants, so that machine code
# has the offsets in its instructions.
(
    # The kernel's struct page.
    SIZE,  # bytes
    SWAP,  # 1: the dump's byte order is not this machine's
    FLAGS,  # offset of flags
    MAPPING,  # offset of mapping
    KIND,  # offset of the word that is _mapcount in mapped pages and the page type in others
    PRIVATE,  # offset of private
    TAIL_AT,  # offset of the word whose bit 0 marks a tail; NOWHERE: there is none
    REFCOUNT,  # offset of the reference counter
    REFCOUNT_MASK,  # bits of the counter that count; 0: there is no counter
    HEAD_FLAG,  # mask of the flag that marks the head of a compound page; 0: not known
    LRU_FLAG,  # mask of PG_lru; 0: not known
    RESERVED_FLAG,  # mask of PG_reserved; 0: not known
    KNOWN_FLAGS,  # mask of all flags that any rule reads
    ORDER_AT,  # offset of the order in the first tail
    ORDER_WIDTH,  # bytes of the order; 8: the low byte of a word; 0: the order is not known
    HUGETLB_BY,  # 1: the head's page type, 2: a flag of the first tail, 3: a number in the first tail; 0: not known
    HUGETLB_VALUE,  # the type, mask or number that means hugetlb
    HUGETLB_AT,  # offset of that number
    HUGETLB_MASK,  # bits of the page type that count
    SLAB_TYPE,  # page type of slab pages
    SLAB_MASK,  # bits of the page type that count; 0: slab pages have no type
    SLAB_FLAG,  # mask of PG_slab, where slab pages have no type
    # The rules, as class bits.
    ACTIVE,  # rules that are applied
    THOROUGH,  # 1: look at every struct page, so that the classes serve every dump level
    UNREFERENCED,  # rules whose pages nobody holds a reference to
    RESERVED_RULES,  # rules that may match a page with PG_reserved
    FREE_BIT,  # the rule of free pages
    POISON_BIT,  # the rule of poisoned pages
    POISON_FLAG,  # mask of the flag of poisoned pages, which tails have of their own; 0: not known
    # The run of struct pages.
    BASE,  # virtual address that page frame 0's struct page would have in this run; 0: tails' heads are not checked
    VERIFY,  # 1: every page of a free block has to look free itself
    MARKS,  # address of a byte for each 4 KiB of struct pages: ALIAS, CONTESTED or 0; 0: no marks
    PHASE,  # bytes from the start of the first 4 KiB to the first struct page
    # State from call to call: a block or a compound page goes on in the next run.
    BLOCK_END,  # page frames below belong to a block that was dropped
    BLOCK_CLASS,  # the class of that block
    COMPOUND_END,  # tails below belong to a compound page
    COMPOUND_CLASS,  # the class of that compound page
    COMPOUND_HEAD,  # virtual address of its head's struct page
    # Counters, for the plausibility checks.
    SLABS,  # slab pages
    SLABS_ON_LRU,  # slab pages with PG_lru, which no kernel has
    CONTRADICTIONS,  # pages kept because their struct page contradicts itself or others
    CONFLICTS,  # pages kept that rules match, but whose struct page lies in memory that is mapped twice
    FOREIGN_TAILS,  # 4 KiB of struct pages with tails that point to a foreign head
    LAST_FOREIGN,  # number of the last of them, plus 1
    *_UNUSED,
) = range(0, RULES_AT, 8)

#: Mark of struct pages in memory that holds others too: only tails are believed, as hugetlb's vmemmap optimisation maps
#: those of many page frames to one page.
ALIAS: Final = 1
#: Mark of struct pages that are not believed.
CONTESTED: Final = 2

#: An offset that a kernel has no field for.
NOWHERE: Final = 0xFFFFFFFFFFFFFFFF
