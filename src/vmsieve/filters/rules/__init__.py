"""Page rules: one file a page class.

A plugin is one file that ends in ``RULE``, a :class:`Rule`. A rule says which dump levels drop its pages, what it must
know of the kernel to recognise one, and recognises one in a few instructions: its ``matches`` is an *inline* function
in the kernels' dialect, compiled into the classification kernel together with those of the other rules.

Rules keep a page unless they are sure. What a rule needs and VMCOREINFO lacks switches it off, with a sentence that
says so; the dump is then larger, never wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Final

from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from vmsieve.filters.page_layout import PageLayout

__all__ = ["MAPPING_BITS", "ORDERS", "PARAMETERS", "RULE_STRIDE", "Rule", "RuleOff", "rules", "struct_page_rules"]

#: Bits of ``mapping`` that tell what it points to (``PAGE_MAPPING_FLAGS``, Linux include/linux/page-flags.h).
MAPPING_BITS: Final = 3
#: What ``private`` holds below this may be the order of a block.
ORDERS: Final = 64
#: 64-bit words of parameters that each rule has for itself.
PARAMETERS = 8
RULE_STRIDE = PARAMETERS * 8


class RuleOff(Exception):  # noqa: N818 - an answer rather than an error
    """A rule can't be applied to this kernel.

    Args:
        reason: Why; None when the kernel simply has no such pages, which is nothing to mention.
    """

    def __init__(self, reason: str | None) -> None:
        self.reason = reason
        super().__init__(reason or "")


@record(frozen=True)
class Rule:
    """A page class.

    Attributes:
        name: Short and unique; the key in JSON reports.
        title: For people, in makedumpfile's words where it counts the same.
        order: Precedence: a page that several rules match is counted for the one with the lowest order.
        levels: Bits of the dump level any of which drops such pages; 0: dropped at every level.
        matches: Inline function ``(own, pfn, flags, mapping, kind, private, slab, hugetlb)``; ``own`` is the address of
            the words that ``prepare`` returned, the rest the decoded columns of one struct page that is not a tail:
            flags, of which there are those that somebody asked :meth:`PageLayout.flag` for; the bits
            :data:`MAPPING_BITS` of ``mapping``; ``private``, or :data:`ORDERS` if that is less. Neighbours that differ
            in nothing of this are judged once. Returns 0 for no match, 1 for a match that covers the page, or all of a
            compound page that it heads, and *n* > 1, a power of two, for a match that covers *n* page frames from this
            one on, a block; it does not count where the page frame is no multiple of *n*. What the struct pages of the
            others say is asked only where blocks are not as many as the kernel counted, or that is not known. Nothing
            else may depend on ``pfn``. None: decided by the page's content.
        prepare: The rule's parameters for a kernel, at most :data:`PARAMETERS` words. Raises RuleOff.
        lifeless: Nobody holds a reference to such a page; one that has some is none.
        counted: The kernel counts blocks of such pages in ``zone.free_area``; what is found is held against that.
        broken: The hardware says what such a page is, whoever has it: some of the kernel's own may be among them, and
            the flag that is the first of the parameters counts for each tail of a compound page by itself.
        reserved: Pages with PG_reserved can be of this class: no page of the kernel's own image is of any other.
        unlike_slabs: All that tells such pages from slab pages is what tells slab pages. The rule is off where that is
            not believed.
    """

    name: str
    title: str
    order: int
    levels: int
    matches: Callable[[int, int, int, int, int, int, int, int], int] | None
    prepare: Callable[[PageLayout], list[int]]
    lifeless: bool = False
    counted: bool = False
    broken: bool = False
    reserved: bool = False
    unlike_slabs: bool = False


def rules() -> list[Rule]:
    """All rules, by precedence."""
    from vmsieve.filters import rules as room
    from vmsieve.formats.plugins import scan

    return sorted(scan(room, "RULE", Rule), key=lambda r: (r.order, r.name))


def struct_page_rules() -> list[Rule]:
    """The rules that are decided by struct pages, by precedence: a rule's index here is its bit in a page's class."""
    found = [rule for rule in rules() if rule.matches is not None]
    if len(found) > 8:
        raise TypeError("a page's class is one byte: eight rules of struct pages at the most")
    return found
