"""The sequences section of a zstd block (RFC 8878, 3.1.1.3.2)."""

from __future__ import annotations

from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load16, load64, store8, store16, store64
from vmsieve.formats.loops.fse import first_state, make_coder, next_state, put_bits, put_table, width_of
from vmsieve.formats.loops.zstd_memory import CODER_SIZE, CODERS, COUNTS, PREDEFINED, STATES
from vmsieve.formats.slim.typing import Final

#: Fewer sequences take the predefined tables, half as many that of the offsets.
_FEW: Final = 56
#: More take tables of 256 states instead of 64.
_MANY: Final = 1024
#: Bytes that the section's header and three tables do not reach.
_TABLES: Final = 128


@inline
def put_sequences(memory: int, tokens: int, end: int, out: int, limit: int) -> int:
    """Write the sequences from ``tokens`` up to ``end``; return the section's end, 0 if it could pass ``limit``."""
    count = (end - tokens) >> 4
    if out + _TABLES > limit:
        return 0
    # The section's first bytes: the count, and a byte of three modes of two bits, literal lengths' highest.
    store8(out, 0, count if count < 128 else (count >> 8) + 128)
    store8(out, 1, count)
    if count == 0:
        return out + 1
    at = out + (1 if count < 128 else 2)
    modes = at
    mode = 0
    at += 1
    log = 6 if count <= _MANY else 8
    offsets = 0
    logs = 0
    for i in range(3):
        # In the order of their descriptions: literal lengths, offsets, match lengths.
        alphabet = (3 - i) % 3
        counts = memory + COUNTS + alphabet * 128
        symbols = 36 if alphabet == 0 else 53 if alphabet == 1 else 17
        while load16(counts, symbols * 2 - 2) == 0:
            symbols -= 1
        offset = CODERS + alphabet * CODER_SIZE
        bits = log
        if load16(counts, symbols * 2 - 2) == count:
            # One symbol: a coder of one state, which writes nothing.
            mode |= 1 << (6 - i * 2)
            store8(at, 0, symbols - 1)
            at += 1
            store64(memory + offset, symbols * 8 - 8, STATES << 32)
            store16(memory + offset, STATES, 0)
            bits = 0
        elif count < (_FEW // 2 if alphabet == 2 else _FEW):
            offset += PREDEFINED - CODERS
            bits = 5 if alphabet == 2 else 6
        else:
            mode |= 2 << (6 - i * 2)
            make_coder(memory, counts, symbols, count, log, memory + offset)
            at = put_table(memory, log, at)
        offsets |= offset << (alphabet * 16)
        logs |= bits << (alphabet * 8)
    store8(modes, 0, mode)
    return _put_stream(memory, offsets, logs, tokens, end, at, limit - 16)


@inline
def _put_stream(memory: int, offsets: int, logs: int, tokens: int, end: int, out: int, limit: int) -> int:
    """Write the sequences' bits, the last sequence first; 0 if they pass ``limit``.

    ``offsets``, ``logs``: the coders' places in ``memory``, 16 bits an alphabet, and the binary logarithms of their
    states, 8 bits an alphabet; the first alphabet's lowest.
    """
    literal_coder = memory + (offsets & 0xFFFF)
    match_coder = memory + (offsets >> 16 & 0xFFFF)
    offset_coder = memory + (offsets >> 32)
    token = end - 16
    symbols = load64(token, 8)
    literal = first_state(literal_coder, symbols & 255)
    match = first_state(match_coder, symbols >> 8 & 255)
    offset = first_state(offset_coder, symbols >> 16 & 255)
    at = out
    bits = 0
    count = 0
    while 1:
        more = symbols >> 24
        if count + more > 63:
            put_bits(at, bits)
            at += count >> 3
            bits >>= count & 56
            count &= 7
        bits |= load64(token, 0) << count
        count += more
        put_bits(at, bits)
        at += count >> 3
        bits >>= count & 56
        count &= 7
        if token == tokens:
            break
        if at > limit:
            return 0
        token -= 16
        symbols = load64(token, 8)
        word = load64(offset_coder, (symbols >> 16 & 255) * 8)
        width = width_of(word, offset)
        bits |= (offset & ((1 << width) - 1)) << count
        count += width
        offset = next_state(offset_coder, word, offset, width)
        word = load64(match_coder, (symbols >> 8 & 255) * 8)
        width = width_of(word, match)
        bits |= (match & ((1 << width) - 1)) << count
        count += width
        match = next_state(match_coder, word, match, width)
        word = load64(literal_coder, (symbols & 255) * 8)
        width = width_of(word, literal)
        bits |= (literal & ((1 << width) - 1)) << count
        count += width
        literal = next_state(literal_coder, word, literal, width)
    if at > limit:
        return 0
    # The last states, which a reader takes first, and a closing bit.
    width = logs >> 8 & 255
    bits |= (match & ((1 << width) - 1)) << count
    count += width
    width = logs >> 16
    bits |= (offset & ((1 << width) - 1)) << count
    count += width
    width = logs & 255
    bits |= (literal & ((1 << width) - 1) | 1 << width) << count
    put_bits(at, bits)
    return at + ((count + width + 8) >> 3)
