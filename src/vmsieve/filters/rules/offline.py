"""Offline pages: memory that the guest gave back to its host (balloon, Hyper-V, virtio-mem).

The host may have unmapped them. Page type ``PG_offline``, Linux commit ca215086b14b ("mm: convert PG_balloon to
PG_offline", v5.1). Until v6.11, memory of a hotplugged block that was never given to the buddy allocator has
``PG_reserved`` too. Dropped at every level.
"""

from __future__ import annotations

from vmsieve.filters.rules import Rule, RuleOff, require_page_type
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load64
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.page_layout import PageLayout

#: Since v5.3 kernels export the key next to those of huge pages (kernel/crash_core.c). One of these without it: damage.
#: Older kernels export HUGETLB_PAGE_DTOR alone: only there the version decides, and only what a missing key means.
_SINCE: Final = (5, 3)
_BESIDE: Final = ("NUMBER(HUGETLB_PAGE_DTOR)", "NUMBER(PG_hugetlb)", "NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)")


@inline
def _matches(words: int, pfn: int, flags: int, mapping: int, kind: int, private: int, slab: int, hugetlb: int) -> int:
    return slab == 0 and kind & load64(words, 8) == load64(words, 0)


def _prepare(layout: PageLayout) -> list[int]:
    info = layout.info
    if info.number("PAGE_OFFLINE_MAPCOUNT_VALUE") is None:
        damaged = info.version >= _SINCE and any(info.peek(key) is not None for key in _BESIDE)
        raise RuleOff("offline pages are kept: NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE) is missing" if damaged else None)
    return list(require_page_type(layout, "PAGE_OFFLINE_MAPCOUNT_VALUE", "offline pages are kept"))


RULE: Final = Rule("offline", "Offline pages", 70, 0, _matches, _prepare, may_be_reserved=True)
