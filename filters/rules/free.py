"""Free pages: blocks of the buddy allocator.

The first page of a free block of ``2**order`` pages has the buddy mark in its type and the order in ``private``
(``include/linux/page-flags.h``; ``buddy_order`` in ``mm/internal.h``). The mark's value is exported as
PAGE_BUDDY_MAPCOUNT_VALUE since v3.9 ("kexec: add the values related to buddy system for filtering free pages"); kernels
that encode page types anew export the new value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.filters.rules import Rule, RuleOff
from vmsieve.formats.kernels import inline
from vmsieve.formats.kernels.primitives import load64

if TYPE_CHECKING:
    from vmsieve.filters.pages import PageLayout

__all__ = ["RULE"]


@inline
def _matches(own: int, pfn: int, flags: int, mapping: int, kind: int, private: int, slab: int, hugetlb: int) -> int:
    if kind & load64(own, 8) != load64(own, 0):
        return 0
    if slab or private >= load64(own, 16):
        return 0
    pages = 1 << private
    # The allocator aligns its blocks; one that is not is not one.
    return 0 if pfn & (pages - 1) else pages


def _prepare(layout: PageLayout) -> list[int]:
    value, mask = layout.page_type("PAGE_BUDDY_MAPCOUNT_VALUE", "free pages can't be told from others")
    if layout.offset_private is None:
        raise RuleOff("free pages are kept: OFFSET(page.private) is missing, so the size of a free block is not known")
    # 32: no kernel has blocks of 2**32 pages; a larger value is damage even where the limit is not exported.
    orders = layout.info.length("zone.free_area")
    return [value, mask, orders if orders is not None and 0 < orders <= 32 else 32]


RULE: Final = Rule("free", "Free pages", 10, 16, _matches, _prepare)
