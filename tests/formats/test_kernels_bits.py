"""Bitmaps and comparisons: the kernels do what their slow twins do, on every backend there is."""

from __future__ import annotations

from array import array
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.codec_kit import BACKENDS, Guarded, on
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.kernels import bits, compare, zero

_U64 = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1 << 63, 2**64 - 1]))
#: Bytes of bitmaps: sparse, dense and anything.
_BYTES = st.lists(st.sampled_from([0, 0, 0, 0xFF, 0xFF, 1, 0x80, 0x5A]), max_size=40).map(bytes)
PAGE = 512


def _address(values: array[int]) -> int:
    return values.buffer_info()[0]


@BACKENDS
@settings(deadline=None, max_examples=60)
@given(bitmap=st.one_of(_BYTES, st.binary(max_size=40)))
def test_bits_are_counted(backend: str, bitmap: bytes) -> None:
    """In bitmaps of any size, and nothing beyond their end is read."""
    memory = Guarded(bitmap)
    assert on(backend, bits.count_bits)(memory.address, len(bitmap)) == sum(b.bit_count() for b in bitmap)


@BACKENDS
@settings(deadline=None, max_examples=40)
@given(
    words=st.lists(st.integers(0, 2**32 - 1) | st.sampled_from([5, 2**32 - 1])), value=st.sampled_from([5, 2**32 - 1])
)
def test_words_of_one_value_are_counted(backend: str, words: list[int], value: int) -> None:
    memory = Guarded(array("I", words).tobytes())
    assert on(backend, bits.count_words)(memory.address, len(words), value) == words.count(value)


@BACKENDS
@settings(deadline=None, max_examples=40)
@given(pairs=st.lists(st.tuples(_U64, _U64), min_size=1, max_size=20))
def test_what_two_bitmaps_have_in_common(backend: str, pairs: list[tuple[int, int]]) -> None:
    one, other = (Guarded(array("Q", values).tobytes()) for values in zip(*pairs))
    out = array("Q", bytes(8 * len(pairs)))
    on(backend, bits.and_bits)(one.address, other.address, 8 * len(pairs), _address(out))
    assert list(out) == [a & b for a, b in pairs]


class Gathered(NamedTuple):
    """What one call chooses: where to go on, spans of bits, and for each kept page its place and its bit."""

    on: int
    spans: list[tuple[int, int]]
    places: list[int]
    chosen: list[int]


class Limits(NamedTuple):
    pages: int
    room: int
    bridge: int
    spans: int


def bit(bitmap: bytes, number: int) -> int:
    return bitmap[number >> 3] >> (number & 7) & 1


def gather_twin(kept: bytes, stored: bytes, first: int, end: int, limits: Limits) -> Gathered:
    """Page by page, each span a list of the bits it reads."""
    spans: list[list[int]] = []
    places: list[int] = []
    chosen: list[int] = []
    for number in range(first, end):
        if len(chosen) == limits.pages:
            return Gathered(number, [(s[0], len(s)) for s in spans], places, chosen)
        if not bit(kept, number):
            continue
        used = sum(map(len, spans))
        gap = range(spans[-1][-1] + 1, number) if spans else range(0)
        near = bool(spans) and len(gap) <= limits.bridge and all(bit(stored, b) for b in gap)
        if near and used + len(gap) + 1 <= limits.room:
            spans[-1] += [*gap, number]
        elif len(spans) < limits.spans and used < limits.room:
            spans.append([number])
        else:
            return Gathered(number, [(s[0], len(s)) for s in spans], places, chosen)
        places.append(sum(map(len, spans)) - 1)
        chosen.append(number)
    return Gathered(end, [(s[0], len(s)) for s in spans], places, chosen)


@BACKENDS
@settings(deadline=None, max_examples=150)
@given(
    kept=_BYTES.filter(bool),
    gaps=_BYTES,
    first=st.integers(0, 40),
    cut=st.integers(0, 7),
    limits=st.builds(Limits, st.integers(1, 30), st.integers(1, 60), st.integers(0, 9), st.integers(1, 8)),
    base=_U64,
)
def test_pages_are_gathered_in_spans(
    backend: str, kept: bytes, gaps: bytes, first: int, cut: int, limits: Limits, base: int
) -> None:
    """Spans, places and numbers, from any bit to any other, with every limit reached in turn."""
    stored = bytes(k | g for k, g in zip(kept, gaps.ljust(len(kept), b"\0")))
    end = len(kept) * 8 - cut
    spans, index = array("Q", bytes(16 * limits.spans)), array("I", bytes(4 * limits.pages))
    pfns, result = array("Q", bytes(8 * limits.pages)), array("Q", bytes(8 * bits.GATHER_WORDS))
    one, other = Guarded(kept), Guarded(stored)
    found = on(backend, bits.gather_pages)(
        one.address, other.address, first, end, limits.pages, limits.room, limits.bridge,
        _address(spans), limits.spans, _address(index), _address(pfns), base, _address(result),
    )  # fmt: skip
    twin = gather_twin(kept, stored, first, end, limits)
    going_on, pages, count, used = result
    assert found == pages == len(twin.chosen)
    assert list(zip(spans[::2], spans[1::2]))[:count] == twin.spans
    assert used == sum(size for _, size in twin.spans)
    assert list(index[:found]) == twin.places
    assert list(pfns[:found]) == [(base + number) % 2**64 for number in twin.chosen]
    # Where to go on may lie anywhere before the next kept page, or behind all of them.
    assert [b for b in range(min(going_on, end), end) if bit(kept, b)] == [
        b for b in range(twin.on, end) if bit(kept, b)
    ]


@BACKENDS
@settings(deadline=None, max_examples=60)
@given(data=st.data(), count=st.integers(1, 6), size=st.sampled_from([PAGE, 2 * PAGE]))
def test_pages_are_compared(backend: str, data: st.DataObject, count: int, size: int) -> None:
    """Equal, different by one bit anywhere, or zero in the second; each at the place its index says."""
    order = data.draw(st.permutations(range(count)))
    one, other, expected = bytearray(count * size), bytearray(count * size), []
    for place in order:
        kind = data.draw(st.sampled_from(["equal", "both zero", "differs", "other zero", "one zero"]))
        content = bytearray(data.draw(st.binary(min_size=1, max_size=8)) * size)[:size]
        content[data.draw(st.integers(0, size - 1))] |= 1 << data.draw(st.integers(0, 7))
        changed = bytearray(content)
        if kind == "differs":
            at = data.draw(st.integers(0, size - 1))
            changed[at] ^= 1 << data.draw(st.integers(0, 7))
        here = slice(place * size, (place + 1) * size)
        one[here] = bytes(size) if kind in ("both zero", "one zero") else content
        other[here] = bytes(size) if kind in ("both zero", "other zero") else changed
        same, empty = one[here] == other[here], not any(other[here])
        expected.append(0 if same else 1 if empty else 2)
    memories, index = (Guarded(bytes(one)), Guarded(bytes(other))), array("I", order)
    out = bytearray(b"\xa5" * count)
    unequal = on(backend, compare.compare_pages)(
        memories[0].address, memories[1].address, _address(index), count, size, address_of(out)
    )
    assert list(out) == expected
    assert unequal == count - expected.count(0)


@BACKENDS
@settings(deadline=None, max_examples=60)
@given(bits_set=st.lists(st.none() | st.integers(0, 8 * PAGE - 1), min_size=1, max_size=6))
def test_zero_pages_are_marked(backend: str, bits_set: list[int | None]) -> None:
    """One bit anywhere makes a page another than zero."""
    memory = bytearray(len(bits_set) * PAGE)
    for number, one in enumerate(bits_set):
        if one is not None:
            memory[number * PAGE + one // 8] |= 1 << one % 8
    guarded, index = Guarded(bytes(memory)), array("I", reversed(range(len(bits_set))))
    out = bytearray(b"\xa5" * len(bits_set))
    found = on(backend, zero.zero_pages)(guarded.address, _address(index), len(bits_set), PAGE, address_of(out))
    assert list(out) == [int(one is None) for one in reversed(bits_set)]
    assert found == bits_set.count(None)
