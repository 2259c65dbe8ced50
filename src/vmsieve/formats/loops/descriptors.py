"""Page lookup in a kdump-compressed dump: ranks in its bitmap and the page descriptors of a run of pages."""

from __future__ import annotations

from vmsieve.formats.compiler import inline, loop
from vmsieve.formats.compiler.primitives import load8, load64, store8, store32, store64
from vmsieve.formats.loops.bits import ones
from vmsieve.formats.loops.copies import store_pair, word32, word64
from vmsieve.formats.loops.describe import UNREADABLE
from vmsieve.formats.slim.typing import Final

#: 64-bit words that :func:`plan_pages` returns.
PLAN_WORDS: Final = 6
# Why plan_pages stopped: the next page ...
DONE: Final = 0
CHANGED: Final = 1  # uses another codec
MISSING: Final = 2  # has a page descriptor without data
EMPTY: Final = 3  # has no bytes, or is stored as it is in less than a page
TOO_LONG: Final = 4  # has data of more than a page
BEYOND: Final = 5  # has data beyond the end of the file

_ALL: Final = 0xFFFFFFFFFFFFFFFF


@loop
def rank_blocks(bitmap: int, blocks: int, words: int, before: int, out: int, filled: int) -> int:
    """Store the number of bits set before each block of a bitmap; return that behind the last block.

    A block has ``words`` 64-bit words (0: all are empty); ``before`` bits are set before the first. ``out``: address of
    ``blocks`` 64-bit words; 0: do not store. ``filled``: address of ``blocks`` bytes, set to 1 for blocks with a bit
    set; others stay.
    """
    for i in range(blocks):
        if out != 0:
            store64(out, i * 8, before)
        start = before
        at = bitmap + i * words * 8
        for j in range(words):
            before += ones(load64(at, j * 8))
        if before != start:
            store8(filled, i, 1)
    return before


@inline
def bit(bitmap: int, number: int) -> int:
    """Read one bit of a bitmap, least significant first."""
    return (load8(bitmap, number >> 3) >> (number & 7)) & 1


@loop
def find_bit(bitmap: int, first: int, end: int, value: int) -> int:
    """Find the first bit from ``first`` on that equals ``value`` (0 or 1); ``end`` if there is none."""
    other = 0 if value else _ALL
    at = first
    while at < end:
        # Words of the other value only; their byte order does not matter.
        if at & 63 == 0 and at + 64 <= end and load64(bitmap, at >> 3) == other:
            at += 64
        elif bit(bitmap, at) == value:
            return at
        else:
            at += 1
    return end


@inline
def fault(offset: int, size: int, flags: int, page_size: int, file_size: int) -> int:
    """The reason why a page with this page descriptor can't be read; :data:`DONE` if it can."""
    if offset == 0:
        return MISSING
    if size > page_size:
        return TOO_LONG
    if size == 0 or (flags == 0 and size != page_size):
        return EMPTY
    if offset >= file_size or file_size - offset < size:
        return BEYOND
    return DONE


@inline
def enter(table: int, page: int, place: int, size: int, packed: int) -> int:
    """Fill in an entry for :func:`vmsieve.formats.codecs._pack.unpack_pages`."""
    store64(table, page * 16, place)
    store32(table, page * 16 + 8, size)
    store32(table, page * 16 + 12, packed)
    return 0


@inline
def add_extent(extents: int, found: int, offset: int, size: int, following: int) -> int:
    """Append to ``found`` extents, or lengthen the last if it ends at ``offset``; return their number."""
    if found != 0 and offset == following:
        store64(extents, found * 16 - 8, load64(extents, found * 16 - 8) + size)
        return found
    store_pair(extents, found * 16, offset, size)
    return found + 1


@loop
def check_pages(count: int, descriptors: int, swap: int, file_size: int, tally: int) -> int:
    """Check page descriptors, which may point to data in any order; return how many have no data.

    Args:
        descriptors: Address of ``count`` page descriptors.
        swap: 1 if they are in the other byte order.
        tally: Address of two words, in and out: the highest end of data so far; data that the file does not have.
    """
    missing = 0
    end = load64(tally, 0)
    beyond = load64(tally, 8)
    for i in range(count):
        offset = word64(descriptors, i * 24, swap)
        size = word32(descriptors, i * 24 + 8, swap)
        if offset == 0:
            missing += 1
        elif offset >> 63 == 0:
            end = max(end, offset + size)
            beyond += offset + size > file_size
    store64(tally, 0, end)
    store64(tally, 8, beyond)
    return missing


@loop
def plan_pages(
    bitmap: int, first: int, count: int, descriptors: int, swap: int, page_size: int, file_size: int,
    table: int, extents: int, result: int,
) -> int:  # fmt: skip
    """Plan the reads for a run of pages and each page's place in a buffer; return the pages planned.

    The buffer begins with a page of zeros, which stands for pages that are not stored, then room for data shared by
    many pages (the block of all zero pages, recognised because its offset lies before the data being read). The other
    data follow; neighbours in the file are read together. The page behind the planned ones needs another plan, or is
    unreadable.

    Args:
        bitmap: Address of the bitmap of stored pages; the first page's is bit ``first``.
        descriptors: Address of the stored pages' page descriptors (``struct page_desc`` of
            :mod:`vmsieve.formats.layouts.kdump`).
        swap: 1 if they are in the other byte order.
        table: Address of ``count`` entries for :func:`vmsieve.formats.codecs._pack.unpack_pages`.
        extents: Address of ``count`` 64-bit pairs, set to file offset and bytes of each read into the buffer, in order.
        result: Address of :data:`PLAN_WORDS` words. In and out: file offset and bytes of the shared data, 0 if unknown.
            Out: reason (:data:`DONE` and the like), extents, flags of the packed pages (0 if none), page descriptors
            used.
    """
    shared = load64(result, 0)
    shared_size = load64(result, 8)
    known = min(shared_size, 1)
    packed = 0
    found = 0
    used = 0
    at = page_size * 2
    following = 0
    why = DONE
    done = 0
    while done < count:
        if bit(bitmap, first + done) == 0:
            enter(table, done, 0, page_size, 0)
            done += 1
            continue
        offset = word64(descriptors, used * 24, swap)
        size = word32(descriptors, used * 24 + 8, swap)
        flags = word32(descriptors, used * 24 + 12, swap)
        why = fault(offset, size, flags, page_size, file_size)
        if why == DONE and flags != 0 and packed != 0 and flags != packed:
            why = CHANGED
        if why != DONE:
            break
        place = at
        if known == 0 and offset < following:
            known = 1
            shared = offset
            shared_size = size
        if known and offset == shared and size == shared_size:
            place = page_size
        else:
            found = add_extent(extents, found, offset, size, following)
            at += size
            following = offset + size
        if flags != 0:
            packed = flags
        enter(table, done, place, size, min(flags, 1))
        used += 1
        done += 1
    store_pair(result, 0, shared, shared_size)
    store_pair(result, 16, why, found)
    store_pair(result, 32, packed, used)
    return done


@loop
def take_pages(
    count: int, descriptors: int, swap: int, page_size: int, file_size: int, zero: int, sizes: int, flags: int,
    extents: int,
) -> int:  # fmt: skip
    """Read page descriptors for a copy of pages that stay packed; return the number of extents.

    Args:
        descriptors: Address of their page descriptors.
        swap: 1 if they are in the other byte order.
        zero: File offset of the block that all zero pages share; 0 without one.
        sizes: Address of ``count`` 32-bit words, set to stored bytes; 0 for zero and unreadable pages.
        flags: Address of ``count`` 32-bit words, set to the page descriptors' flags, or ``UNREADABLE``.
        extents: Address of ``count`` 64-bit pairs, set to file offset and bytes of the data in page order; neighbours
            are joined.
    """
    found = 0
    following = 0
    for i in range(count):
        offset = word64(descriptors, i * 24, swap)
        size = word32(descriptors, i * 24 + 8, swap)
        flag = word32(descriptors, i * 24 + 12, swap)
        if fault(offset, size, flag, page_size, file_size) != DONE or flag & UNREADABLE != 0:
            size = 0
            flag = UNREADABLE
        elif zero != 0 and offset == zero:
            size = 0
            flag = 0
        else:
            found = add_extent(extents, found, offset, size, following)
            following = offset + size
        store32(sizes, i * 4, size)
        store32(flags, i * 4, flag)
    return found
