"""User process data: anonymous memory and hugetlb pages.

Anonymous: bit 0 of ``page.mapping`` (``PAGE_MAPPING_ANON``, ``include/linux/page-flags.h``). Slab pages reuse that word
since v6.2 (Linux commit 130d4df57390, "mm/sl[au]b: rearrange struct slab fields to allow larger rcu_head"), so user
memory is kept if slab pages are not recognised.
"""

from __future__ import annotations

from vmsieve.filters.rules import Rule, RuleOff, require_tails
from vmsieve.formats.compiler import inline
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.page_layout import PageLayout


@inline
def _matches(words: int, pfn: int, flags: int, mapping: int, kind: int, private: int, slab: int, hugetlb: int) -> int:
    return hugetlb != 0 or (mapping & 1 and slab == 0)


def _prepare(layout: PageLayout) -> list[int]:
    require_tails(layout, "user pages are kept")
    if not layout.slab_known:
        raise RuleOff(
            "user pages are kept: neither NUMBER(PAGE_SLAB_MAPCOUNT_VALUE) nor NUMBER(PG_slab) is there, "
            "so kernel data could be taken for anonymous memory"
        )
    return []


RULE: Final = Rule("user", "User process data pages", 50, 8, _matches, _prepare, needs_slab_test=True)
