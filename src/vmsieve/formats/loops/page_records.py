"""Pages stored as records of address, size and flags (LKCD, big-endian)."""

from __future__ import annotations

from vmsieve.formats.compiler import inline, loop
from vmsieve.formats.compiler.primitives import big_endian, load8, load32, load64, store8, store32, store64
from vmsieve.formats.loops.copies import store_pair, word32, word64
from vmsieve.formats.slim.typing import Final

#: Most pages of a run: all its records are walked to find one page.
RUN_PAGES: Final = 32
#: 64-bit words of the state of :func:`walk_records`.
WALK_WORDS: Final = 8
# Why walk_records stopped.
MORE: Final = 0  # end of the buffer
FULL: Final = 1  # no room for more runs
END: Final = 2  # end mark, in one of its forms
BAD: Final = 3  # invalid record
CUT: Final = 4  # record whose page is beyond the end of the file

_PAGE: Final = 4096
_LARGEST: Final = 8192


@loop
def walk_records(
    buffer: int, size: int, base: int, file_size: int, limit: int, state: int, runs: int, most: int
) -> int:  # fmt: skip
    """Walk records and join neighbours in memory and file into runs; return finished runs. The last stays in ``state``.

    Args:
        buffer: Address of a piece of the file, at offset ``base``.
        limit: Every page's address is below.
        state: Address of :data:`WALK_WORDS` words, zeros at first. In and out: 0, file offset to go on from; 1, first
            address of the open run; 2, its pages; 3, its offset; 4, address of the last page plus 1; 5, one above the
            highest address; 6, records. Out: 7, the reason for stopping.
        runs: Address of ``most`` rows of three 64-bit words: first address, pages, file offset.
    """
    swap = not big_endian()
    at = load64(state, 0) - base
    first = load64(state, 8)
    pages = load64(state, 16)
    place = load64(state, 24)
    last = load64(state, 32)
    highest = load64(state, 40)
    seen = load64(state, 48)
    found = 0
    why = MORE
    while at + 16 <= size:
        address = word64(buffer, at, swap)
        length = word32(buffer, at + 8, swap)
        flags = word32(buffer, at + 12, swap)
        if flags == 4 or address + 1 == last or (address == 0 and length == 4 and flags == 0):
            why = END
            break
        if address & (_PAGE - 1) or address >= limit or length > _LARGEST or length == 0:
            why = BAD
            break
        if base + at + 16 + length > file_size:
            why = CUT
            break
        if pages == 0 or address + 1 != last + _PAGE or pages == RUN_PAGES:
            if found == most:
                why = FULL
                break
            if pages:
                store_pair(runs, found * 24, first, pages)
                store64(runs, found * 24 + 16, place)
                found += 1
            first = address
            pages = 0
            place = base + at
        pages += 1
        last = address + 1
        highest = max(highest, address + _PAGE)
        seen += 1
        at += 16 + length
    store_pair(state, 0, base + at, first)
    store_pair(state, 16, pages, place)
    store_pair(state, 32, last, highest)
    store_pair(state, 48, seen, why)
    return found


@loop
def plan_records(buffer: int, size: int, skip: int, count: int, address: int, table: int) -> int:
    """Find pages of a run in a piece of the file that begins with the run's first record; return pages found.

    The record behind them is not in the piece, or is another page's.

    ``skip`` pages are skipped; the next ``count`` are wanted, from ``address`` on. ``table``: address of ``count``
    entries for :func:`vmsieve.formats.codecs._pack.unpack_pages`.
    """
    swap = not big_endian()
    at = 0
    for _ in range(skip):
        if at + 16 > size:
            return 0
        at += 16 + word32(buffer, at + 8, swap)
    for i in range(count):
        if at + 16 > size or word64(buffer, at, swap) != address + i * _PAGE:
            return i
        length = word32(buffer, at + 8, swap)
        flags = word32(buffer, at + 12, swap)
        at += 16
        if length > size - at:
            return i
        store64(table, i * 16, at)
        store32(table, i * 16 + 8, length)
        store32(table, i * 16 + 12, flags & 2 != 0)
        at += length
    return count


@inline
def expand(source: int, size: int, out: int, room: int) -> int:
    """Expand one page; return its bytes, 0 if it is damaged."""
    at = 0
    done = 0
    while at < size:
        byte = load8(source, at)
        at += 1
        count = 1
        if byte == 0:
            if at >= size:
                return 0
            count = load8(source, at)
            at += 1
            if count == 0:
                count = 1
            elif at >= size:
                return 0
            else:
                byte = load8(source, at)
                at += 1
        if count > room - done:
            return 0
        for i in range(count):
            store8(out, done + i, byte)
        done += count
    return done


@loop
def expand_rle(count: int, table: int, packed: int, page_size: int, out: int) -> int:
    """Unpack run-length encoded pages; otherwise as :func:`vmsieve.formats.codecs._pack.unpack_pages`.

    A zero byte is followed by a count and the byte to repeat, or by another zero and stands for itself.
    """
    for i in range(count):
        source = packed + load64(table, i * 16)
        size = load32(table, i * 16 + 8)
        target = out + i * page_size
        if load32(table, i * 16 + 12):
            if expand(source, size, target, page_size) != page_size:
                return i
        elif size != page_size:
            return i
        else:
            for j in range(page_size >> 3):
                store64(target, j * 8, load64(source, j * 8))
    return count
