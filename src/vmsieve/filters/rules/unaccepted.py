"""Unaccepted memory of confidential guests: free memory that the guest may not read yet.

The first page of a block, which has the largest order, has the page type ``PGTY_unaccepted``
(``include/linux/page-flags.h``), exported since v6.16 ("crash: export PAGE_UNACCEPTED_MAPCOUNT_VALUE to vmcoreinfo").
makedumpfile counts these among free pages.
"""

from __future__ import annotations

from vmsieve.filters.rules import Rule, RuleOff, require_page_type
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load64
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.page_layout import PageLayout


@inline
def _matches(words: int, pfn: int, flags: int, mapping: int, kind: int, private: int, slab: int, hugetlb: int) -> int:
    return load64(words, 16) if kind & load64(words, 8) == load64(words, 0) else 0


def _prepare(layout: PageLayout) -> list[int]:
    if layout.info.number("PAGE_UNACCEPTED_MAPCOUNT_VALUE") is None:
        raise RuleOff(None)
    value, mask = require_page_type(layout, "PAGE_UNACCEPTED_MAPCOUNT_VALUE", "unaccepted memory is kept")
    orders = layout.orders
    if orders is None:
        raise RuleOff(
            "unaccepted memory is kept: LENGTH(zone.free_area) is missing, so the size of a block is not known"
        )
    return [value, mask, 1 << (orders - 1)]


RULE: Final = Rule("unaccepted", "Unaccepted pages", 20, 16, _matches, _prepare, unreferenced=True)
