"""Free pages: blocks of the buddy allocator.

The first page of a free block of ``2**order`` pages has the page type of buddy pages, and the order in ``private``
(``include/linux/page-flags.h``; ``buddy_order`` in ``mm/internal.h``). The type is exported as
PAGE_BUDDY_MAPCOUNT_VALUE since v3.9 ("kexec: add the values related to buddy system for filtering free pages"). Free
pages on per-CPU lists (``struct per_cpu_pages``) have no type and are kept.
"""

from __future__ import annotations

from vmsieve.filters.rules import Rule, RuleOff, require_page_type
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load64
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.page_layout import PageLayout

#: MAX_PAGE_ORDER + 1 of most kernels (``include/linux/mmzone.h``); other values are larger as a rule.
_ORDERS: Final = 11


@inline
def _matches(words: int, pfn: int, flags: int, mapping: int, kind: int, private: int, slab: int, hugetlb: int) -> int:
    if kind & load64(words, 8) != load64(words, 0):
        return 0
    if slab or private >= load64(words, 16):
        return 0
    return 1 << private


def _prepare(layout: PageLayout) -> list[int]:
    value, mask = require_page_type(layout, "PAGE_BUDDY_MAPCOUNT_VALUE", "free pages are kept")
    if layout.offset_private is None:
        raise RuleOff("free pages are kept: OFFSET(page.private) is missing, so the size of a free block is not known")
    orders = layout.orders
    if orders is None:
        orders = _ORDERS
        layout.notes.append((
            16,
            f"free blocks of more than {1 << _ORDERS - 1} pages are kept: LENGTH(zone.free_area) is missing, "
            "so they can't be distinguished from damaged ones",
        ))  # fmt: skip
    return [value, mask, orders]


RULE: Final = Rule("free", "Free pages", 10, 16, _matches, _prepare, unreferenced=True, in_free_area=True)
