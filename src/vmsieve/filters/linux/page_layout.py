"""The struct page of one kernel: offsets of its fields, masks of its flags and its page types, from VMCOREINFO.

Keys that are present decide, never the kernel's version. makedumpfile's IMPLEMENTATION file describes its rules, and
which kernels have which keys; the fields are in ``include/linux/mm_types.h`` and ``include/linux/page-flags.h``.
"""

from __future__ import annotations

from vmsieve.filters.linux.constants import bit_of_reserved
from vmsieve.formats.errors import KernelError
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import Literal

    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

_U32: Final = 0xFFFFFFFF


@record(frozen=True)
class Order:
    """Where a compound page has its order and its mark of hugetlb pages: in the first tail's struct page.

    Attributes:
        offset: Of the order.
        width: Bytes of the order; 8: the low byte of a word (the flags of that struct page).
        hugetlb: ``"type"``: the head's page type; ``"flag"``: a flag of the first tail; ``"dtor"``: a number of
            ``width`` bytes at ``dtor_offset``; ``""``: not known.
        value: The page type, flag mask or number that means hugetlb.
        type_mask: Bits of the page type that count, for ``"type"``.
    """

    offset: int
    width: int
    hugetlb: str = ""
    value: int = 0
    type_mask: int = 0
    dtor_offset: int = 0


class PageLayout:
    """The struct page of one kernel. Offsets are bytes from its start.

    Attributes:
        size: Bytes of a struct page.
        offset_flags, offset_mapping, offset_kind: Fields that every rule needs; ``kind`` is the word that is
            ``_mapcount`` in mapped pages and the page type in others.
        offset_private: Of ``private``, or None.
        offset_count: Of the reference counter, or None.
        offset_tail: Of ``compound_head`` (``compound_info`` since v7.1), bit 0 of which marks a tail; or None.
        head_flag: Mask of the flag that marks the head of a compound page; 0 if not known.
        flags: Masks of ``head_flag`` and of all flags that were asked for: those that distinguish page classes.
        order: Where compound pages have their order; None if not known.
        slab_type, slab_mask: Page type of slab pages and the bits of it that count; mask 0 if they have no type.
        slab_flag: Mask of the flag that marks slab pages; 0 if they have none.
        notes: Dump level bits that something unknown matters for, and a sentence on it. Rules add theirs.
    """

    def __init__(self, info: VmcoreInfo, struct_page_size: int) -> None:
        self.info = info
        self.size = struct_page_size
        self.notes: list[tuple[int, str]] = []
        self.offset_flags = self._field("flags")
        self.offset_mapping = self._field("mapping")
        self.offset_kind = self._field("_mapcount", 4)
        self.offset_private = self._optional("private")
        count = self._optional("_refcount", 4)
        # Its name until v4.6.
        self.offset_count = self._optional("_count", 4) if count is None else count
        self._check_offsets()
        mask = info.number("PG_head_mask")
        self.head_flag = self.flags = mask if mask is not None and 0 < mask < 1 << 64 else 0
        self.order = self._order()
        # v4.4 did not export it yet: there it is the first word of lru.
        names = ("compound_head", "compound_info", *(("lru",) if self.order is not None else ()))
        self.offset_tail = next((at for at in map(self._optional, names) if at is not None), None)
        self._note_compound()
        self.slab_type, self.slab_mask = self.page_type("PAGE_SLAB_MAPCOUNT_VALUE") or (0, 0)
        self.slab_flag = 0 if self.slab_mask else self.flag("PG_slab")

    def _check_offsets(self) -> None:
        """Check the fields' offsets: one wrong digit is detected.

        ``struct page`` (``include/linux/mm_types.h``) begins with its flags, and has its two counters side by side.
        """
        words = [at for at in (self.offset_mapping, self.offset_private) if at is not None]
        counters = [at for at in (self.offset_kind, self.offset_count) if at is not None]
        taken = [byte for at in (self.offset_flags, *words) for byte in range(at, at + 8)]
        taken += [byte for at in counters for byte in range(at, at + 4)]
        misplaced = self.offset_flags or any(at % 8 for at in words) or max(counters) - min(counters) not in (0, 4)
        if misplaced or len(set(taken)) < len(taken):
            raise KernelError("the offsets of the fields of struct page are impossible", found=sorted(words + counters))

    def _note_compound(self) -> None:
        if not self.head_flag or self.order is None:
            self.notes.append((
                14,
                "the size of compound pages is not known (PG_head_mask, or the offset of the order, is missing): "
                "of huge pages only the first page frame is dropped",
            ))  # fmt: skip
        elif not self.order.hugetlb:
            self.notes.append((8, "huge pages of hugetlbfs are kept: no key says how they are marked"))

    def fields(self, page: bytes, byte_order: str) -> dict[str, int]:
        """Return the fields of a struct page that rules look at, by the names that :class:`Rule` has for them."""
        order: Literal["big", "little"] = "big" if byte_order == "big" else "little"
        offsets = {
            "flags": (self.offset_flags, 8), "mapping": (self.offset_mapping, 8), "kind": (self.offset_kind, 4),
            "private": (self.offset_private, 8), "references": (self.offset_count, 4),
        }  # fmt: skip
        return {
            name: int.from_bytes(page[at : at + size], order) for name, (at, size) in offsets.items() if at is not None
        }

    def _optional(self, name: str, width: int = 8) -> int | None:
        offset = self.info.offset(f"page.{name}")
        return self._inside(offset, width) if offset is not None else None

    def _inside(self, offset: int, width: int = 1) -> int | None:
        return offset if 0 <= offset <= self.size - width else None

    def _field(self, name: str, width: int = 8) -> int:
        offset = self._optional(name, width)
        if offset is None:
            raise KernelError(f"OFFSET(page.{name}) is missing from VMCOREINFO or lies outside of a struct page")
        return offset

    def _order(self) -> Order | None:
        """Find the order by the keys that kernels export, newest kernels first.

        The order moved to the low byte of the first tail's flags in v6.6, to ``folio._folio_order`` in v6.3, and was
        ``page.compound_order`` before. Hugetlb became a page type in v6.9 and a flag of the first tail in v6.6.
        """
        hugetlb = self.page_type("PAGE_HUGETLB_MAPCOUNT_VALUE")
        if hugetlb is not None:
            return Order(self.offset_flags, 8, "type", *hugetlb)
        flag = self.flag("PG_hugetlb")
        if flag:
            return Order(self.offset_flags, 8, "flag", flag)
        if self.info.number("PAGE_SLAB_MAPCOUNT_VALUE") is not None:
            # v6.10 or later, without hugetlbfs.
            return Order(self.offset_flags, 8)
        dtor = self.info.number("HUGETLB_PAGE_DTOR")
        order_at, dtor_at, width = self._old_order()
        if order_at is None:
            return None
        if dtor is None or dtor_at is None:
            return Order(order_at, width)
        return Order(order_at, width, "dtor", dtor, dtor_offset=dtor_at)

    def _old_order(self) -> tuple[int | None, int | None, int]:
        """Return the offsets of order and destructor number in the first tail, and bytes of each (v4.4 to v6.5)."""
        order, dtor = self.info.offset("folio._folio_order"), self.info.offset("folio._folio_dtor")
        if order is not None:
            # Offsets in the folio, whose second struct page is the first tail.
            return self._inside(order - self.size), self._inside(dtor - self.size) if dtor is not None else None, 1
        order, dtor = self.info.offset("page.compound_order"), self.info.offset("page.compound_dtor")
        # They are adjacent, so their distance is their size: one byte since v4.16 ("mm: store compound_dtor /
        # compound_order as bytes"), four before, and two in v4.4 (Linux commit f1e61557f023, "mm: pack compound_dtor
        # and compound_order into one word in struct page").
        width = abs(order - dtor) if order is not None and dtor is not None else 0
        if order is None or dtor is None or width not in (1, 2, 4):
            return None, None, 0
        return self._inside(order, width), self._inside(dtor, width), width

    def flag(self, name: str) -> int:
        """Return the mask of the page flag ``NUMBER(name)``, 0 if it is missing; and add it to :attr:`flags`."""
        return self._add_flag(self.info.number(name))

    def reserved(self) -> int:
        """Return the mask of ``PG_reserved``, 0 if it is not known; and add it to :attr:`flags`.

        The kernel sets it on its own image and on firmware's memory. VMCOREINFO does not export it: its bit follows
        from the flags that it does.
        """
        return self._add_flag(bit_of_reserved(self.info))

    def _add_flag(self, bit: int | None) -> int:
        mask = 1 << bit if bit is not None and 0 <= bit < 64 else 0
        self.flags |= mask
        return mask

    def page_type(self, key: str) -> tuple[int, int] | None:
        """Return page type ``NUMBER(key)`` as a 32-bit word, and the bits that count; None if missing or impossible.

        A type is a word of ones with one bit clear (at first: -128), all of which count. Since v6.12 ("mm: support only
        one page_type per page") it is a number from 0xf0 on in the top byte; the other 24 bits are free for other uses.
        """
        value = self.info.number(key)
        if value is None:
            return None
        word = value & _U32
        if word >= 0xF0000000 and word & 0x00FFFFFF == 0:
            return word, 0xFF000000
        clear = word ^ _U32
        if value == -128 or (clear and not clear & (clear - 1)):
            return word, _U32
        self.notes.append((31, f"NUMBER({key}) is no page type and is ignored"))
        return None

    @property
    def orders(self) -> int | None:
        """The number of orders of free blocks, MAX_PAGE_ORDER + 1; None if not known."""
        orders = self.info.length("zone.free_area")
        return orders if orders is not None and 0 < orders <= 32 else None

    @property
    def tails_known(self) -> bool:
        """True if tails of compound pages are recognised.

        Or need not be: before v4.4 the kernel exported neither order nor mark, and its tails' flags and mapping did no
        harm.
        """
        return self.offset_tail is not None or self.order is None

    @property
    def slab_known(self) -> bool:
        """True if slab pages are recognised."""
        return bool(self.slab_mask or self.slab_flag)
