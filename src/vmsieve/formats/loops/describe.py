"""Batch loops of the writers: page descriptors, runs of stored pages, segments of memory."""

from __future__ import annotations

from vmsieve.formats.compiler import loop
from vmsieve.formats.compiler.primitives import load8, load32, load64, store32, store64, swap32, swap64
from vmsieve.formats.loops.copies import store_pair
from vmsieve.formats.slim.typing import Final

#: Flags of a page that exists but could not be read. Its page descriptor has no data.
UNREADABLE: Final = 0x80000000

_ALL: Final = 0xFFFFFFFFFFFFFFFF


@loop
def describe_pages(
    count: int, sizes: int, flags: int, offset: int, zero_offset: int, page_size: int, swap: int, out: int, tally: int
) -> int:
    """Build kdump page descriptors (``struct page_desc`` of :mod:`vmsieve.formats.layouts.kdump`); return stored bytes.

    Args:
        sizes: Address of ``count`` native 32-bit words: stored bytes of each page; 0 for a zero page.
        flags: Address of ``count`` native 32-bit words: page descriptor's flags, or ``UNREADABLE``.
        offset: File offset of the first stored page; the others follow.
        zero_offset: File offset of the block of zeros.
        swap: 1 if the dump's byte order is not this machine's.
        out: Address of ``count * 24`` bytes.
        tally: Address of two words, set to the number of zero pages and of unreadable ones.
    """
    at = offset
    zeros = 0
    unreadable = 0
    for i in range(count):
        size = load32(sizes, i * 4)
        flag = load32(flags, i * 4)
        place = at
        if flag & UNREADABLE:
            unreadable += 1
            place = 0
            size = 0
            flag = 0
        elif size == 0:
            zeros += 1
            place = zero_offset
            size = page_size
            flag = 0
        else:
            at += size
        if swap:
            place = swap64(place)
            size = swap32(size)
            flag = swap32(flag)
        store64(out, i * 24, place)
        store32(out, i * 24 + 8, size)
        store32(out, i * 24 + 12, flag)
        store64(out, i * 24 + 16, 0)
    store_pair(tally, 0, zeros, unreadable)
    return at - offset


@loop
def page_runs(count: int, places: int, sizes: int, flags: int, out: int, tally: int) -> int:
    """Join stored pages that are neighbours in the file, and so in the data, into runs; return their number.

    Args:
        places: Address of ``count`` native 64-bit words, ascending: where each page lies, counted in pages.
        sizes, flags: As for :func:`describe_pages`; 0 is the size of a page that is not stored.
        out: Address of ``count * 24`` bytes, set to 64-bit words of each run: first place, pages, index of its first
            page among the stored ones.
        tally: Address of two words, set to the number of stored pages and of unreadable ones.
    """
    runs = 0
    stored = 0
    unreadable = 0
    expected = _ALL
    for i in range(count):
        place = load64(places, i * 8)
        if load32(flags, i * 4) & UNREADABLE:
            unreadable += 1
        if load32(sizes, i * 4) != 0:
            if runs != 0 and place == expected:
                store64(out, runs * 24 - 16, load64(out, runs * 24 - 16) + 1)
            else:
                store_pair(out, runs * 24, place, 1)
                store64(out, runs * 24 + 16, stored)
                runs += 1
            expected = place + 1
            stored += 1
    store_pair(tally, 0, stored, unreadable)
    return runs


@loop
def cut_segments(
    exists: int, kept: int, first: int, last: int, base: int, gap: int, state: int, out: int, room: int
) -> int:
    """Cut memory into segments at holes and at ``gap`` or more dropped pages; return the number of finished segments.

    Dropped pages before a cut belong to the segment before it.

    Args:
        exists: Address of a bitmap of existing page frames, looked at from bit ``first`` up to ``last``.
        kept: Address of a bitmap of written page frames, a subset of ``exists``.
        base: Page frame of bit 0.
        state: Address of four words that carry the open segment between calls: its first page frame, one above the last
            kept, one above the last existing (equal to the first: no segment is open); and the bit to go on from, set
            on return: less than ``last`` if ``room`` ran out.
        out: Address of ``room * 24`` bytes: these three page frames of each finished segment, 64 bits each.
    """
    start = load64(state, 0)
    stored_end = load64(state, 8)
    end = load64(state, 16)
    found = 0
    i = first
    while i < last and found < room:
        pfn = base + i
        cut = 0
        step = 1
        if i % 64 == 0 and i + 64 <= last:
            # Words that only extend the open segment, or the hole: nearly all of them.
            present = load64(exists, i // 8)
            wanted = load64(kept, i // 8)
            plain = present == _ALL and start != end
            if present == 0 and start == end:
                step = 64
            elif plain and wanted == _ALL and stored_end == pfn:
                step = 64
                stored_end += 64
                end += 64
            elif plain and wanted == 0:
                step = 64
                end += 64
        if step == 1:
            if (load8(exists, i // 8) >> (i % 8)) & 1 == 0:
                cut = start != end
            else:
                keep = (load8(kept, i // 8) >> (i % 8)) & 1
                if start == end:
                    start = pfn
                    stored_end = pfn
                elif keep != 0 and pfn - stored_end >= gap:
                    cut = 1
                if cut == 0:
                    end = pfn + 1
                    if keep:
                        stored_end = pfn + 1
        if cut:
            # i stays: the bit is examined again with no segment open.
            store_pair(out, found * 24, start, stored_end)
            store64(out, found * 24 + 16, end)
            found += 1
            start = end
            stored_end = end
        else:
            i += step
    store_pair(state, 0, start, stored_end)
    store_pair(state, 16, end, i)
    return found
