"""LZO1X streams: packed as LZO1X-1, unpacked from any LZO1X stream.

Written from Documentation/staging/lzo.rst of Linux. A stream is a sequence of instructions that copy bytes from earlier
output (a *match*) or from the stream (*literals*). Up to three literals behind a match are counted in two spare bits of
its instruction. A copy from distance 16384 by the instruction for longer distances ends the stream.
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

#: Room of one round beyond its literals and long lengths: copies of 16 and then 8 bytes, two lengths, one match.
_SLACK: Final = 32
_NEAR, _MIDDLE, _FAR = 2048, 16384, 49151  # reach of the three kinds of matches
_WORD: Final = 0xFFFFFFFF


@inline
def lzo_pack(state: int, source: int, size: int, out: int, room: int) -> int:
    """Pack up to 65536 bytes; return the stream's size, 0 if it exceeds ``room``.

    ``state``: address of a word, the address of :data:`~vmsieve.formats.loops.copies.TABLE_SIZE` bytes.
    """
    if size > 65536:
        return 0
    # Machine code for each, with constant bits and reach.
    if size <= 4096:
        return _pack(load64(state, 0), source, size, out, room, 0)
    return _pack(load64(state, 0), source, size, out, room, 1)


@inline
def _pack(table: int, source: int, size: int, out: int, room: int, large: int) -> int:
    """Pack a page. ``large``: a constant, 1 if it has more than 4096 bytes.

    Behind a match, two matches are tried that usually need no search: at the same distance, up to two bytes later (most
    pages are arrays of structures), and at this place by the hash table. So most rounds take few branches. Tried, too:
    four places at once without branches, 1.1 to 1.3 of the time; two pages at once likewise.
    """
    # Long lengths take a byte per 255 bytes of the page.
    slack = _SLACK + (size >> 7)
    if room < slack:
        return 0
    shift = clear_table(table, 13 if large else 12)
    end = source + size
    stop = max(size, TAIL) - TAIL
    limit = out + room - slack
    at = out
    anchor = 0
    here = 4
    distance = 4
    while here < stop:
        if here == anchor:
            word = little64(source, here)
            change = word ^ little64(source, here - distance)
            word &= _WORD
            place = slot(word, shift)
            if change >> (8 if large and distance > _NEAR else 16) == 0:
                # At most the first two bytes differ: a match behind them.
                store16(table, place, here)
                run = (change != 0) + (change > 255)
                length = match_length(source + here, source + here - distance, end, 8)
                if at > limit:
                    return 0
                store8(at - 2, 0, load8(at - 2, 0) | run)
                store16(at, 0, load16(source, here))
                at = _put_match(at + run, distance, length - run)
                here += length
                anchor = here
                continue
            store16(table, slot(little32(source - 1, here), shift), here - 1)
            match = load16(table, place)
            store16(table, place, here)
            if little32(source, match) == word and (not large or here - match <= _FAR):
                distance = here - match
                length = match_length(source + here, source + match, end, 4)
                if at > limit:
                    return 0
                at = _put_match(at, distance, length)
                here += length
                anchor = here
                continue
            here += 1
        skip = 32
        word = little32(source, here)
        place = slot(word, shift)
        match = load16(table, place)
        store16(table, place, here)
        while little32(source, match) != word or (large and here - match > _FAR):
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
        if at + run > limit:
            return 0
        if at == out or run > 16:
            at = _put_run(at, out, run)
        else:
            # No branch on the number: few and none are equally likely.
            store8(at - 2, 0, load8(at - 2, 0) | (run if run < 4 else 0))
            store8(at, 0, run - 3)
            at += run > 3
        at = copy_short(at, source + anchor, run)
        at = _put_match(at, distance, length)
        here += length
        anchor = here
    run = size - anchor
    if at + run > limit:
        return 0
    at = _put_run(at, out, run)
    copy(at, source + anchor, run)
    at += run
    store8(at, 0, 17)
    store8(at, 1, 0)
    store8(at, 2, 0)
    return at + 3 - out


@inline
def _put_run(at: int, out: int, run: int) -> int:
    """Announce ``run`` literals; return their place."""
    if run == 0:
        return at
    if at == out and run < 239:
        store8(at, 0, run + 17)
        return at + 1
    if run < 4:
        store8(at - 2, 0, load8(at - 2, 0) | run)
        return at
    if run < 19:
        store8(at, 0, run - 3)
        return at + 1
    store8(at, 0, 0)
    return _put_length(at + 1, run - 18)


@inline
def _put_length(at: int, rest: int) -> int:
    """Write the part of a length above its instruction's bits: bytes of 0 count 255, the last byte itself."""
    while rest > 255:
        store8(at, 0, 0)
        at += 1
        rest -= 255
    store8(at, 0, rest)
    return at + 1


@inline
def _put_match(at: int, distance: int, length: int) -> int:
    """Write a copy of ``length`` bytes from ``distance`` back; return the end of the instruction."""
    if length < 9 and distance <= _NEAR:
        distance -= 1
        store8(at, 0, (length - 1) << 5 | (distance & 7) << 2)
        store8(at, 1, distance >> 3)
        return at + 2
    if distance <= _MIDDLE:
        distance -= 1
        first = 32
        most = 33
    else:
        distance -= 16384
        first = 16 | (distance >> 14) << 3
        most = 9
    if length <= most:
        store8(at, 0, first | length - 2)
        at += 1
    else:
        store8(at, 0, first)
        at = _put_length(at + 1, length - most)
    store8(at, 0, (distance << 2) & 255)
    store8(at, 1, (distance >> 6) & 255)
    return at + 2


@inline
def lzo_unpack(state: int, source: int, size: int, out: int, room: int) -> int:  # noqa: ARG001 - the codecs' signature
    """Unpack a stream of ``size`` bytes; return bytes unpacked, 0 if it is damaged or exceeds ``room``.

    Never reads beyond ``size`` or writes beyond ``room``, whatever the stream.
    """
    here = source
    end = source + size
    at = out
    limit = out + room
    # Literals of the last instruction: 0 to 3, or 4 for a run of four or more.
    literals = 0
    if size > 0 and load8(here, 0) > 17:
        run = load8(here, 0) - 17
        here += 1
        if run > limit - at or run > end - here:
            return 0
        at = copy_run(at, here, run, limit, end)
        here += run
        literals = min(run, 4)
    # A stream ends with three bytes, so every instruction has three bytes left.
    while end - here >= 3:
        first = load8(here, 0)
        here += 1
        if first >= 64:
            length = (first >> 5) + 1
            distance = (load8(here, 0) << 3) + ((first >> 2) & 7) + 1
            here += 1
        elif first >= 16 or literals == 0:
            most = 31 if first >= 32 else 7 if first >= 16 else 15
            length = first & most
            if length == 0:
                zeros = _zeros(here, end)
                here += zeros
                if end - here < 3:
                    return 0
                length = most + zeros * 255 + load8(here, 0)
                here += 1
            if first < 16:
                run = length + 3
                if run > limit - at or run > end - here:
                    return 0
                at = copy_run(at, here, run, limit, end)
                here += run
                literals = 4
                continue
            length += 2
            distance = (load8(here, 1) << 6) + (load8(here, 0) >> 2) + 1
            if first < 32:
                distance += 16383 + ((first & 8) << 11)
                if distance == 16384:
                    return at - out if here + 2 == end else 0
            first = load8(here, 0)
            here += 2
        else:
            distance = (load8(here, 0) << 2) + (first >> 2) + (2049 if literals == 4 else 1)
            length = 3 if literals == 4 else 2
            here += 1
        literals = first & 3
        if distance > at - out or length + literals > limit - at or literals > end - here:
            return 0
        at = copy_match(at, distance, length, limit)
        at = copy_run(at, here, literals, limit, end)
        here += literals
    return 0


@inline
def _zeros(here: int, end: int) -> int:
    """Count bytes of 0 before another byte or ``end``."""
    count = 0
    while here + count < end and load8(here, count) == 0:
        count += 1
    return count
