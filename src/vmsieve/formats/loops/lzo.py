"""LZO1X streams: packed as LZO1X-1, unpacked from any LZO1X stream.

Written from Documentation/staging/lzo.rst of Linux. A stream is a sequence of instructions that copy bytes from earlier
output (a *match*) or from the stream (*literals*). Up to three literals behind a match are counted in two spare bits of
its instruction. A copy from distance 16384 by the instruction for longer distances ends the stream.
"""

from __future__ import annotations

from typing import Final

from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load8, load16, load32, store8, store16, store64
from vmsieve.formats.loops.copies import copy_match, copy_run, copy_short, match_length

#: Bytes of scratch memory: 16-bit places by a hash of 12 bits for pages of 4 KiB, else 13.
TABLE_SIZE: Final = 2 << 13
_MIX: Final = 0x9E3779B97F4A7C15
#: No match begins in the last bytes: eight bytes can be read from any match.
_TAIL: Final = 16
#: Room of one round beyond its literals: copies of 16 and then 8 bytes, two lengths, one match.
_SLACK: Final = 32
_NEAR, _MIDDLE, _FAR = 2048, 16384, 49151  # reach of the three kinds of matches


@inline
def lzo_pack(table: int, source: int, size: int, out: int, room: int) -> int:
    """Pack up to 65536 bytes; return the stream's size, 0 if it exceeds ``room``.

    ``table``: address of :data:`TABLE_SIZE` bytes: last places of four bytes by hash. It is cleared first, so equal
    pages make equal streams.
    """
    if size > 65536 or room < _SLACK:
        return 0
    bits = 12 if size <= 4096 else 13
    shift = 64 - bits
    for i in range(1 << (bits - 2)):
        store64(table, i * 8, 0)
    end = source + size
    limit = out + room - _SLACK
    at = out
    anchor = source
    here = source + 4
    skip = 32
    while here + _TAIL < end:
        word = load32(here, 0)
        slot = table + ((word * _MIX) >> shift) * 2
        match = source + load16(slot, 0)
        store16(slot, 0, here - source)
        if load32(match, 0) != word or here - match > _FAR:
            # Steps grow while nothing is found.
            here += skip >> 5
            skip += 1
            continue
        skip = 32
        length = match_length(here, match, end)
        run = here - anchor
        if at + run + (run >> 7) + (length >> 7) > limit:
            return 0
        if at == out or run > 18:
            at = _put_run(at, out, run)
        else:
            # No branch on the number: few and none are equally likely.
            store8(at - 2, 0, load8(at - 2, 0) | (run if run < 4 else 0))
            store8(at, 0, run - 3)
            at += run > 3
        at = copy_short(at, anchor, run)
        at = _put_match(at, here - match, length)
        here += length
        anchor = here
    run = end - anchor
    if at + run + (run >> 7) > limit:
        return 0
    at = _put_run(at, out, run)
    for i in range(run):
        store8(at, i, load8(anchor, i))
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
        if length < 34:
            store8(at, 0, 32 | length - 2)
            at += 1
        else:
            store8(at, 0, 32)
            at = _put_length(at + 1, length - 33)
    else:
        distance -= 16384
        first = 16 | (distance >> 14) << 3
        if length < 10:
            store8(at, 0, first | length - 2)
            at += 1
        else:
            store8(at, 0, first)
            at = _put_length(at + 1, length - 9)
    store8(at, 0, (distance << 2) & 255)
    store8(at, 1, (distance >> 6) & 255)
    return at + 2


@inline
def lzo_unpack(source: int, size: int, out: int, room: int) -> int:
    """Unpack a stream of ``size`` bytes; return bytes unpacked, 0 if it is damaged or exceeds ``room``.

    Never reads beyond ``size`` or writes beyond ``room``, whatever the stream.
    """
    here = source
    end = source + size
    at = out
    limit = out + room
    # Literals of the last instruction: 0 to 3, or 4 for a run of four or more.
    state = 0
    if size > 0 and load8(here, 0) > 17:
        run = load8(here, 0) - 17
        here += 1
        if run > limit - at or run > end - here:
            return 0
        at = copy_run(at, here, run, limit, end)
        here += run
        state = min(run, 4)
    # A stream ends with three bytes, so every instruction has three bytes left.
    while end - here >= 3:
        first = load8(here, 0)
        here += 1
        if first >= 64:
            length = (first >> 5) + 1
            distance = (load8(here, 0) << 3) + ((first >> 2) & 7) + 1
            here += 1
        elif first >= 16 or state == 0:
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
                state = 4
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
            distance = (load8(here, 0) << 2) + (first >> 2) + (2049 if state == 4 else 1)
            length = 3 if state == 4 else 2
            here += 1
        state = first & 3
        if distance > at - out or length + state > limit - at or state > end - here:
            return 0
        at = copy_match(at, distance, length, limit)
        at = copy_run(at, here, state, limit, end)
        here += state
    return 0


@inline
def _zeros(here: int, end: int) -> int:
    """Count bytes of 0 before another byte or ``end``."""
    count = 0
    while here + count < end and load8(here, count) == 0:
        count += 1
    return count
