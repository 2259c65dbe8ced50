"""Page cache with private data: pages that a file system has attached something to (buffer heads, say).

What :mod:`~vmsieve.filters.rules.cache` does not take of the page cache: those with ``PG_private``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.filters.rules import Rule
from vmsieve.filters.rules.cache import cache_parameters, is_cache
from vmsieve.formats.compiler import inline

if TYPE_CHECKING:
    from vmsieve.filters.page_layout import PageLayout

__all__ = ["RULE"]


@inline
def _matches(own: int, pfn: int, flags: int, mapping: int, kind: int, private: int, slab: int, hugetlb: int) -> int:
    return is_cache(own, flags, mapping, slab)


def _prepare(layout: PageLayout) -> list[int]:
    return cache_parameters(layout)


RULE: Final = Rule("cache_private", "Private cache pages", 40, 4, _matches, _prepare)
