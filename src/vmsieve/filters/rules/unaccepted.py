"""Unaccepted memory of confidential guests: free memory that the guest may not even read yet.

The first page of each block of the largest order has the type ``PGTY_unaccepted`` (``include/linux/page-flags.h``); its
value is exported since v6.16 ("crash: export PAGE_UNACCEPTED_MAPCOUNT_VALUE to vmcoreinfo"). makedumpfile counts these
among free pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.filters.rules import Rule, RuleOff
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load64

if TYPE_CHECKING:
    from vmsieve.filters.page_layout import PageLayout

__all__ = ["RULE"]


@inline
def _matches(own: int, pfn: int, flags: int, mapping: int, kind: int, private: int, slab: int, hugetlb: int) -> int:
    return load64(own, 16) if kind & load64(own, 8) == load64(own, 0) else 0


def _prepare(layout: PageLayout) -> list[int]:
    if layout.info.number("PAGE_UNACCEPTED_MAPCOUNT_VALUE") is None:
        raise RuleOff(None)
    value, mask = layout.page_type("PAGE_UNACCEPTED_MAPCOUNT_VALUE", "unaccepted memory can't be told from other")
    orders = layout.info.length("zone.free_area")
    if orders is None or not 0 < orders <= 32:
        raise RuleOff(
            "unaccepted memory is kept: LENGTH(zone.free_area) is missing, so the size of a block is not known"
        )
    return [value, mask, 1 << (orders - 1)]


RULE: Final = Rule("unaccepted", "Unaccepted pages", 20, 16, _matches, _prepare, lifeless=True)
