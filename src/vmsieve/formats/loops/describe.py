"""What writers need to know of many pages at once: descriptors, runs of stored pages, segments of memory."""

from __future__ import annotations

from vmsieve.formats.compiler import loop
from vmsieve.formats.compiler.primitives import load8, load32, load64, store32, store64, swap32, swap64
from vmsieve.formats.outputs import UNREADABLE

__all__ = ["cut_segments", "describe_pages", "page_runs"]

_ALL = 0xFFFFFFFFFFFFFFFF


@loop
def describe_pages(
    count: int, sizes: int, flags: int, offset: int, zero_offset: int, page_size: int, swap: int, out: int, tally: int
) -> int:
    """Build kdump page descriptors (``struct page_desc``, see :mod:`vmsieve.formats.layouts.kdump`).

    Args:
        count: Pages.
        sizes: Address of ``count`` native 32-bit words: bytes stored of each page; 0 for a zero page.
        flags: Address of ``count`` native 32-bit words: the descriptor's flags, or ``UNREADABLE``.
        offset: Where in the file the first stored page goes; the others follow it.
        zero_offset: Where in the file the block of zeros is.
        page_size: Bytes.
        swap: 1 when the dump's byte order is not this machine's.
        out: Address of ``count * 24`` bytes.
        tally: Address of two words, set to the number of zero pages and of unreadable ones.

    Returns:
        Bytes that the stored pages take.
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
    store64(tally, 0, zeros)
    store64(tally, 8, unreadable)
    return at - offset


@loop
def page_runs(count: int, pfns: int, sizes: int, flags: int, out: int, tally: int) -> int:
    """Gather stored pages that are neighbours in memory, and so in the data, into runs.

    Args:
        count: Pages.
        pfns: Address of ``count`` native 64-bit words, ascending.
        sizes: Address of ``count`` native 32-bit words: 0 for a page that is not stored.
        flags: Address of ``count`` native 32-bit words: ``UNREADABLE`` or anything else.
        out: Address of ``count * 24`` bytes: for each run the first page frame, the number of pages, and which of the
            stored pages the first one is, 64 bits each.
        tally: Address of two words, set to the number of stored pages and of unreadable ones.

    Returns:
        Number of runs.
    """
    runs = 0
    stored = 0
    unreadable = 0
    expected = _ALL
    for i in range(count):
        pfn = load64(pfns, i * 8)
        if load32(flags, i * 4) & UNREADABLE:
            unreadable += 1
        if load32(sizes, i * 4) != 0:
            if runs != 0 and pfn == expected:
                store64(out, runs * 24 - 16, load64(out, runs * 24 - 16) + 1)
            else:
                store64(out, runs * 24, pfn)
                store64(out, runs * 24 + 8, 1)
                store64(out, runs * 24 + 16, stored)
                runs += 1
            expected = pfn + 1
            stored += 1
    store64(tally, 0, stored)
    store64(tally, 8, unreadable)
    return runs


@loop
def cut_segments(
    exists: int, kept: int, first: int, last: int, base: int, gap: int, state: int, out: int, room: int
) -> int:
    """Cut memory into segments: at every hole in what exists, and where ``gap`` or more pages in a row were dropped.

    Dropped pages before such a cut belong to the segment before it; a shorter row of them does not cut.

    Args:
        exists: Address of a bitmap of page frames, least significant bit first: the machine had them.
        kept: Address of such a bitmap: they are written. No page is kept that does not exist.
        first: First bit to look at.
        last: One above the last bit to look at.
        base: Page frame of bit 0.
        gap: Pages.
        state: Address of four words that carry the open segment from call to call: its first page frame, one above the
            last one kept, one above the last one that exists (equal to the first when no segment is open); and the
            bit to go on with, set on return: less than ``last`` when ``room`` ran out.
        out: Address of ``room * 24`` bytes: for each finished segment these three page frames, 64 bits each.
        room: Segments, at least one.

    Returns:
        Number of finished segments.
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
            # Whole words that change nothing but lengths: nearly all of them.
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
            # The bit is looked at again, with no segment open or a new one begun right there.
            store64(out, found * 24, start)
            store64(out, found * 24 + 8, stored_end)
            store64(out, found * 24 + 16, end)
            found += 1
            start = end
            stored_end = end
        else:
            i += step
    store64(state, 0, start)
    store64(state, 8, stored_end)
    store64(state, 16, end)
    store64(state, 24, i)
    return found
