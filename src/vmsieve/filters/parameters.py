"""The parameters of a classification: the block of words that the loops read, filled for one kernel."""

from __future__ import annotations

import ctypes

from vmsieve.filters.loops import parameters as at
from vmsieve.filters.rules import PARAMETERS
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.filters.linux.page_layout import PageLayout
    from vmsieve.filters.rules import Rule

_HUGETLB: Final = {"": 0, "type": 1, "flag": 2, "dtor": 3}


class Parameters:
    """A parameter block, indexed by the offsets of :mod:`vmsieve.filters.loops.parameters`."""

    def __init__(self, words: bytes = bytes(at.WORDS * 8)) -> None:
        self.words = (ctypes.c_uint64 * at.WORDS).from_buffer_copy(words)
        self.address = ctypes.addressof(self.words)

    def __getitem__(self, offset: int) -> int:
        return self.words[offset // 8]

    def __setitem__(self, offset: int, value: int) -> None:
        self.words[offset // 8] = value

    def set_layout(self, layout: PageLayout, *, swap: bool) -> None:
        """Set the struct page's layout; ``swap``: the dump's byte order is not this machine's."""
        fields = {
            at.SIZE: layout.size,
            at.SWAP: int(swap),
            at.FLAGS: layout.offset_flags,
            at.MAPPING: layout.offset_mapping,
            at.KIND: layout.offset_kind,
            at.PRIVATE: layout.offset_flags if layout.offset_private is None else layout.offset_private,
            at.TAIL_AT: at.NOWHERE if layout.offset_tail is None else layout.offset_tail,
            at.HEAD_FLAG: layout.head_flag,
            at.SLAB_TYPE: layout.slab_type,
            at.SLAB_MASK: layout.slab_mask,
            at.SLAB_FLAG: layout.slab_flag,
            at.REFCOUNT: layout.offset_count or 0,
            at.REFCOUNT_MASK: 0 if layout.offset_count is None else 0xFFFFFFFF,
            at.LRU_FLAG: layout.flag("PG_lru"),
            at.RESERVED_FLAG: layout.reserved(),
        }
        order = layout.order
        if order is not None and layout.head_flag:
            fields |= {
                at.ORDER_AT: order.offset,
                at.ORDER_WIDTH: order.width,
                at.HUGETLB_BY: _HUGETLB[order.hugetlb],
                at.HUGETLB_VALUE: order.value,
                at.HUGETLB_AT: order.dtor_offset,
                at.HUGETLB_MASK: order.type_mask,
            }
        for offset, value in fields.items():
            self[offset] = value

    def set_rule(self, index: int, rule: Rule, words: list[int]) -> None:
        """Set the parameters and properties of the rule with class bit ``index``."""
        for i, word in enumerate(words):
            self[at.RULES_AT + (index * PARAMETERS + i) * 8] = word
        if rule.poison:
            self[at.POISON_FLAG], self[at.POISON_BIT] = words[0], 1 << index
        if rule.in_free_area:
            self[at.FREE_BIT] = 1 << index
        self[at.RESERVED_RULES] |= rule.may_be_reserved << index
        self[at.UNREFERENCED] |= rule.unreferenced << index

    def clear(self, offsets: Iterable[int]) -> None:
        """Set words to 0."""
        for offset in offsets:
            self[offset] = 0

    def reset_state(self) -> None:
        """Forget the block and the compound page that the last run ended in."""
        self[at.BLOCK_END] = self[at.COMPOUND_END] = 0

    @property
    def free_blocks(self) -> list[int]:
        """Free blocks found, by order; those of order 0 are not counted."""
        return self.words[at.ORDERS_AT // 8 :]
