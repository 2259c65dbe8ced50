"""Classifies page frames slowly and plainly: the twin of the classification loop.

Works from a :class:`~tests.build.layouts.Layout` and struct pages as stored; knows neither VMCOREINFO nor the code
under test. The decisions and their order are makedumpfile's, as its IMPLEMENTATION file describes them, with these
exceptions, which keep pages that may be needed, or leave out pages that must not be read:

* A free block that is not aligned to its size is not a free block.
* A tail belongs to the preceding compound page only if all pages in between are tails.
* A head within a compound page, at a place where its order can't begin, is the compound page's head mapped twice.
* A poisoned tail is left out if its compound page is known.
* A free block ends at the first page that does not look free: tails, typed pages, referenced pages.
* A page with PG_reserved, head, tail or neither, can only be hwpoison or offline: the kernel image has the flag.
* A page with references is not free; one with a reference count above 2**28 is not a struct page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.build.layouts import Layout

#: Precedence, and the bits of the dump level that drop such a page; 0: every level.
LEVELS = {
    "free": 16, "unaccepted": 16, "cache": 6, "cache_private": 4, "user": 8, "hwpoison": 0, "offline": 0,
}  # fmt: skip
ORDERS = 11


@dataclass
class Fields:
    """A struct page, decoded."""

    layout: Layout
    raw: bytes
    byte_order: str = "little"

    def number(self, at: int, size: int = 8) -> int:
        return int.from_bytes(self.raw[at : at + size], "little" if self.byte_order == "little" else "big")

    @property
    def flags(self) -> int:
        return self.number(self.layout.flags)

    @property
    def mapping(self) -> int:
        return self.number(self.layout.mapping)

    @property
    def count(self) -> int:
        return self.number(self.layout.refcount, 4)

    @property
    def free_member(self) -> bool:
        return not self.tail and self.count == 0 and self.number(self.layout.kind, 4) == 0xFFFFFFFF

    @property
    def private(self) -> int:
        return self.number(self.layout.private)

    @property
    def tail(self) -> bool:
        return self.number(self.layout.head) & 1 == 1

    def has(self, *names: str) -> bool:
        """True if all of these flags are set and the kernel has them."""
        return all(self.layout.mask(name) and self.flags & self.layout.mask(name) for name in names)

    def is_type(self, name: str) -> bool:
        wanted = self.layout.types.get(name)
        kind = self.number(self.layout.kind, 4)
        if wanted is None:
            return False
        if wanted >> 28 == 0xF and wanted & 0xFFFFFF == 0:
            return kind >> 24 == wanted >> 24
        return kind == wanted

    @property
    def reserved(self) -> bool:
        return self.flags & self.layout.reserved != 0

    @property
    def slab(self) -> bool:
        return self.is_type("slab") if "slab" in self.layout.types else self.has("slab")


def _block(pfn: int, page: Fields) -> tuple[str, int]:
    """The kind of free block that a page begins, and its size in pages; ``""`` if it begins no block."""
    if page.count or page.reserved:
        return "", 0
    if page.is_type("buddy") and not page.slab:
        size = 1 << page.private if page.private < ORDERS else 0
        if size and pfn % size == 0:
            return "free", size
    size = 1 << ORDERS - 1
    if page.is_type("unaccepted") and pfn % size == 0:
        return "unaccepted", size
    return "", 0


def _is_cache(page: Fields) -> bool:
    if page.mapping & 1 and not page.slab:
        return False
    if "swapbacked" not in page.layout.bits:
        return page.has("lru") or page.has("swapcache")
    return page.has("lru") or page.has("swapcache", "swapbacked")


def _is_hugetlb(page: Fields, tail: Fields | None) -> bool:
    layout = page.layout
    if tail is None or not page.has("head"):
        return False
    if layout.order == "type":
        return page.is_type("hugetlb")
    if layout.order == "flag":
        return tail.has("hugetlb")
    return tail.number(layout.dtor_at, layout.width) == 2


def _compound(pfn: int, page: Fields, tail: Fields | None) -> int:
    """Pages of the compound page that ``page`` heads."""
    layout = page.layout
    if tail is None or not page.has("head"):
        return 1
    order = tail.number(layout.order_at, layout.width) if layout.order == "dtor" else tail.flags & 0xFF
    return 1 << order if order < 64 and pfn % (1 << order) == 0 else 1


def _again(pfn: int, page: Fields, tail: Fields | None) -> bool:
    """True if this head is at a place where its order can't begin."""
    layout = page.layout
    if tail is None or page.tail or not page.has("head"):
        return False
    order = tail.number(layout.order_at, layout.width) if layout.order == "dtor" else tail.flags & 0xFF
    return order < 64 and pfn % (1 << order) != 0


def _own(page: Fields, tail: Fields | None) -> set[str]:
    """The classes, other than free, of a page that is not a tail."""
    found: set[str] = set()
    if page.count >= 1 << 28:
        return found
    if _is_cache(page) and not page.reserved:
        found.add("cache_private")
        if not page.has("private"):
            found.add("cache")
    if not page.reserved and (_is_hugetlb(page, tail) or (page.mapping & 1 and not page.slab)):
        found.add("user")
    if page.has("hwpoison"):
        found.add("hwpoison")
    if page.is_type("offline") and not page.slab:
        found.add("offline")
    return found


def everything(layout: Layout, pages: Mapping[int, bytes], byte_order: str = "little") -> dict[int, set[str]]:
    """All classes of each page frame; ``pages``: its struct page; names as in :data:`LEVELS`."""
    found: dict[int, set[str]] = {}
    block: tuple[int, set[str]] = (0, set())
    compound: tuple[int, set[str]] = (0, set())
    for pfn in sorted(pages):
        page = Fields(layout, pages[pfn], byte_order)
        tail = Fields(layout, pages[pfn + 1], byte_order) if pfn + 1 in pages else None
        if pfn < block[0] and not page.free_member:
            block = (pfn, set())
        names = set(block[1]) if pfn < block[0] else set()
        if pfn < compound[0] and _again(pfn, page, tail):
            names |= compound[1]
        elif page.tail:
            if pfn < compound[0]:
                standing = compound[1] & {"hwpoison", "offline"} if page.reserved else compound[1]
                names |= standing | ({"hwpoison"} if page.has("hwpoison") else set())
        else:
            own = _own(page, tail)
            kind, size = _block(pfn, page)
            if size == 1:
                own.add(kind)
            elif size:
                names.add(kind)
                if pfn + size > block[0]:
                    block = (pfn + size, {kind})
            compound = (pfn + _compound(pfn, page, tail), own)
            names |= own
        found[pfn] = names
    return found


def dropped(found: Mapping[int, set[str]], level: int) -> dict[int, str]:
    """The page frames that ``level`` leaves out, and the class under which each is counted."""
    out = {}
    for pfn, names in found.items():
        for name, levels in LEVELS.items():
            if name in names and (levels & level or not levels):
                out[pfn] = name
                break
    return out
