"""Parameters of the classification kernel that follow from how a kernel lays out its struct pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.filters.loops import struct_page as k
from vmsieve.filters.page_layout import NOWHERE

if TYPE_CHECKING:
    from vmsieve.filters.page_layout import PageLayout

__all__ = ["parameters"]

_HUGETLB: Final = {"": 0, "type": 1, "flag": 2, "dtor": 3}


def parameters(layout: PageLayout, *, swap: bool) -> dict[int, int]:
    """Values by their offsets in the parameter block; ``swap``: the dump's byte order is not this machine's."""
    order, private = layout.order, layout.offset_private
    fields = {
        k.SIZE: layout.size,
        k.SWAP: int(swap),
        k.FLAGS: layout.offset_flags,
        k.MAPPING: layout.offset_mapping,
        k.KIND: layout.offset_kind,
        k.PRIVATE: layout.offset_flags if private is None else private,
        k.HEAD: NOWHERE if layout.offset_head is None else layout.offset_head,
        k.HEAD_MASK: layout.head_mask,
        k.SLAB_TYPE: layout.slab_type,
        k.SLAB_MASK: layout.slab_mask,
        k.SLAB_FLAG: layout.slab_flag,
        k.REFCOUNT: layout.offset_count or 0,
        k.COUNT_MASK: 0 if layout.offset_count is None else 0xFFFFFFFF,
        k.LRU: layout.flag("PG_lru"),
        k.RESERVED: layout.reserved(),
    }
    if order is not None and layout.head_mask:
        fields |= {
            k.ORDER_AT: order.offset,
            k.ORDER_WIDTH: order.width,
            k.HUGETLB_HOW: _HUGETLB[order.hugetlb],
            k.HUGETLB_VALUE: order.value,
            k.HUGETLB_AT: order.dtor_offset,
            k.HUGETLB_MASK: order.type_mask,
        }
    return fields
