"""Pages filled with zeros: seen in the data, not in the struct page.

A zero page keeps its place in the dump and costs no data: all of them share one block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.filters.rules import Rule

if TYPE_CHECKING:
    from vmsieve.filters.page_layout import PageLayout

__all__ = ["RULE"]


def _prepare(layout: PageLayout) -> list[int]:
    return []


RULE: Final = Rule("zero", "Pages filled with zero", 90, 1, None, _prepare)
