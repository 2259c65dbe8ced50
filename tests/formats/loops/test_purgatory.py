"""The loop that finds tables of regions, compared with a slow twin."""

from __future__ import annotations

import random
import struct
from functools import cache
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.compiler import bind
from vmsieve.formats.loops.purgatory import SLOTS, TABLE_SIZE, find_tables

PAGE = 4096
TOP = (1 << 64) - PAGE
for_each_backend = pytest.mark.parametrize("backend", ["python", "aot"])


@cache
def bound(kernel: Any, backend: str) -> Callable[..., int]:
    return bind(kernel, backend)


def twin(memory: bytes, low: int, high: int, swap: bool) -> list[int]:
    found = []
    for at in range(0, len(memory) - TABLE_SIZE + 1, 8):
        native = struct.unpack_from(f"={SLOTS * 2}Q", memory, at)
        words = [int.from_bytes(w.to_bytes(8, "little"), "big") for w in native] if swap else list(native)
        pairs = list(zip(words[::2], words[1::2]))
        good = [low <= a < high and 0 < n <= high - a and a % PAGE == 0 == n % PAGE for a, n in pairs]
        count = good.index(False) if False in good else SLOTS
        if count >= 2 and not any(words[count * 2 :]):
            found.append(at)
    return found


def run(backend: str, memory: bytes, low: int, high: int, swap: bool, room: int = 64) -> list[int]:
    """Offsets found; nothing is written after the last one."""
    held, out = bytearray(memory) or bytearray(8), bytearray(b"\xaa" * (8 * room + 8))
    count = bound(find_tables, backend)(address_of(held), len(memory), low, high, int(swap), address_of(out), room)
    words = list(struct.unpack(f"={room + 1}Q", out))
    assert set(words[count:]) == {0xAAAAAAAAAAAAAAAA}
    return words[:count]


def some_memory(dice: random.Random, low: int, high: int, swap: bool) -> bytes:
    """Words whose runs look like tables, or almost."""
    words: list[int] = []
    while len(words) < 160:
        for _ in range(dice.choice([0, 1, 2, 3, 16, 17])):
            start = dice.choice([low, low + PAGE, high - PAGE, high, low - PAGE, TOP, dice.getrandbits(64)])
            size = dice.choice([PAGE, PAGE, high - low, high - start, 8, 0, 1 << 63, TOP])
            words += [start % (1 << 64), size % (1 << 64)]
        words += [0] * dice.choice([0, 1, 3, 30, 32, 33])
        words += [dice.getrandbits(64)] * dice.choice([0, 0, 1])
    packed = struct.pack(f"={len(words)}Q", *words)
    if not swap:
        return packed
    return b"".join(packed[i : i + 8][::-1] for i in range(0, len(packed), 8))


@pytest.mark.fuzz
@for_each_backend
@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 1 << 32), swap=st.booleans(),
    bounds=st.sampled_from([(PAGE, 64 * PAGE), (0, 64 * PAGE), (1 << 40, (1 << 40) + 4 * PAGE), (1 << 63, TOP)]),
)  # fmt: skip
def test_find_tables(backend: str, seed: int, swap: bool, bounds: tuple[int, int]) -> None:
    """Every table, in either byte order, with addresses above 2**63, and nothing else."""
    dice = random.Random(seed)
    low, high = bounds
    memory = some_memory(dice, low, high, swap)
    assert run(backend, memory, low, high, swap) == twin(memory, low, high, swap)


@for_each_backend
@pytest.mark.parametrize("size", [0, 8, TABLE_SIZE - 8, TABLE_SIZE, TABLE_SIZE + 4])
def test_short_memory(backend: str, size: int) -> None:
    """A file that ends within a table has no table."""
    table = struct.pack("=4Q", PAGE, PAGE, 2 * PAGE, PAGE).ljust(size, b"\0")[:size]
    assert run(backend, table, PAGE, 8 * PAGE, False) == ([0] if size >= TABLE_SIZE else [])


@for_each_backend
def test_no_more_than_there_is_room_for(backend: str) -> None:
    """The first ones are returned."""
    table = struct.pack("=4Q", PAGE, PAGE, 2 * PAGE, PAGE).ljust(TABLE_SIZE, b"\0")
    assert run(backend, table * 9, PAGE, 8 * PAGE, False, room=5) == [i * TABLE_SIZE for i in range(5)]
