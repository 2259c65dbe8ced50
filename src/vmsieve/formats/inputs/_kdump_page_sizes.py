"""Bitmaps of a kdump-compressed file for a page size other than its block size.

makedumpfile's block is the kernel's page. QEMU does not know the page size (``dump/dump.c``): its block is the largest
page, 64 KiB, on aarch64 and ppc64, and elsewhere that of its own emulation, mostly 4 KiB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.loops.bits import join_bits, spread_bits

if TYPE_CHECKING:
    from vmsieve.formats.inputs._kdump_pages import PageMap


def divided(pages: PageMap, first_pfn: int, count: int, ratio: int) -> tuple[bytearray, bytearray]:
    """As :meth:`PageMap.both`, with ``ratio`` pages per block."""
    low, high = first_pfn // ratio // 8 * 8, -(-(first_pfn + count) // (8 * ratio)) * 8
    both = pages.both(low, high - low)
    outs = bytearray((high - low) * ratio // 8), bytearray((high - low) * ratio // 8)
    for bits, out in zip(both, outs):
        spread_bits(address_of(bits), high - low, ratio, address_of(out))
    start = (first_pfn - low * ratio) // 8
    return outs[0][start : start + count // 8], outs[1][start : start + count // 8]


def joined(pages: PageMap, first_pfn: int, count: int, ratio: int) -> tuple[bytearray, bytearray]:
    """As :meth:`PageMap.both`, with ``ratio`` blocks per page: a page exists, or is stored, if any of its blocks is."""
    both = pages.both(first_pfn * ratio, count * ratio)
    outs = bytearray(count // 8), bytearray(count // 8)
    for bits, out in zip(both, outs):
        join_bits(address_of(bits), count, ratio, address_of(out))
    return outs
