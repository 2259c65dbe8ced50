"""Page cache without private data: pages of files, of tmpfs and of the swap cache.

Such a page is on an LRU list (``PG_lru``) or in the swap cache, and is not anonymous. ``PG_swapcache`` became an alias
of another flag in v4.10 (Linux commit 6326fec1122c, "mm: Use owner_priv bit for PageSwapCache, valid when
PageSwapBacked"), so ``PG_swapbacked`` must be set too, if it is known.
"""

from __future__ import annotations

from vmsieve.filters.rules import Rule, RuleOff, require_tails
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load64
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.filters.linux.page_layout import PageLayout


@inline
def is_cache(words: int, flags: int, mapping: int, slab: int) -> int:
    """True if a page belongs to the page cache. ``words``: address of :func:`cache_parameters`."""
    if mapping & 1 and slab == 0:
        return 0
    if flags & load64(words, 0):
        return 1
    swap = load64(words, 8)
    return swap != 0 and flags & swap == swap


@inline
def _matches(words: int, pfn: int, flags: int, mapping: int, kind: int, private: int, slab: int, hugetlb: int) -> int:
    return flags & load64(words, 16) == 0 and is_cache(words, flags, mapping, slab) != 0


def cache_parameters(layout: PageLayout) -> list[int]:
    """Return the mask of ``PG_lru``, and that of the flags that together mean swap cache, or 0."""
    require_tails(layout, "page cache is kept")
    lru = layout.flag("PG_lru")
    if not lru:
        raise RuleOff("page cache is kept: NUMBER(PG_lru) is missing")
    return [lru, _swap_cache(layout)]


def _swap_cache(layout: PageLayout) -> int:
    """Return the mask of the flags that together mean swap cache; 0 if they are not known."""
    swap, backed, private = (layout.flag(name) for name in ("PG_swapcache", "PG_swapbacked", "PG_private"))
    # As a separate flag it follows PG_private; the flag that it is an alias of precedes PG_private.
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
