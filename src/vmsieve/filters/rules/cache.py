"""Page cache without private data: pages of files, tmpfs and the swap cache that can be read again or are not needed.

A page on an LRU list (``PG_lru``) or in the swap cache that is not anonymous. ``PG_swapcache`` became an alias of
another flag (Linux commit 6326fec1122c, "mm: Use owner_priv bit for PageSwapCache, valid when PageSwapBacked", v4.10),
so it counts only together with ``PG_swapbacked`` where that is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.filters.rules import Rule, RuleOff
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load64

if TYPE_CHECKING:
    from vmsieve.filters.page_layout import PageLayout

__all__ = ["RULE", "cache_parameters", "is_cache"]


@inline
def is_cache(own: int, flags: int, mapping: int, slab: int) -> int:
    """Whether a page belongs to the page cache. ``own``: words of :func:`cache_parameters`."""
    if mapping & 1 and slab == 0:
        return 0
    if flags & load64(own, 0):
        return 1
    swap = load64(own, 8)
    return swap != 0 and flags & swap == swap


@inline
def _matches(own: int, pfn: int, flags: int, mapping: int, kind: int, private: int, slab: int, hugetlb: int) -> int:
    return flags & load64(own, 16) == 0 and is_cache(own, flags, mapping, slab) != 0


def cache_parameters(layout: PageLayout) -> list[int]:
    """Words: mask of ``PG_lru``; mask of the flags that together mean swap cache, or 0."""
    layout.demand_tails("page cache is kept")
    lru = layout.flag("PG_lru")
    if not lru:
        raise RuleOff("page cache is kept: NUMBER(PG_lru) is missing")
    return [lru, _swap_cache(layout)]


def _swap_cache(layout: PageLayout) -> int:
    """The flags that together mean swap cache; 0 if that can't be told."""
    swap, backed, private = (layout.flag(name) for name in ("PG_swapcache", "PG_swapbacked", "PG_private"))
    # A flag of its own came after PG_private; the one that it became an alias of comes before.
    if swap and (backed or swap > private > 0):
        return swap | backed
    layout.notes.append((
        6, "swap cache on no LRU list is kept: NUMBER(PG_swapcache) or NUMBER(PG_swapbacked) is missing"
    ))  # fmt: skip
    return 0


def _prepare(layout: PageLayout) -> list[int]:
    parameters = cache_parameters(layout)
    private = layout.flag("PG_private")
    if not private:
        raise RuleOff("page cache without private data is kept: NUMBER(PG_private) is missing")
    return [*parameters, private]


RULE: Final = Rule("cache", "Non-private cache pages", 30, 2 | 4, _matches, _prepare)
