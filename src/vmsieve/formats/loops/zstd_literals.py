"""The literals section of a zstd block (RFC 8878, 3.1.1.3.1): by a Huffman code, or as they are.

The code is not the best: lengths follow from probabilities, and code space left over goes where rounding lost most.
That costs less time than Huffman's algorithm, and a hundredth of the literals' size at most.
"""

from __future__ import annotations

from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load8, load16, load64, store8, store16, store64
from vmsieve.formats.loops.copies import copy
from vmsieve.formats.loops.fse import first_state, make_coder, next_state, put_bits, put_table, top, width_of
from vmsieve.formats.loops.zstd_memory import (
    CLASS_PLACES,
    CLASSES,
    CODERS,
    CODES,
    HISTOGRAM,
    LENGTHS,
    NEXT,
    ORDER,
    USED,
    WEIGHT_COUNTS,
    WEIGHTS,
)  # fmt: skip
from vmsieve.formats.slim.typing import Final

_FEWEST: Final = 48  # literals that a code is made for
_LONGEST: Final = 11  # bits of a code
_SPACE: Final = 1 << _LONGEST
#: Literals are left as they are if their number squared is at least this times the sum of squared counts: as many
#: symbols, equally frequent, would save a quarter at most. No strict bound, but quick.
_EVEN: Final = 48
#: Level 0 looks at that many literals, and codes all if the pairs of equal ones among them, times all literals, are at
#: least this: if much is gained.
_SAMPLE: Final = 128
_GAIN: Final = 1 << 19


@inline
def put_literals(memory: int, level: int, literals: int, count: int, out: int, limit: int) -> int:
    """Write the section; return its end, 0 if it could pass ``limit``."""
    at = 0
    if count >= (_FEWEST if level else _SAMPLE) and (level or _is_coded(memory + HISTOGRAM, literals, count)):
        at = _put_coded(memory, literals, count, out, limit)
    if at != 0:
        return at
    if out + count + 3 > limit:
        return 0
    head = 1 if count < 32 else 2 if count < 4096 else 3
    value = count << 3 if head == 1 else count << 4 | (4 if head == 2 else 12)
    for i in range(3):
        store8(out, i, value >> (i * 8))
    copy(out + head, literals, count)
    return out + head + count


@inline
def _is_coded(counts: int, literals: int, count: int) -> int:
    """1 if level 0 codes the literals."""
    for i in range(64):
        store64(counts, i * 8, 0)
    step = count // _SAMPLE
    pairs = 0
    for i in range(_SAMPLE):
        place = counts + load8(literals, i * step) * 2
        times = load16(place, 0)
        pairs += times
        store16(place, 0, times + 1)
    return pairs * count >= _GAIN


@inline
def _put_coded(memory: int, literals: int, count: int, out: int, limit: int) -> int:
    """Write the section with a Huffman code; 0 if little is gained."""
    _count_literals(memory + HISTOGRAM, literals, count)
    used = 0
    squares = 0
    for i in range(256):
        times = load16(memory + HISTOGRAM, i * 2)
        store8(memory + USED, used, i)
        squares += times * times
        used += times != 0
    if count * count >= _EVEN * squares or used == 1:
        return 0
    space = _choose_lengths(memory, count, used)
    _fill_space(memory, used, space)
    bits = 0
    for i in range(used):
        bits += load16(memory + HISTOGRAM, load8(memory + USED, i) * 2) * load8(memory + LENGTHS, i)
    size = (bits >> 3) + 28
    if size > count - (count >> 4) or out + size + 160 > limit:
        return 0
    last = load8(memory + USED, used - 1)
    _make_codes(memory, used, last)
    head = 3 if count < 1024 else 4 if count < 16384 else 5
    at = _put_weights(memory, last, out + head)
    if at == 0:
        return 0
    # One stream, below 1024 literals alone, or four, preceded by the sizes of three.
    if count < 1024:
        at = _put_stream(memory, literals, count, at)
    else:
        sizes = at
        at += 6
        part = (count + 3) >> 2
        for i in range(4):
            start = at
            at = _put_stream(memory, literals + i * part, part if i < 3 else count - part * 3, at)
            if i < 3:
                store8(sizes, i * 2, at - start)
                store8(sizes, i * 2 + 1, (at - start) >> 8)
    value = 2 | (head - 3 + (head > 3)) << 2 | count << 4 | (at - out - head) << (4 * head + 2)
    if head == 3:
        value = 2 | count << 4 | (at - out - 3) << 14
    for i in range(head):
        store8(out, i, value >> (i * 8))
    return at


@inline
def _count_literals(counts: int, literals: int, count: int) -> int:
    """Count literals; return 0."""
    for i in range(256):
        store64(counts, i * 8, 0)
    at = 0
    while at + 8 <= count:
        word = load64(literals, at)
        for i in range(8):
            place = counts + (i & 3) * 512 + (word >> (i * 8) & 255) * 2
            store16(place, 0, load16(place, 0) + 1)
        at += 8
    while at < count:
        place = counts + load8(literals, at) * 2
        store16(place, 0, load16(place, 0) + 1)
        at += 1
    # Adds four 16-bit counts at a time; none overflows.
    for i in range(64):
        added = load64(counts, i * 8 + 512) + load64(counts, i * 8 + 1024) + load64(counts, i * 8 + 1536)
        store64(counts, i * 8, load64(counts, i * 8) + added)
    return 0


@inline
def _choose_lengths(memory: int, count: int, used: int) -> int:
    """Round each code length up, and order symbols by what that loses; return the code space taken."""
    ratio = (1 << 27) // count
    places = memory + CLASS_PLACES
    for i in range(9):
        store16(places, i * 2, 0)
    space = 0
    for i in range(used):
        # The probability, 16 bits behind the point, and its three bits below the highest.
        share = (load16(memory + HISTOGRAM, load8(memory + USED, i) * 2) * ratio) >> 11
        share = min(max(share, 32), 0xFFFF)
        length = min(16 - top(memory, share), _LONGEST)
        rounding = 7 - (((share << length) >> 13) & 7)
        store8(memory + LENGTHS, i, length)
        store8(memory + CLASSES, i, rounding)
        store16(places, rounding * 2 + 2, load16(places, rounding * 2 + 2) + 1)
        space += _SPACE >> length
    for i in range(1, 9):
        store16(places, i * 2, load16(places, i * 2) + load16(places, i * 2 - 2))
    for i in range(used):
        place = places + load8(memory + CLASSES, i) * 2
        to = load16(place, 0)
        store16(place, 0, to + 1)
        store8(memory + ORDER, to, i)
    return space


@inline
def _fill_space(memory: int, used: int, space: int) -> int:
    """Make the code complete: shorten codes, or lengthen them if rare symbols took too much; return 0."""
    while space > _SPACE:
        i = used
        while i > 0 and space > _SPACE:
            i -= 1
            place = memory + LENGTHS + load8(memory + ORDER, i)
            length = load8(place, 0)
            if length < _LONGEST:
                space -= _SPACE >> (length + 1)
                store8(place, 0, length + 1)
    # The space left is a multiple of the longest code's, so it is used up.
    while space < _SPACE:
        for i in range(used):
            place = memory + LENGTHS + load8(memory + ORDER, i)
            length = load8(place, 0)
            fits = (space + (_SPACE >> length) <= _SPACE) & (length > 1)
            space += _SPACE >> length if fits else 0
            store8(place, 0, length - fits)
    return 0


@inline
def _make_codes(memory: int, used: int, last: int) -> int:
    """Make codes and weights of the lengths, and count weights, without that of the last symbol; return 0."""
    codes = memory + NEXT
    counts = memory + WEIGHT_COUNTS
    for i in range(16):
        store16(codes, i * 2, 0)
        store16(counts, i * 2, 0)
    for i in range(32):
        store64(memory + WEIGHTS, i * 8, 0)
    longest = 0
    for i in range(used):
        length = load8(memory + LENGTHS, i)
        longest = max(longest, length)
        store16(codes, length * 2, load16(codes, length * 2) + 1)
    store16(counts, 0, last + 1 - used)
    code = 0
    for i in range(longest):
        # The longest codes come first.
        length = longest - i
        level = load16(codes, length * 2)
        store16(counts, i * 2 + 2, level)
        store16(codes, length * 2, code)
        code = (code + level) >> 1
    weight = 0
    for i in range(used):
        length = load8(memory + LENGTHS, i)
        literal = load8(memory + USED, i)
        code = load16(codes, length * 2)
        store16(codes, length * 2, code + 1)
        store64(memory + CODES, literal * 8, code << (64 - length) | length)
        weight = longest + 1 - length
        store8(memory + WEIGHTS, literal, weight)
    return store16(counts, weight * 2, load16(counts, weight * 2) - 1)


@inline
def _put_weights(memory: int, last: int, out: int) -> int:
    """Describe the code by the weights of the symbols below the last; return the end, 0 if that is impossible."""
    counts = memory + WEIGHT_COUNTS
    symbols = _LONGEST + 2
    while load16(counts, symbols * 2 - 2) == 0:
        symbols -= 1
    alike = last < 3
    for i in range(symbols):
        alike |= load16(counts, i * 2) == last
    if alike == 0:
        make_coder(memory, counts, symbols, last, 6, memory + CODERS)
        at = _put_weight_stream(memory, last, put_table(memory, 6, out + 1))
        size = at - out - 1
        if size < 128 and (last > 128 or size <= (last + 1) >> 1):
            store8(out, 0, size)
            return at
    if last > 128:
        return 0
    store8(out, 0, 127 + last)
    store8(memory + WEIGHTS, last, 0)
    size = (last + 1) >> 1
    for i in range(size):
        store8(out, i + 1, load8(memory + WEIGHTS, i * 2) << 4 | load8(memory + WEIGHTS, i * 2 + 1))
    return out + size + 1


@inline
def _put_weight_stream(memory: int, last: int, out: int) -> int:
    """Write the weights by two states in turn, the last weight first; return the end."""
    coder = memory + CODERS
    weights = memory + WEIGHTS
    left = last - 2
    one = first_state(coder, load8(weights, left + 1))
    other = first_state(coder, load8(weights, left))
    at = out
    bits = 0
    count = 0
    while left > 0:
        steps = min(left, 4)
        for i in range(steps):
            word = load64(coder, load8(weights, left - 1 - i) * 8)
            width = width_of(word, one)
            bits |= (one & ((1 << width) - 1)) << count
            count += width
            # The states change places.
            state = next_state(coder, word, one, width)
            one = other
            other = state
        left -= steps
        put_bits(at, bits)
        at += count >> 3
        bits >>= count & 56
        count &= 7
    # The state of the first weight is read first.
    put_bits(at, bits | (one & 63 | (other & 63) << 6 | 1 << 12) << count)
    return at + ((count + 20) >> 3)


@inline
def _put_stream(memory: int, literals: int, count: int, out: int) -> int:
    """Write literals, the last one first; return the end.

    Pending bits are the highest of a word, and what falls out at its end does not matter: a code word's lowest bits are
    both the shift and the count.
    """
    codes = memory + CODES
    left = count
    at = out
    bits = 0
    pending = 0
    while left & 3:
        left -= 1
        code = load64(codes, load8(literals, left) * 8)
        bits = bits >> (code & 63) | code
        pending = (pending + code) & 63
    while 1:
        # Not by 64 in one, which is undefined.
        put_bits(at, bits >> 1 >> (63 - pending))
        at += pending >> 3
        pending &= 7
        if left == 0:
            break
        left -= 4
        for i in range(4):
            code = load64(codes, load8(literals, left + 3 - i) * 8)
            bits = bits >> (code & 63) | code
            pending += code
        pending &= 63
    put_bits(at, (bits >> 1 | 1 << 63) >> (63 - pending))
    return at + 1
