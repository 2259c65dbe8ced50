"""Raw snappy blocks.

Written from ``format_description.txt`` of google/snappy: the data's size as a varint, then elements whose low two bits
are their kind: 0 literals, 1 to 3 a copy of earlier output with one, two or four bytes of distance.
"""

from __future__ import annotations

from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load8, load16, load64, store8, store16
from vmsieve.formats.loops.copies import (
    TAIL,
    clear_table,
    copy,
    copy_match,
    copy_run,
    copy_short,
    little32,
    little64,
    match_length,
    slot,
)
from vmsieve.formats.slim.typing import Final

#: Room of one round beyond its literals and long copies: copies of 16 and then 8 bytes, a length, the last copy.
_SLACK: Final = 32
_WORD: Final = 0xFFFFFFFF


@inline
def snappy_pack(state: int, source: int, size: int, out: int, room: int) -> int:
    """Pack up to 65536 bytes; return the block's size, 0 if it exceeds ``room``.

    ``state``: address of a word, the address of :data:`~vmsieve.formats.loops.copies.TABLE_SIZE` bytes.
    """
    if size > 65536 or room < _SLACK:
        return 0
    # Machine code for each, with a constant number of bits.
    if size <= 4096:
        return _pack(load64(state, 0), source, size, out, room, 12)
    return _pack(load64(state, 0), source, size, out, room, 13)


@inline
def _pack(table: int, source: int, size: int, out: int, room: int, bits: int) -> int:
    """Pack a page, with ``bits`` of hash; matches are tried in the order of LZO's encoder."""
    shift = clear_table(table, bits)
    end = source + size
    stop = max(size, TAIL) - TAIL
    limit = out + room - _SLACK
    at = _put_size(out, size)
    anchor = 0
    here = 1
    distance = 1
    while here < stop:
        if here == anchor:
            word = little64(source, here)
            change = word ^ little64(source, here - distance)
            word &= _WORD
            place = slot(word, shift)
            store16(table, slot(little32(source - 1, here), shift), here - 1)
            match = load16(table, place)
            store16(table, place, here)
            if little32(source, match) == word:
                distance = here - match
                length = match_length(source + here, source + match, end, 4)
                if at + (length >> 4) > limit:
                    return 0
                at = _put_copy(at, distance, length)
                here += length
                anchor = here
                continue
            if change >> 16 == 0:
                # At most the first two bytes differ: a match behind them.
                run = (change != 0) + (change > 255)
                length = match_length(source + here, source + here - distance, end, 8)
                if at + (length >> 4) > limit:
                    return 0
                store8(at, 0, (run - 1) << 2)
                at += run != 0
                store16(at, 0, load16(source, here))
                at = _put_copy(at + run, distance, length - run)
                here += length
                anchor = here
                continue
            here += 1
        skip = 32
        word = little32(source, here)
        place = slot(word, shift)
        match = load16(table, place)
        store16(table, place, here)
        while little32(source, match) != word:
            # Steps grow while nothing is found.
            here += skip >> 5
            skip += 1
            if here >= stop:
                break
            word = little32(source, here)
            place = slot(word, shift)
            match = load16(table, place)
            store16(table, place, here)
        if here >= stop:
            break
        length = match_length(source + here, source + match, end, 4)
        # A step may have missed the first byte.
        before = 0 if match == 0 else load8(source - 1, match) == load8(source - 1, here)
        here -= before
        length += before
        distance = here - (match - before)
        run = here - anchor
        if at + run + (length >> 4) > limit:
            return 0
        if run != 0:
            at = copy_short(_put_run(at, run), source + anchor, run)
        at = _put_copy(at, distance, length)
        here += length
        anchor = here
    run = size - anchor
    if at + run > limit:
        return 0
    if run != 0:
        at = _put_run(at, run)
        copy(at, source + anchor, run)
        at += run
    return at - out


@inline
def _put_size(at: int, size: int) -> int:
    while size > 127:
        store8(at, 0, (size & 127) | 128)
        at += 1
        size >>= 7
    store8(at, 0, size)
    return at + 1


@inline
def _put_run(at: int, run: int) -> int:
    """Announce ``run`` literals, 1 to 65536; return their place."""
    last = run - 1
    if last < 60:
        store8(at, 0, last << 2)
        return at + 1
    if last < 256:
        store8(at, 0, 60 << 2)
        store8(at, 1, last)
        return at + 2
    store8(at, 0, 61 << 2)
    store8(at, 1, last)
    store8(at, 2, last >> 8)
    return at + 3


@inline
def _put_copy(at: int, distance: int, length: int) -> int:
    """Write copies of ``length`` bytes in all, at least 4, from ``distance`` back; return their end."""
    while length > 64:
        # Leaves 4 bytes or more for the last copy, the least of the short kind.
        part = 64
        if length < 68:
            part = 60
        store8(at, 0, (part - 1) << 2 | 2)
        store8(at, 1, distance)
        store8(at, 2, distance >> 8)
        at += 3
        length -= part
    if length < 12 and distance < 2048:
        store8(at, 0, (distance >> 8) << 5 | (length - 4) << 2 | 1)
        store8(at, 1, distance)
        return at + 2
    store8(at, 0, (length - 1) << 2 | 2)
    store8(at, 1, distance)
    store8(at, 2, distance >> 8)
    return at + 3


@inline
def snappy_unpack(state: int, source: int, size: int, out: int, room: int) -> int:  # noqa: ARG001 - the codecs' signature
    """Unpack a block of ``size`` bytes; return bytes unpacked, 0 if it is damaged or exceeds ``room``.

    Never reads beyond ``size`` or writes beyond ``room``, whatever the block.
    """
    here = source
    end = source + size
    total = 0
    shift = 0
    more = 1
    while more != 0:
        if here >= end or shift > 28:
            return 0
        byte = load8(here, 0)
        here += 1
        total |= (byte & 127) << shift
        shift += 7
        more = byte >> 7
    if total > room:
        return 0
    at = out
    limit = out + total
    while here < end:
        tag = load8(here, 0)
        kind = tag & 3
        here += 1
        if kind == 0:
            length = (tag >> 2) + 1
            if length > 60:
                extra = length - 60
                if extra > end - here:
                    return 0
                length = _little(here, extra) + 1
                here += extra
            if length > limit - at or length > end - here:
                return 0
            at = copy_run(at, here, length, limit, end)
            here += length
            continue
        extra = kind
        length = (tag >> 2) + 1
        if kind == 1:
            length = ((tag >> 2) & 7) + 4
        elif kind == 3:
            extra = 4
        if extra > end - here:
            return 0
        distance = _little(here, extra)
        if kind == 1:
            distance |= (tag >> 5) << 8
        here += extra
        if distance == 0 or distance > at - out or length > limit - at:
            return 0
        at = copy_match(at, distance, length, limit)
    return total if at == limit else 0


@inline
def _little(here: int, count: int) -> int:
    """Load a little-endian number of ``count`` bytes."""
    number = 0
    for i in range(count):
        number |= load8(here, i) << (i * 8)
    return number
