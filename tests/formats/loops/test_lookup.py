"""Searches for names and types, compared with slow twins."""

from __future__ import annotations

import ctypes
import random
import struct
import sys
from functools import cache
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.types import TypeTable
from vmsieve.filters.linux.kallsyms_search import DIGITS
from vmsieve.filters.linux.key_set import KeySet, hash_name
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.compiler import bind
from vmsieve.formats.loops.lookup import BASE, TOKEN_WORDS, match_marks, match_names, match_strings, match_types

for_each_backend = pytest.mark.parametrize("backend", ["python", "aot"])


@cache
def bound(kernel: Any, backend: str) -> Callable[..., int]:
    return bind(kernel, backend)


def token_words(tokens: list[bytes]) -> ctypes.Array[ctypes.c_uint64]:
    words = (ctypes.c_uint64 * (256 * TOKEN_WORDS))()
    for i, token in enumerate(tokens):
        for j, text in enumerate((token, token[1:])):
            words[i * TOKEN_WORDS + 2 * j] = hash_name(text)
            words[i * TOKEN_WORDS + 2 * j + 1] = pow(BASE, len(text), 1 << 64)
    return words


@for_each_backend
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1 << 32), room=st.integers(1, 9))
def test_names(backend: str, seed: int, room: int) -> None:
    """Only wanted names are found, if they are whole and the table has space."""
    dice = random.Random(seed)
    # Without NUL, which ends a token's text: the hash ignores leading NULs.
    tokens = [bytes(dice.choices(range(1, 256), k=dice.randrange(1, 5))) for _ in range(256)]
    packed = [dice.randbytes(dice.choice([0, 1, 2, 3, 5, 127, 128, 300])) for _ in range(dice.randrange(60))]
    texts = [b"".join(tokens[i] for i in name)[1:] for name in packed]
    data, starts = bytearray(), []
    for name in packed:
        starts.append(len(data))
        data += bytes([len(name)] if len(name) < 128 else [len(name) & 127 | 128, len(name) >> 7]) + name
    # A name of one character is empty here; its hash is 0, which no name has.
    wanted = [text for text in texts if text and dice.random() < 0.3]
    size = dice.choice([len(data), dice.randrange(len(data) + 1)])
    first, end = dice.randrange(1 << 40), dice.randrange(len(packed) + 3)
    out = (ctypes.c_uint64 * (2 + 2 * room))()
    buffer = bytearray(data[:size] + bytes(1))
    words = token_words(tokens)
    table = KeySet(hash_name(text) for text in wanted)
    found = bound(match_names, backend)(
        address_of(buffer),
        size,
        first,
        first + end,
        ctypes.addressof(words),
        table.address,
        ctypes.addressof(out),
        room,
    )
    expected: list[tuple[int, int]] = []
    number = at = 0
    while number < min(end, len(packed)) and len(expected) < room and at + 2 <= size:
        behind = at + len(packed[number]) + (1 if len(packed[number]) < 128 else 2)
        if behind > size:
            break
        if texts[number] in wanted:
            expected += [(first + number, starts[number])]
        number, at = number + 1, behind
    assert [(out[2 + 2 * i], out[3 + 2 * i]) for i in range(found)] == expected
    assert (out[0], out[1]) == (first + number, at)


@for_each_backend
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1 << 32), room=st.integers(1, 9))
def test_strings(backend: str, seed: int, room: int) -> None:
    """Strings as for names."""
    dice = random.Random(seed)
    strings = [bytes(dice.choices(range(1, 256), k=dice.choice([0, 1, 2, 7, 200]))) for _ in range(dice.randrange(60))]
    wanted = [text for text in strings if text and dice.random() < 0.3]
    data = b"".join(text + b"\0" for text in strings) + b"rest"
    buffer, out = bytearray(data), (ctypes.c_uint64 * (1 + 2 * room))()
    table = KeySet(map(hash_name, wanted))
    found = bound(match_strings, backend)(address_of(buffer), len(data), table.address, ctypes.addressof(out), room)
    expected: list[tuple[int, int]] = []
    at = end = 0
    for text in strings:
        if len(expected) == room:
            break
        if text in wanted:
            expected.append((hash_name(text), at))
        at += len(text) + 1
        end = at
    assert [(out[1 + 2 * i], out[2 + 2 * i]) for i in range(found)] == expected
    assert out[0] == end


@for_each_backend
@pytest.mark.parametrize("order", ["<", ">"])
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1 << 32), room=st.integers(1, 9))
def test_types(backend: str, order: str, seed: int, room: int) -> None:
    """Finds structures, unions, enumerations and names, and the offset of every 256th type."""
    dice = random.Random(seed)
    made = TypeTable(order)
    places: list[tuple[int, int]] = []
    base, first = dice.randrange(1 << 20) * 4, dice.choice([1, 200, 256, 1000])
    for i in range(dice.randrange(400)):
        places.append((dice.choice([1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19]), len(made.records)))
        kind, count = places[-1][0], dice.randrange(4)
        per = {4: 12, 5: 12, 15: 12, 19: 12, 6: 8, 13: 8}.get(kind, 0)
        fixed = {1: 4, 14: 4, 17: 4, 3: 12}.get(kind, 0)
        made.add(f"type_{i % 90}", kind, 8, count, bytes(fixed + per * count))
    wanted = {made.name(f"type_{i}") for i in range(90) if dice.random() < 0.2}
    bad = dice.random() < 0.2
    if bad:
        made.add("bad", 0, 0)
    data = bytearray(made.records)
    size = len(data)
    marks, out = (ctypes.c_uint32 * 8)(), (ctypes.c_uint64 * (3 + 2 * room))()
    table = KeySet(wanted)
    found = bound(match_types, backend)(
        address_of(data) if data else 0, size, base, first, int((order == ">") != (sys.byteorder == "big")),
        table.address, ctypes.addressof(marks), 8, ctypes.addressof(out), room,
    )  # fmt: skip
    expected: list[tuple[int, int]] = []
    done = 0
    for kind, at in places:
        if len(expected) == room:
            break
        name = struct.unpack_from(order + "I", data, at)[0]
        if kind in (4, 5, 6, 8, 12, 13, 14, 15, 17, 18, 19) and name in wanted:
            expected.append((first + done, base + at))
        done += 1
    assert [(out[3 + 2 * i], out[4 + 2 * i]) for i in range(found)] == expected
    assert out[0] == first + done
    assert out[2] == int(bad and done == len(places) and len(expected) < room)
    for number in range(first, first + done):
        if number % 256 == 0:
            assert marks[number // 256] == base + places[number - first][1]


def test_nothing_is_wanted() -> None:
    """An empty set finds nothing, and the empty name is never found."""
    buffer, out = bytearray(b"\0\0a\0"), (ctypes.c_uint64 * 9)()
    table = KeySet([])
    assert match_strings(address_of(buffer), 4, table.address, ctypes.addressof(out), 4) == 0
    with pytest.raises(ValueError, match="too many"):
        KeySet(range(1, 1000))


@for_each_backend
@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 1 << 32), room=st.integers(1, 5))
def test_marks(backend: str, seed: int, room: int) -> None:
    """Words within the digits' tokens, at any offset, or words that hold the mark at a multiple of 4 bytes."""
    dice = random.Random(seed)
    mark = dice.choice([b"\x9f\xeb\x01\0", b"\xeb\x9f\x01\0"])
    data = bytearray(dice.randbytes(8 * dice.randrange(1, 40)))
    for _ in range(dice.randrange(6)):
        piece = dice.choice(
            [DIGITS, mark, DIGITS[2:], DIGITS[:8], DIGITS.replace(b"5", b"6"), b"0\0000\0000\0000\0", b"8\x009\0:\0;\0"]
        )
        at = dice.randrange(len(data))
        data[at : at + len(piece)] = piece[: len(data) - at]
    parts = {DIGITS[i : i + 8] for i in range(8)}
    expected = [
        at for at in range(0, len(data), 8)
        if bytes(data[at : at + 8]) in parts or mark in (data[at : at + 4], data[at + 4 : at + 8])
    ]  # fmt: skip
    out = (ctypes.c_uint64 * (1 + room))()
    found = bound(match_marks, backend)(
        address_of(data), len(data), int.from_bytes(mark, sys.byteorder), ctypes.addressof(out), room
    )
    assert list(out[1 : 1 + found]) == expected[:room]
    assert out[0] == (len(data) if len(expected) < room else expected[room - 1] + 8)
