"""Zstandard frames (RFC 8878) of one compressed block, for pages of memory.

:func:`zstd_pack` parses the page into sequences (literals, then a copy of earlier bytes: a *match*). The block has two
sections: all literals, by a Huffman code or as they are, and the sequences, by FSE tables made for them.
"""

from __future__ import annotations

from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import (
    big_endian,
    ctz64,
    load8,
    load16,
    load64,
    store8,
    store16,
    store64,
    swap64,
)
from vmsieve.formats.loops.copies import TAIL, clear_table, copy, copy_short
from vmsieve.formats.loops.fse import put_bits, top
from vmsieve.formats.loops.zstd_literals import put_literals
from vmsieve.formats.loops.zstd_memory import (
    COUNTS,
    FOUND,
    LITERAL_BITS,
    LITERAL_SYMBOLS,
    MATCH_BITS,
    MATCH_SYMBOLS,
    TABLE,
)  # fmt: skip
from vmsieve.formats.loops.zstd_sequences import put_sequences
from vmsieve.formats.slim.typing import Final

#: The hash of five bytes: the highest bits of their product with this, the other three shifted out.
_MIX: Final = 889523592379 << 24
_FOUR: Final = 0xFFFFFFFF
_EIGHTS: Final = 0xFFFFFFFFFFFFFFF8
_SMALLEST: Final = 256  # smaller pages would need another header
_HEAD: Final = 10  # bytes of the frame's header and the block's


@inline
def zstd_pack(memory: int, level: int, source: int, size: int, out: int, room: int) -> int:
    """Pack 256 to 65536 bytes; return the frame's size, 0 if it could exceed ``room``.

    ``level``: 1, or 0 for less time and more bytes. ``memory``: address of
    :func:`~vmsieve.formats.loops.zstd_memory.memory_size` bytes that begin with its ``constants``. The rest needs no
    initialisation, so equal pages make equal frames.
    """
    if size < _SMALLEST or size > 65536 or room < 64:
        return 0
    # A compressed block is smaller than its content.
    limit = out + min(room, size)
    literals = memory + TABLE + (2 << (12 if size <= 4096 else 13))
    tokens = literals + ((size + 71) & _EIGHTS)
    end = _parse(memory, level, source, size, literals, tokens)
    # Magic number; descriptor: one segment, 16 bits of size, less 256.
    put_bits(out, 0xFD2FB528 | 0x60 << 32 | (size - 256) << 40)
    at = put_literals(memory, level, literals, load64(memory, FOUND), out + _HEAD, limit)
    if at != 0:
        at = put_sequences(memory, tokens, end, at, limit)
    if at == 0:
        return 0
    block = 1 | 2 << 1 | (at - out - _HEAD) << 3
    for i in range(3):
        store8(out, 7 + i, block >> (i * 8))
    return at - out


@inline
def _parse(memory: int, level: int, source: int, size: int, literals: int, tokens: int) -> int:
    """Store literals and sequences; return the end of the latter.

    Offsets are those of the matches before, if possible: of two, the third is rarely used.
    """
    # Tried on 4 KiB pages of x86-64: four places at once, without branches, take 40 to 60 % more time; places that are
    # multiples of 2 or 4 alone save 3 to 8 % for 6 to 16 % of size; without the last offset, both are larger.
    shift = clear_table(memory + TABLE, 12 if size <= 4096 else 13)
    for i in range(48):
        store64(memory + COUNTS, i * 8, 0)
    stop = size - TAIL
    slow = 7 if level else 2
    literal = literals
    token = tokens
    anchor = 0
    here = 1
    first = 1
    second = 4
    skip = 1 << slow
    while here < stop:
        word = _word(source, here)
        slot = memory + _slot(word, shift)
        distance = here - load16(slot, 0)
        store16(slot, 0, here)
        # The last offset a byte further on is tried first: it needs few bits, and literals before it.
        bits = _word(source, here + 1) ^ _word(source, here + 1 - first)
        if bits & _FOUR == 0:
            here += 1
            distance = first
        else:
            bits = _word(source, here - distance) ^ word
            if bits & _FOUR != 0:
                # Steps grow while nothing is found.
                here += skip >> slow
                skip += 1
                continue
        skip = 1 << slow
        length = _match_length(source, here, distance, size, bits)
        if level:
            more = _equal_before(source, here, distance, here - anchor)
            here -= more
            length += more
        run = here - anchor
        literal = copy_short(literal, source + anchor, run)
        token = _put_sequence(memory, token, run, _offset(run, distance, first, second), length - 3)
        second = second if distance == first else first
        first = distance
        here += length
        anchor = here
        if level and here < stop:
            # A further place, two behind the match's start, would take 2 % more time for 0.2 % of size.
            store16(memory + _slot(_word(source, here - 2), shift), 0, here - 2)
        while here < stop:
            # Without literals before it, the offset before the last is the cheapest.
            word = _word(source, here)
            bits = _word(source, here - second) ^ word
            if bits & _FOUR != 0:
                break
            store16(memory + _slot(word, shift), 0, here)
            length = _match_length(source, here, second, size, bits)
            token = _put_sequence(memory, token, 0, 1, length - 3)
            here += length
            anchor = here
            distance = second
            second = first
            first = distance
    copy(literal, source + anchor, size - anchor)
    store64(memory, FOUND, literal + (size - anchor) - literals)
    return token


@inline
def _word(source: int, offset: int) -> int:
    """Eight bytes, the first one lowest, so that frames are the same in both byte orders."""
    word = load64(source, offset)
    return swap64(word) if big_endian() else word


@inline
def _slot(word: int, shift: int) -> int:
    """Offset of a word's slot of the table in scratch memory."""
    return TABLE + ((word * _MIX) >> shift) * 2


@inline
def _match_length(source: int, here: int, distance: int, size: int, bits: int) -> int:
    """Count equal bytes at ``here``, of which four are equal and 16 exist. ``bits``: where the first eight differ."""
    match = here - distance
    length = 0
    further = _word(source, here + 8) ^ _word(source, match + 8)
    # No branch on whether there are eight, as both are equally likely.
    if bits == 0:
        bits = further
        length = 8
    while bits == 0:
        length += 8
        if here + length + 8 > size:
            while here + length < size and load8(source, here + length) == load8(source, match + length):
                length += 1
            return length
        bits = _word(source, here + length) ^ _word(source, match + length)
    return length + (ctz64(bits) >> 3)


@inline
def _equal_before(source: int, here: int, distance: int, most: int) -> int:
    """Count equal bytes before ``here`` and the match, up to eight and up to ``most``."""
    match = here - distance
    if match < 8:
        return 0
    bits = load64(source, here - 8) ^ load64(source, match - 8)
    if big_endian() == 0:
        bits = swap64(bits)
    return min(most, ctz64(bits) >> 3 if bits else 8)


@inline
def _offset(run: int, distance: int, first: int, second: int) -> int:
    """How an offset is told: 1 to 3 stand for one of the last (RFC 8878, 3.1.1.5); others are itself plus 3."""
    if run == 0:
        return 1 if distance == second else distance + 3
    return 1 if distance == first else 2 if distance == second else distance + 3


@inline
def _put_sequence(memory: int, token: int, run: int, offset: int, length: int) -> int:
    """Store and count a sequence: literals, offset as told, match length less 3; return the address behind.

    Layout: a word of further bits; then bytes: symbols of literal length, match length and offset, number of the bits.
    """
    near = top(memory, offset)
    bits = offset - (1 << near)
    count = near
    before = run
    copied = length
    if run > 15 or length > 31:
        before = load8(memory + LITERAL_SYMBOLS, run) if run < 64 else top(memory, run) + 19
        copied = load8(memory + MATCH_SYMBOLS, length) if length < 128 else top(memory, length) + 36
        more = load8(memory + LITERAL_BITS, before)
        count = load8(memory + MATCH_BITS, copied)
        run &= (1 << more) - 1
        length &= (1 << count) - 1
        count += more
        bits = run | length << more | bits << count
        count += near
    counts = memory + COUNTS
    store16(counts, before * 2, load16(counts, before * 2) + 1)
    store16(counts, 128 + copied * 2, load16(counts, 128 + copied * 2) + 1)
    store16(counts, 256 + near * 2, load16(counts, 256 + near * 2) + 1)
    store64(token, 0, bits)
    store64(token, 8, before | copied << 8 | near << 16 | count << 24)
    return token + 16
