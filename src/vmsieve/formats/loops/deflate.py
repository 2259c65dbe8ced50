"""Deflate streams in zlib's wrapping (RFC 1951, RFC 1950), one block per page of memory.

:func:`deflate_pack` parses the page into sequences (literals, then a copy of earlier bytes: a *match*), makes codes for
them, which gives the size, and writes them. :func:`deflate_fast` uses predefined codes and writes each sequence at
once.
"""

from __future__ import annotations

from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import big_endian, load8, load16, load32, load64, store16, store64, swap32
from vmsieve.formats.loops.adler import put_adler32
from vmsieve.formats.loops.copies import MIX, TAIL, clear_table, copy, copy_short, match_length
from vmsieve.formats.loops.deflate_memory import (
    COUNTS,
    DISTANCE_SYMBOLS,
    DISTANCES,
    END,
    FOUND,
    LENGTH_SYMBOLS,
    LENGTHS,
    LITERALS,
    MORE_COUNTS,
    RUNS,
    TABLE,
)  # fmt: skip
from vmsieve.formats.loops.deflate_write import choose_codes, end_block, put_bits, put_literals, put_match, write_block
from vmsieve.formats.slim.typing import Final

_WINDOW: Final = 32768
_LONGEST: Final = 258
#: A match of this length is taken without trying the next byte for a longer one.
_ENOUGH: Final = 32
#: Places hashed at the end of a match; hashing all of a long one would cost more time.
_KNOWN: Final = 9
#: Room of the fast way beyond its literals (under two bytes each): one match and the stream's end.
_SLACK: Final = 128
_EIGHTS: Final = 0xFFFFFFFFFFFFFFF8


@inline
def deflate_pack(memory: int, source: int, size: int, out: int, room: int) -> int:
    """Pack up to 65536 bytes; return the stream's size, 0 if it exceeds ``room``.

    ``memory``: address of :func:`~vmsieve.formats.loops.deflate_memory.memory_size` bytes that begin with its
    ``constants``. The rest needs no initialisation, so equal pages make equal streams.
    """
    if size > 65536:
        return 0
    for i in range((LENGTHS - COUNTS) >> 3):
        store64(memory + COUNTS, i * 8, 0)
    tokens = memory + LITERALS + ((size + 71) & _EIGHTS)
    last = _parse(memory, tokens, source, size)
    _count_literals(memory, memory + LITERALS, load64(memory, FOUND))
    # Header (2 bytes), checksum (4), and the last store, which may write 8 bytes too many.
    if (choose_codes(memory) + 7 >> 3) + 6 + 8 > room:
        return 0
    put_bits(out, 0x0178)
    return put_adler32(write_block(memory, tokens, last, out + 2), source, size) - out


@inline
def deflate_fast(memory: int, source: int, size: int, out: int, room: int) -> int:
    """Pack as :func:`deflate_pack` in less than half the time; the stream is an eighth larger.

    Also gives up on pages without matches. ``memory`` begins with :func:`~.deflate_memory.fast_constants`.
    """
    if size > 65536 or room < _SLACK:
        return 0
    table = memory + TABLE
    shift = clear_table(table, 12 if size <= 4096 else 13)
    header = load64(memory, RUNS)
    for i in range((header + 63) >> 6):
        store64(out, i * 8, load64(memory, RUNS + 8 + i * 8))
    place = out * 8 + header
    limit = out + room - _SLACK
    end = source + size
    stop = end - TAIL
    anchor = source
    here = source + 1
    skip = 8
    while here < stop:
        word = load32(here, 0)
        slot = _slot(table, word, shift)
        match = source + load16(slot, 0)
        store16(slot, 0, here - source)
        if load32(match, 0) != word or here - match > _WINDOW:
            # Steps grow while nothing is found.
            here += skip >> 3
            skip += 1
            continue
        skip = 8
        length = match_length(here, match, end, 4)
        if (place >> 3) + (here - anchor) * 2 + (length >> 4) > limit:
            return 0
        place = put_literals(memory, place, anchor, here - anchor)
        place = _put_whole(memory, place, here - match, length)
        here += length
        anchor = here
    run = end - anchor
    if run > size - (size >> 3) or (place >> 3) + run * 2 > limit:
        return 0
    # Copied, because put_literals reads up to four bytes beyond.
    copy(memory + LITERALS, anchor, run)
    place = put_literals(memory, place, memory + LITERALS, run)
    return put_adler32(end_block(memory, place), source, size) - out


@inline
def _put_whole(memory: int, place: int, distance: int, length: int) -> int:
    """Write a match of any length at bit ``place``."""
    distance -= 1
    near = load8(memory + DISTANCE_SYMBOLS, distance if distance < 256 else 256 + (distance >> 7))
    while length > 0:
        piece = length if length <= _LONGEST else min(_LONGEST, length - 3)
        place = put_match(memory, place, distance, near, piece - 3, load8(memory + LENGTH_SYMBOLS, piece - 3))
        length -= piece
    return place


@inline
def _parse(memory: int, tokens: int, source: int, size: int) -> int:
    """Store sequences from ``tokens`` on; return the address of the last, which has no match."""
    table = memory + TABLE
    shift = clear_table(table, 13)
    end = source + size
    stop = end - TAIL
    literal = memory + LITERALS
    token = tokens
    anchor = source
    here = source + 1
    while here < stop:
        word = load32(here, 0)
        slot = _slot(table, word, shift)
        match = source + load16(slot, 0)
        store16(slot, 0, here - source)
        if load32(match, 0) != word or here - match > _WINDOW:
            here += 1
            continue
        length = match_length(here, match, end, 4)
        while length < _ENOUGH and here + 1 < stop:
            word = load32(here, 1)
            slot = _slot(table, word, shift)
            other = source + load16(slot, 0)
            store16(slot, 0, here + 1 - source)
            if load32(other, 0) != word or here + 1 - other > _WINDOW:
                break
            longer = match_length(here + 1, other, end, 4)
            if longer <= length:
                break
            here += 1
            match = other
            length = longer
        while here > anchor and match > source and load8(here - 1, 0) == load8(match - 1, 0):
            here -= 1
            match -= 1
            length += 1
        run = here - anchor
        copy_short(literal, anchor, run)
        literal += run
        token = _put_sequence(memory, token, run, here - match, length)
        here += length
        anchor = here
        if here < stop and here >= source + _KNOWN:
            for i in range(_KNOWN):
                store16(_slot(table, load32(here - _KNOWN, i), shift), 0, here - _KNOWN + i - source)
    copy(literal, anchor, end - anchor)
    store64(token, 0, (end - anchor) << 35)
    store64(memory, FOUND, literal + (end - anchor) - (memory + LITERALS))
    return token


@inline
def _slot(table: int, word: int, shift: int) -> int:
    """The table slot of four bytes; the same in both byte orders, so that streams are too."""
    if big_endian():
        word = swap32(word)
    return table + ((word * MIX) >> shift) * 2


@inline
def _put_sequence(memory: int, token: int, run: int, distance: int, length: int) -> int:
    """Store and count a sequence (several for a long match); return the address behind.

    Layout: bits 0 to 15 distance less 1; 16 to 24 length less 3; 25 to 29 length symbol; 30 to 34 distance symbol;
    above, literals before the match.
    """
    distance -= 1
    near = load8(memory + DISTANCE_SYMBOLS, distance if distance < 256 else 256 + (distance >> 7))
    counts = memory + COUNTS
    while length > 0:
        # The remainder is 0, or at least 3: enough for a match.
        piece = length if length <= _LONGEST else min(_LONGEST, length - 3)
        symbol = load8(memory + LENGTH_SYMBOLS, piece - 3)
        store16(counts, (END + 1 + symbol) * 2, load16(counts, (END + 1 + symbol) * 2) + 1)
        store16(counts, (DISTANCES + near) * 2, load16(counts, (DISTANCES + near) * 2) + 1)
        store64(token, 0, run << 35 | near << 30 | symbol << 25 | (piece - 3) << 16 | distance)
        token += 8
        run = 0
        length -= piece
    return token


@inline
def _count_literals(memory: int, literals: int, count: int) -> int:
    """Count literals and the end of the block."""
    counts = memory + COUNTS
    more = memory + MORE_COUNTS
    at = 0
    while at + 4 <= count:
        for i in range(4):
            place = (counts if i == 0 else more + i * 512 - 512) + load8(literals, at + i) * 2
            store16(place, 0, load16(place, 0) + 1)
        at += 4
    while at < count:
        place = counts + load8(literals, at) * 2
        store16(place, 0, load16(place, 0) + 1)
        at += 1
    # Adds four 16-bit counts at a time; none overflows.
    for i in range(64):
        added = load64(more, i * 8) + load64(more, i * 8 + 512) + load64(more, i * 8 + 1024)
        store64(counts, i * 8, load64(counts, i * 8) + added)
    store16(counts, END * 2, 1)
    return 0
