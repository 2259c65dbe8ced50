"""Page rules: one file a page class, which ends in ``RULE``, a :class:`Rule`.

Here: how a page of the class is recognised, and what that takes of VMCOREINFO. Not here: what a struct page looks like
(:mod:`vmsieve.filters.linux.page_layout`), and the loop that the rules are compiled into
(:mod:`vmsieve.filters.loops.classify`).

A rule keeps a page unless it is sure. If VMCOREINFO lacks what it needs, it is off and a sentence says so: the dump
becomes larger, never wrong.
"""

from __future__ import annotations

from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.page_layout import PageLayout

#: Bits of ``mapping`` that say what it points to (``PAGE_MAPPING_FLAGS``, Linux include/linux/page-flags.h).
MAPPING_BITS: Final = 3
#: Values of ``private`` below this may be the order of a block.
ORDERS: Final = 64
#: 64-bit words of parameters of one rule, and their bytes.
PARAMETERS: Final = 8
RULE_STRIDE: Final = PARAMETERS * 8


class RuleOff(Exception):  # noqa: N818 - an answer rather than an error
    """A rule can't be applied to this kernel.

    Args:
        reason: Why such pages are kept. None gives no message: the kernel has no such pages, or may not, as it is older
            than the key or can be built without it. A key is damaged, which takes a reason, if other keys are there
            that no kernel exports without it; see :mod:`vmsieve.filters.rules.offline`.
    """

    def __init__(self, reason: str | None) -> None:
        self.reason = reason
        super().__init__(reason or "")


@record(frozen=True)
class Rule:
    """A page class.

    ``matches`` is an inline function in the loops' dialect, which runs for a struct page that is no tail::

        matches(words, pfn, flags, mapping, kind, private, slab, hugetlb)

    =========== ============================================================================================
    words       address of the words that ``prepare`` returned: word *i* is ``load64(words, 8 * i)``
    pfn         page frame number; nothing may depend on it but the alignment of a block
    flags       ``flags``, masked by the flags that any rule asked :meth:`PageLayout.flag` for
    mapping     ``mapping``, masked by :data:`MAPPING_BITS`
    kind        ``_mapcount`` of a mapped page, the page type of others
    private     ``private``, at most :data:`ORDERS`; compare it with :attr:`PageLayout.orders` before ``1 << private``
    slab        not 0: a slab page, which may use ``kind`` and ``mapping`` for something else
    hugetlb     not 0: the head of a hugetlb page
    =========== ============================================================================================

    It returns 0 for no match; 1 for a match of the page, or of the compound page that it heads; *n* > 1, a power of
    two, for a match of a block: *n* page frames from this one on, which has to be a multiple of *n*. The struct pages
    of the others are then looked at only if the kernel counted other blocks than the scan finds, or none can be read.
    Struct pages that agree in all arguments but ``pfn`` are matched once.

    Attributes:
        name: Short and unique; the key in JSON reports.
        title: For people; makedumpfile's words if it counts the same pages.
        order: Precedence: a page that several rules match is counted for the lowest, and only that one can begin a
            block. So rules of blocks (10 and 20) precede those of single pages (30 to 70) and of content (90).
        levels: Bits of the dump level, any of which drops such pages; 0: dropped at every level that reads struct
            pages (``needs_struct_pages`` of pipeline/dump/scan.py).
        matches: See above; None: the page's content decides.
        prepare: Returns the rule's parameters for a kernel, at most :data:`PARAMETERS` words. Raises RuleOff.
        unreferenced: Requires a reference count of 0.
        in_free_area: The kernel counts blocks of these pages in ``zone.free_area``; the scan is checked against that.
        poison: The hardware marks such pages, the kernel's own included. The first parameter is the flag, which each
            tail of a compound page has for itself.
        may_be_reserved: Pages with PG_reserved, as those of the kernel image, can be of this class.
        needs_slab_test: Distinguished from slab pages only by the slab test. Off if that test fails.
    """

    name: str
    title: str
    order: int
    levels: int
    matches: Callable[[int, int, int, int, int, int, int, int], int] | None
    prepare: Callable[[PageLayout], list[int]]
    unreferenced: bool = False
    in_free_area: bool = False
    poison: bool = False
    may_be_reserved: bool = False
    needs_slab_test: bool = False


def rules() -> list[Rule]:
    """Return all rules, by precedence."""
    from vmsieve.filters import rules as room
    from vmsieve.formats.plugins import scan

    return sorted(scan(room, "RULE", Rule), key=lambda r: (r.order, r.name))


def struct_page_rules() -> list[Rule]:
    """Return the rules that struct pages decide, by precedence: a rule's index is its bit in a page's class."""
    found = [rule for rule in rules() if rule.matches is not None]
    if len(found) > 8:
        raise TypeError("a page's class is one byte: at most eight rules of struct pages")
    return found


def require_page_type(layout: PageLayout, key: str, otherwise: str) -> tuple[int, int]:
    """Return the page type ``NUMBER(key)`` and the bits of it that count; RuleOff if missing: ``otherwise`` follows."""
    found = layout.page_type(key)
    if found is None:
        raise RuleOff(f"{otherwise}: NUMBER({key}) is missing or no page type")
    return found


def require_tails(layout: PageLayout, otherwise: str) -> None:
    """Raise RuleOff, as ``otherwise`` follows, if tails, whose fields mean something else, are not recognised."""
    if not layout.tails_known:
        raise RuleOff(f"{otherwise}: neither OFFSET(page.compound_head) nor OFFSET(page.lru) is there")
