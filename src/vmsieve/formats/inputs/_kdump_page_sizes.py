"""Bitmaps of a kdump-compressed file in pages of another size than its blocks.

makedumpfile's blocks are the kernel's pages. QEMU does not know them (``dump/dump.c``): on aarch64 and ppc64 its blocks
have 64 KiB, the largest page, and elsewhere those of its own emulation, mostly 4 KiB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.loops.bits import join_bits, spread_bits

if TYPE_CHECKING:
    from vmsieve.formats.inputs._kdump_pages import PageMap

__all__ = ["divided", "joined"]


def divided(pages: PageMap, first_pfn: int, count: int, ratio: int) -> tuple[bytearray, bytearray]:
    """As :meth:`PageMap.both`, in pages of which ``ratio`` make a block."""
    low, high = first_pfn // ratio // 8 * 8, -(-(first_pfn + count) // (8 * ratio)) * 8
    both = pages.both(low, high - low)
    outs = bytearray((high - low) * ratio // 8), bytearray((high - low) * ratio // 8)
    for bits, out in zip(both, outs):
        spread_bits(address_of(bits), high - low, ratio, address_of(out))
    start = (first_pfn - low * ratio) // 8
    return outs[0][start : start + count // 8], outs[1][start : start + count // 8]


def joined(pages: PageMap, first_pfn: int, count: int, ratio: int) -> tuple[bytearray, bytearray]:
    """As :meth:`PageMap.both`, in pages of ``ratio`` blocks: of a page that is there, some of the blocks are."""
    both = pages.both(first_pfn * ratio, count * ratio)
    outs = bytearray(count // 8), bytearray(count // 8)
    for bits, out in zip(both, outs):
        join_bits(address_of(bits), count, ratio, address_of(out))
    return outs
