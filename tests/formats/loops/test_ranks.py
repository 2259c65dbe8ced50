"""The ranks of pages in a bitmap equal those counted one by one, on every backend."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.codecs.codec_kit import BACKENDS, on
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.loops.ranks import count_up, rank_runs

if TYPE_CHECKING:
    import random

_BITS = 256


@BACKENDS
@settings(deadline=None, max_examples=80)
@given(
    st.binary(min_size=_BITS // 8, max_size=_BITS // 8), st.integers(0, 1 << 40), st.integers(1, 20), st.randoms(),
    st.sampled_from([(), (_BITS + 3,), (_BITS - 1,)]),
)  # fmt: skip
def test_runs_have_consecutive_ranks(
    backend: str, bitmap: bytes, base: int, room: int, dice: random.Random, other: tuple[int, ...]
) -> None:
    """Each run is as long as possible; pages behind the block or not in it, and runs without room, are left."""
    data = bytearray(bitmap)
    data[9] |= 1
    data[-1] &= 0x7F
    every = [bit for bit in range(_BITS) if data[bit >> 3] >> (bit & 7) & 1]
    chosen = sorted(dice.sample(every, dice.randint(1, len(every))))
    words = array("Q", [base + bit for bit in chosen] + [base + bit for bit in other])
    out = array("Q", [7] * (2 * room + 2))
    found = on(backend, rank_runs)(
        address_of(data), base, _BITS, address_of(memoryview(words)), 0, len(words), address_of(memoryview(out)), room
    )
    ranks = [every.index(bit) for bit in chosen]
    starts = [i for i, rank in enumerate(ranks) if i == 0 or rank != ranks[i - 1] + 1]
    assert found == min(len(starts), room)
    assert [(out[2 * i], out[2 * i + 1]) for i in range(found)] == [(i, ranks[i]) for i in starts[:room]]
    assert out[2 * found] == (starts[room] if len(starts) > room else len(chosen))


@BACKENDS
@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1 << 60), st.integers(0, 20))
def test_counting_up(backend: str, first: int, count: int) -> None:
    out = array("Q", [7] * 21)
    on(backend, count_up)(first, count, address_of(memoryview(out)))
    assert list(out) == [*range(first, first + count), *[7] * (21 - count)]
