"""Struct pages of x86_64 kernels of several versions, for made-up machines.

Written from the kernel's headers (``include/linux/mm_types.h``, ``include/linux/page-flags.h``) and the exports of each
version (``kernel/vmcore_info.c``, before v6.9 ``kernel/crash_core.c``), not from the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

STRUCT_PAGE = 64
_NO_TYPE = 0xFFFFFFFF


@dataclass(frozen=True)
class Layout:
    """One kernel's struct page.

    Attributes:
        name: The kernel version.
        release: ``uname -r``.
        head: Offset of ``lru``, whose first word is ``compound_head`` (``compound_info``) in a tail.
        head_key: VMCOREINFO name of that offset; empty: not exported.
        order: ``dtor``: order and destructor number are fields of the first tail, ``order_at`` and ``dtor_at`` bytes
            into its struct page and ``width`` bytes each; ``flag``, ``type``: the order is the low byte of the first
            tail's flags, and hugetlb a flag of the first tail or a type of the head.
        folio: ``order_at`` and ``dtor_at`` are exported as members of ``struct folio``.
        bits: Page flags by name, as bit numbers.
        types: Page types by name, as the 32-bit word of a page that has the type.
        count: Name of the reference counter.
    """

    name: str
    release: str
    flags: int = 0
    head: int = 8
    mapping: int = 24
    private: int = 40
    kind: int = 48
    refcount: int = 52
    head_key: str = "compound_head"
    order: str = "dtor"
    order_at: int = 17
    dtor_at: int = 16
    width: int = 1
    folio: bool = False
    bits: dict[str, int] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    count: str = "_refcount"

    def keys(self) -> dict[str, str]:
        """Return the VMCOREINFO keys of the struct page layout."""
        found = {"SIZE(page)": str(STRUCT_PAGE)}
        for member, at in (
            ("flags", self.flags), (self.count, self.refcount), ("mapping", self.mapping), ("lru", self.head),
            ("_mapcount", self.kind), ("private", self.private),
        ):  # fmt: skip
            found[f"OFFSET(page.{member})"] = str(at)
        if self.head_key:
            found[f"OFFSET(page.{self.head_key})"] = str(self.head)
        if self.order == "dtor":
            owner, more = ("folio._folio", STRUCT_PAGE) if self.folio else ("page.compound", 0)
            found[f"OFFSET({owner}_dtor)"] = str(self.dtor_at + more)
            found[f"OFFSET({owner}_order)"] = str(self.order_at + more)
            found["NUMBER(HUGETLB_PAGE_DTOR)"] = "2"
        found["LENGTH(zone.free_area)"] = "11"
        for name, bit in self.bits.items():
            if name == "head":
                found["NUMBER(PG_head_mask)"] = str(1 << bit)
            else:
                found[f"NUMBER(PG_{name})"] = str(bit)
        for name, value in self.types.items():
            found[f"NUMBER(PAGE_{name.upper()}_MAPCOUNT_VALUE)"] = str(value - (1 << 32))
        return found

    @property
    def reserved(self) -> int:
        """PG_reserved as a mask: in every kernel the flag before PG_private; not exported."""
        return self.mask("private") >> 1

    def mask(self, name: str) -> int:
        """The flag ``name`` as a mask; 0 if the kernel lacks it."""
        return 1 << self.bits[name] if name in self.bits else 0


def _cleared(**bits: int) -> dict[str, int]:
    """Types that are a word of ones with one bit cleared."""
    return {name: _NO_TYPE & ~bit for name, bit in bits.items()}


def _top(**numbers: int) -> dict[str, int]:
    """Types that are a number in the top byte (v6.12)."""
    return {name: number << 24 for name, number in numbers.items()}


_OLD = {"lru": 5, "private": 11, "swapcache": 15, "slab": 7, "hwpoison": 22, "head": 14}
# PG_swapcache is PG_owner_priv_1 since v4.10 and valid only with PG_swapbacked, which is exported since v4.13.
_ALIASED = {"lru": 5, "slab": 8, "swapcache": 9, "private": 12, "swapbacked": 18, "head": 15, "hwpoison": 22}
_WORKINGSET = {"lru": 4, "slab": 9, "swapcache": 10, "private": 13, "swapbacked": 19, "head": 16, "hwpoison": 23}
_REORDERED = {"lru": 5, "slab": 11, "swapcache": 12, "private": 15, "swapbacked": 19, "head": 6, "hwpoison": 22}
_NO_SLAB = {"lru": 5, "swapcache": 11, "private": 14, "swapbacked": 18, "head": 6, "hwpoison": 21}
_NO_ERROR = {"lru": 5, "swapcache": 10, "private": 14, "swapbacked": 17, "head": 6, "hwpoison": 20}
_DROPBEHIND = {**_NO_ERROR, "hwpoison": 21}


def _old_page(name: str, order_at: int, width: int, bits: dict[str, int]) -> Layout:
    """A struct page before v4.18."""
    return Layout(
        name, f"{name}.0-test", mapping=8, kind=24, refcount=28, head=32, private=48, dtor_at=40, order_at=order_at,
        width=width, bits=bits, types={"buddy": 0xFFFFFF80},
    )  # fmt: skip


LAYOUTS = {
    layout.name: layout
    for layout in (
        replace(_old_page("4.4", 42, 2, _OLD), head_key="", count="_count"),
        _old_page("4.14", 44, 4, _ALIASED),
        _old_page("4.16", 41, 1, _ALIASED),
        Layout("6.1", "6.1.0-test", bits=_WORKINGSET, types=_cleared(buddy=0x80, offline=0x100)),
        Layout("6.3", "6.3.0-test", folio=True, bits=_WORKINGSET, types=_cleared(buddy=0x80, offline=0x100)),
        Layout(
            "6.6", "6.6.0-test", order="flag", bits={**_REORDERED, "hugetlb": 8},
            types=_cleared(buddy=0x80, offline=0x100),
        ),
        Layout(
            "6.9", "6.9.0-test", order="type", bits=_REORDERED,
            types=_cleared(buddy=0x80, offline=0x100, hugetlb=0x800),
        ),
        Layout(
            "6.10", "6.10.0-test", order="type", bits=_NO_SLAB,
            types=_cleared(buddy=0x80, offline=0x100, hugetlb=0x800, slab=0x1000),
        ),
        Layout(
            "6.11", "6.11.0-test", order="type", bits=_NO_SLAB,
            types=_cleared(buddy=1 << 30, offline=1 << 29, hugetlb=1 << 26, slab=1 << 25),
        ),
        Layout(
            "6.12", "6.12.0-test", order="type", bits=_NO_ERROR,
            types=_top(buddy=0xF0, offline=0xF1, hugetlb=0xF4, slab=0xF5),
        ),
        Layout(
            "7.2", "7.2.0-test", order="type", head_key="compound_info", bits=_DROPBEHIND,
            types=_top(buddy=0xF0, offline=0xF1, hugetlb=0xF4, slab=0xF5, unaccepted=0xF7),
        ),
    )
}  # fmt: skip
