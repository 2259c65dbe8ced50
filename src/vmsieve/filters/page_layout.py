"""What a struct page looks like in one kernel: where its fields are and which values mean what, out of VMCOREINFO.

Everything is decided by the keys that are present, never by the kernel's version. makedumpfile's rules, and which
kernels have which keys, are described in its IMPLEMENTATION file; the fields in ``include/linux/mm_types.h`` and
``include/linux/page-flags.h``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmsieve.filters.linux.constants import bit_of_reserved
from vmsieve.filters.rules import RuleOff
from vmsieve.formats.errors import KernelError
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo

__all__ = ["NOWHERE", "Order", "PageLayout"]

#: An offset that a kernel has no field for.
NOWHERE = (1 << 64) - 1
_U32 = 0xFFFFFFFF


@record(frozen=True)
class Order:
    """How a compound page tells its size and whether it is a hugetlb page: all in the first tail's struct page.

    Attributes:
        offset: Of the order in the first tail's struct page, bytes.
        width: Bytes of the field; 8: the low byte of a word (the flags of that struct page).
        hugetlb: ``"type"``: the head's page type; ``"flag"``: a flag of the first tail; ``"dtor"``: a number of
            ``dtor_width`` bytes at ``dtor_offset`` of the first tail; ``""``: can't be told.
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
    """The struct page of one kernel.

    Attributes:
        info: The kernel's VMCOREINFO.
        size: Bytes of a struct page.
        offset_flags, offset_mapping, offset_kind: Of the fields every rule reads; ``kind`` is the word that is
            ``_mapcount`` for a mapped page and the page type for others.
        offset_private: Of ``private``, or None.
        offset_count: Of the reference counter, or None.
        offset_head: Of ``compound_head`` (``compound_info`` since v7.1), bit 0 of which marks a tail; or None.
        head_mask: Mask of the flag that marks the head of a compound page; 0 if not known.
        flags: Masks of all flags that were asked for, and of that one: what tells one class of pages from another.
        order: Where compound pages keep their order; None if not known.
        slab_type, slab_mask: Page type of slab pages and the bits of it that count; mask 0 if they have no type.
        slab_flag: Mask of the flag that marks slab pages; 0 if they have none.
        notes: What could not be found out: the dump level bits that it matters for, and a sentence. Rules add theirs.
    """

    def __init__(self, info: VmcoreInfo, struct_page_size: int) -> None:
        """Read the layout.

        Raises:
            KernelError: A field that no rule can do without is missing or impossible.
        """
        self.info = info
        self.size = struct_page_size
        self.notes: list[tuple[int, str]] = []
        self.offset_flags = self._field("flags")
        self.offset_mapping = self._field("mapping")
        self.offset_kind = self._field("_mapcount")
        self.offset_private = self._optional("private")
        count = self._optional("_refcount", 4)
        # Its name until v4.6.
        self.offset_count = self._optional("_count", 4) if count is None else count
        self._demand_order()
        mask = info.number("PG_head_mask")
        self.head_mask = self.flags = mask if mask is not None and 0 < mask < 1 << 64 else 0
        self.order = self._order()
        self.offset_head = self._tail_mark()
        self._note_compound()
        slab = self.type_of("PAGE_SLAB_MAPCOUNT_VALUE")
        self.slab_type, self.slab_mask = (slab, _type_mask(slab)) if slab is not None else (0, 0)
        self.slab_flag = 0 if self.slab_mask else self.flag("PG_slab")

    def _demand_order(self) -> None:
        """Make sure that the fields are where fields can be: a wrong digit in an offset is not believed.

        ``struct page`` (``include/linux/mm_types.h``) begins with its flags, and has its counters side by side.

        Raises:
            KernelError: They are not.
        """
        words = [self.offset_mapping, *(at for at in (self.offset_private,) if at is not None)]
        counters = [self.offset_kind, *(at for at in (self.offset_count,) if at is not None)]
        taken = [byte for at in (self.offset_flags, *words) for byte in range(at, at + 8)]
        taken += [byte for at in counters for byte in range(at, at + 4)]
        if (
            self.offset_flags
            or any(at % 8 for at in words)
            or max(counters) - min(counters) not in (0, 4)
            or len(set(taken)) < len(taken)
        ):
            raise KernelError("the offsets of the fields of struct page can't be right", found=sorted(words + counters))

    def type_of(self, key: str) -> int | None:
        """The page type ``NUMBER(key)`` as its 32-bit word; None if it is not told, or can't be one.

        A type is a word of ones with one bit clear (at first: -128), or, since v6.12, a number in the top byte.
        """
        value = self.info.number(key)
        if value is None:
            return None
        word = value & _U32
        clear = word ^ _U32
        if value == -128 or (clear and not clear & (clear - 1)) or _type_mask(word) != _U32:
            return word
        self.notes.append((31, f"NUMBER({key}) is no page type and not believed"))
        return None

    def _tail_mark(self) -> int | None:
        """Offset of the word that marks a tail: ``compound_head``, since v7.1 ``compound_info``.

        v4.4 did not export it yet; since then it has been the first word of ``lru``.
        """
        for name in ("compound_head", "compound_info"):
            offset = self._optional(name)
            if offset is not None:
                return offset
        return self._optional("lru") if self.order is not None else None

    def _note_compound(self) -> None:
        if not self.head_mask or self.order is None:
            self.notes.append((
                14,
                "the size of compound pages is not known (PG_head_mask, or where the order is, is missing): "
                "of huge pages only the first page frame is dropped",
            ))  # fmt: skip
        elif not self.order.hugetlb:
            self.notes.append((
                8, "huge pages of hugetlbfs can't be told from others and are kept: no key says what marks them"
            ))  # fmt: skip

    def _optional(self, name: str, width: int = 8) -> int | None:
        offset = self.info.offset(f"page.{name}")
        return offset if offset is not None and 0 <= offset <= self.size - width else None

    def _field(self, name: str) -> int:
        offset = self._optional(name, 4 if name == "_mapcount" else 8)
        if offset is None:
            raise KernelError(f"OFFSET(page.{name}) is missing from VMCOREINFO or lies outside of a struct page")
        return offset

    def _order(self) -> Order | None:
        """Where the order is, newest kernels first: told by the keys that each of them exports.

        The order moved to the low byte of the first tail's flags in v6.6, to ``folio._folio_order`` in v6.3, and was
        ``page.compound_order`` before; hugetlb became a page type in v6.9 and was a flag of the first tail in v6.6.
        """
        info = self.info
        hugetlb = self.type_of("PAGE_HUGETLB_MAPCOUNT_VALUE")
        if hugetlb is not None:
            return Order(self.offset_flags, 8, "type", hugetlb, _type_mask(hugetlb))
        if self.flag("PG_hugetlb"):
            return Order(self.offset_flags, 8, "flag", self.flag("PG_hugetlb"))
        if info.number("PAGE_SLAB_MAPCOUNT_VALUE") is not None:
            # v6.10 or later, without hugetlbfs.
            return Order(self.offset_flags, 8)
        dtor = info.number("HUGETLB_PAGE_DTOR")
        order_at, dtor_at, width = self._old_order()
        if order_at is None:
            return None
        if dtor is None or dtor_at is None:
            return Order(order_at, width)
        return Order(order_at, width, "dtor", dtor, dtor_offset=dtor_at)

    def _old_order(self) -> tuple[int | None, int | None, int]:
        """Offsets of order and destructor number in the first tail, and the bytes each has (v4.4 to v6.5)."""
        order, dtor = self.info.offset("folio._folio_order"), self.info.offset("folio._folio_dtor")
        if order is not None:
            # Offsets in the folio, whose second struct page is the first tail.
            at = order - self.size
            return self._inside(at), self._inside(dtor - self.size) if dtor is not None else None, 1
        order, dtor = self.info.offset("page.compound_order"), self.info.offset("page.compound_dtor")
        # The two lie side by side, and how far apart tells their size: one byte each since v4.16 ("mm: store
        # compound_dtor / compound_order as bytes"), before that four, and two in v4.4 (Linux commit f1e61557f023, "mm:
        # pack compound_dtor and compound_order into one word in struct page").
        width = abs(order - dtor) if order is not None and dtor is not None else 0
        if order is None or dtor is None or width not in (1, 2, 4):
            return None, None, 0
        return self._inside(order, width), self._inside(dtor, width), width

    def _inside(self, offset: int, width: int = 1) -> int | None:
        return offset if 0 <= offset <= self.size - width else None

    def flag(self, name: str) -> int:
        """Mask of the page flag whose bit ``NUMBER(name)`` tells; 0 if it is not told. Kept in :attr:`flags`."""
        bit = self.info.number(name)
        mask = 1 << bit if bit is not None and 0 <= bit < 64 else 0
        self.flags |= mask
        return mask

    def reserved(self) -> int:
        """Mask of ``PG_reserved``; 0 if it is not known. Kept in :attr:`flags`.

        The kernel sets it on its own image and on firmware's memory. VMCOREINFO does not export it: it follows from the
        flags that it does.
        """
        bit = bit_of_reserved(self.info)
        mask = 1 << bit if bit is not None and 0 <= bit < 64 else 0
        self.flags |= mask
        return mask

    def page_type(self, key: str, otherwise: str) -> tuple[int, int]:
        """Value of ``NUMBER(key)`` as the page type's 32-bit word, and the bits of it that count.

        Raises:
            RuleOff: The key is missing; ``otherwise`` says what follows.
        """
        word = self.type_of(key)
        if word is None:
            raise RuleOff(f"{otherwise}: NUMBER({key}) is missing or no page type")
        return word, _type_mask(word)

    def demand_tails(self, otherwise: str) -> None:
        """Make sure that tails of compound pages can be told from other pages; their fields mean something else.

        Raises:
            RuleOff: They can't; ``otherwise`` says what follows.
        """
        # Before v4.4 the kernel exported neither, and its tails' flags and mapping did no harm.
        if self.offset_head is None and self.order is not None:
            raise RuleOff(f"{otherwise}: neither OFFSET(page.compound_head) nor OFFSET(page.lru) is there")

    @property
    def slab_known(self) -> bool:
        """Whether slab pages can be told from others."""
        return bool(self.slab_mask or self.slab_flag)


def _type_mask(value: int) -> int:
    """Which bits of the page type count.

    Since v6.12 types are small numbers from 0xf0 on in the top byte ("mm: support only one page_type per
    page") and the other 24 bits are free for other uses; before, all 32 bits tell the type.
    """
    return 0xFF000000 if value >= 0xF0000000 and value & 0x00FFFFFF == 0 else _U32
