"""Page cache with private data (``PG_private``): a file system has attached something, such as buffer heads."""

from __future__ import annotations

from vmsieve.filters.rules import Rule
from vmsieve.filters.rules.cache import cache_parameters, is_cache
from vmsieve.formats.compiler import inline
from vmsieve.formats.slim.typing import Final


@inline
def _matches(words: int, pfn: int, flags: int, mapping: int, kind: int, private: int, slab: int, hugetlb: int) -> int:
    return is_cache(words, flags, mapping, slab)


RULE: Final = Rule("cache_private", "Private cache pages", 40, 4, _matches, cache_parameters)
