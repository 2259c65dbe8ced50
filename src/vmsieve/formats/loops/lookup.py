"""Searches for, and in, the tables that a kernel has of its symbols (kallsyms) and its types (BTF).

Three loops look for any of a set of wanted keys at once. The set is a hash table of :data:`SLOTS` 64-bit words: a key
is in the first free word from ``slot(key)`` on, wrapping around; 0 is a free word. The key of a name is a hash that
composes: ``hash(a + b) == hash(a) * BASE ** len(b) + hash(b)``, modulo 2**64. Two names may share a hash; the caller
compares the names.
"""

from __future__ import annotations

from vmsieve.formats.compiler import inline, loop
from vmsieve.formats.compiler.primitives import big_endian, load8, load64, store32, store64
from vmsieve.formats.loops.copies import store_pair, word32
from vmsieve.formats.slim.typing import Final

SLOTS: Final = 1024
#: ``slot(key) == key * MIX >> SHIFT``, modulo 2**64.
MIX: Final = 0x9E3779B97F4A7C15
SHIFT: Final = 54
#: Base of the names' hash.
BASE: Final = 0x100000001B3
#: Words of a token: hash and ``BASE ** length`` of its text, then of its text without the first character.
TOKEN_WORDS: Final = 4
#: The offset of one type in 256 is stored.
_MARK: Final = 255


@inline
def is_wanted(wanted: int, key: int) -> int:
    """1 if ``key`` is in the hash table ``wanted``."""
    slot = key * MIX >> SHIFT
    for _ in range(SLOTS):
        there = load64(wanted, slot * 8)
        if there == key:
            return key != 0
        if there == 0:
            return 0
        slot = slot + 1 & SLOTS - 1
    return 0


@loop
def match_names(names: int, size: int, first: int, end: int, tokens: int, wanted: int, out: int, room: int) -> int:
    """Look for wanted symbols in kallsyms' compressed names; returns how many were found, ``room`` at most.

    A name is a length of one or two bytes and that many token numbers; its first character is the symbol's type.
    ``names``: address of ``size`` bytes that begin with symbol number ``first``. Whole names before number ``end`` are
    looked at, until ``room`` are found. ``tokens``: address of 256 times :data:`TOKEN_WORDS` words. ``out``: address of
    two words, set to the next symbol's number and offset; then a pair for each symbol found: its number, and the offset
    of its name's length.
    """
    found = 0
    at = 0
    number = first
    while number < end and found < room and at + 2 <= size:
        length = load8(names, at)
        begin = at + 1
        if length & 0x80:
            length = length & 0x7F | load8(names, begin) << 7
            begin += 1
        if begin + length > size:
            break
        if length > 0:
            token = tokens + load8(names, begin) * TOKEN_WORDS * 8
            key = load64(token, 16)
            for i in range(1, length):
                token = tokens + load8(names, begin + i) * TOKEN_WORDS * 8
                key = key * load64(token, 8) + load64(token, 0)
            if is_wanted(wanted, key):
                store_pair(out, 16 + found * 16, number, at)
                found += 1
        number += 1
        at = begin + length
    store_pair(out, 0, number, at)
    return found


@loop
def match_strings(strings: int, size: int, wanted: int, out: int, room: int) -> int:
    """Look for wanted strings among NUL-terminated ones; returns how many were found, ``room`` at most.

    ``strings``: address of ``size`` bytes that begin with a string. ``out``: address of a word, set to the offset of
    the next string, which is cut off or was not looked at; then a pair for each string found: its hash and offset.
    """
    found = 0
    begin = 0
    key = 0
    at = 0
    while at < size and found < room:
        byte = load8(strings, at)
        at += 1
        if byte != 0:
            key = key * BASE + byte
        else:
            if is_wanted(wanted, key):
                store_pair(out, 8 + found * 16, key, begin)
                found += 1
            begin = at
            key = 0
    store64(out, 0, begin)
    return found


@inline
def record_size(info: int) -> int:
    """Return the bytes of a type's record, header and all; 0: of an unknown kind (include/uapi/linux/btf.h)."""
    kind = info >> 24 & 31
    count = info & 0xFFFF
    each = 0
    if kind == 4 or kind == 5 or kind == 15 or kind == 19:  # struct, union, section, 64-bit enumeration
        each = 12
    elif kind == 6 or kind == 13:  # enumeration, arguments of a function
        each = 8
    fixed = 12
    if kind == 1 or kind == 14 or kind == 17:  # integer, variable, tag of a declaration
        fixed = 16
    elif kind == 3:  # array
        fixed = 24
    return 0 if kind == 0 or kind > 19 else fixed + each * count


@loop
def match_types(
    types: int, size: int, base: int, first: int, swap: int, wanted: int, marks: int, most: int, out: int, room: int
) -> int:
    """Look for BTF types by the offsets of their names; returns how many were found, ``room`` at most.

    ``types``: address of ``size`` bytes of records, the first of which has type number ``first`` and offset ``base``;
    offsets count from the first record of the table. ``swap``: 1 if their byte order is not this machine's. ``marks``:
    address of ``most`` 32-bit words; word *n* is set to the offset of type number 256 times *n*. ``out``: address of
    three words, set to the next type's number and offset, and 1 if it is of an unknown kind; then a pair for each type
    found: its number and offset. Structures, unions, enumerations and typedefs are looked for.
    """
    found = 0
    at = 0
    number = first
    bad = 0
    while at + 12 <= size and found < room:
        name = word32(types, at, swap)
        info = word32(types, at + 4, swap)
        length = record_size(info)
        if length == 0 or number >> 8 >= most:
            bad = 1
            break
        if at + length > size:
            break
        if number & _MARK == 0:
            store32(marks, (number >> 8) * 4, base + at)
        kind = info >> 24 & 31
        if kind >= 4 and kind <= 19 and kind != 7 and is_wanted(wanted, name):
            store_pair(out, 24 + found * 16, number, base + at)
            found += 1
        number += 1
        at += length
    store_pair(out, 0, number, base + at)
    store64(out, 16, bad)
    return found


@inline
def is_digits(word: int) -> int:
    """True if these eight bytes are within "0", NUL, "1", NUL and so on to "9"."""
    first = 0x0031003200330034 if big_endian() else 0x0033003200310030
    step = 0x0001000100010001
    if word & 0xFFF8FFF8FFF8FFF8 != 0x0030003000300030:
        first = 0x3000310032003300 if big_endian() else 0x3400330032003100
        step = 0x0100010001000100
    beyond = word - first
    return beyond == 0 or beyond == step or beyond == 2 * step or beyond == 3 * step


@loop
def match_marks(data: int, size: int, mark: int, out: int, room: int) -> int:
    """Look for marks of tables of symbols and types; returns how many were found, ``room`` at most.

    A table of symbols has the ten digits as tokens, one after the other; one of types begins with the 32-bit word
    ``mark``, at a multiple of 4 bytes. ``data``: address of ``size`` bytes, a multiple of 8. ``out``: address of a
    word, set to the bytes that were looked at, and of the offsets of 8-byte words that are part of either.
    """
    found = 0
    at = 0
    while at < size and found < room:
        word = load64(data, at)
        if (
            word & 0xFFF8FFF8FFF8FFF8 == 0x0030003000300030
            or word & 0xF8FFF8FFF8FFF8FF == 0x3000300030003000
            or word >> 32 == mark
            or word & 0xFFFFFFFF == mark
        ) and (is_digits(word) or word >> 32 == mark or word & 0xFFFFFFFF == mark):
            store64(out, 8 + found * 8, at)
            found += 1
        at += 8
    store64(out, 0, at)
    return found
