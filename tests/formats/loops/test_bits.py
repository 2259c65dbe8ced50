"""Loops over bitmaps, pages and classes, each compared with a slow twin."""

from __future__ import annotations

import random
import struct
from array import array
from functools import cache
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmsieve.filters.loops.classify import apply_classes, count_missing, count_pages
from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, Bitmap, address_of
from vmsieve.formats.compiler import bind
from vmsieve.formats.loops.bits import (
    GATHER_WORDS,
    ZERO_PAGE,
    and_bits,
    bridge_gaps,
    count_bits,
    count_words,
    gather_pages,
    join_bits,
    spread_bits,
)  # fmt: skip
from vmsieve.formats.loops.compare import compare_pages, zero_pages

BACKENDS = ("python", "aot")
PAGE = 512
bitmaps = st.one_of(
    st.binary(max_size=64),
    st.lists(st.sampled_from([b"\0", b"\xff", b"\x80", b"\x01", b"\0" * 9, b"\xff" * 9]), max_size=20).map(b"".join),
)
for_each_backend = pytest.mark.parametrize("backend", BACKENDS)


@cache
def bound(loop: Any, backend: str) -> Callable[..., int]:
    return bind(loop, backend)


def call(loop: Any, backend: str, *arguments: int | bytes | bytearray | array[int]) -> int:
    """The loop's result; memory is passed as the address of a buffer that lives as long as the call."""
    held = [a if isinstance(a, (int, bytearray)) else bytearray(a) for a in arguments]
    function = bound(loop, backend)
    return function(*(a if isinstance(a, int) else address_of(a) if a else 8 for a in held))


def bits(data: bytes | bytearray) -> list[int]:
    return [i * 8 + j for i, byte in enumerate(data) for j in range(8) if byte >> j & 1]


def words(code: str, data: bytearray) -> list[int]:
    return array(code, bytes(data)).tolist()


@for_each_backend
@settings(deadline=None, max_examples=50)
@given(data=bitmaps)
def test_count_bits(backend: str, data: bytes) -> None:
    assert call(count_bits, backend, data, len(data)) == len(bits(data))


@for_each_backend
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1 << 32), size=st.integers(0, 12))
def test_and_bits(backend: str, seed: int, size: int) -> None:
    """Bits set in both, in words above 2**63 too."""
    dice = random.Random(seed)
    one, other, out = dice.randbytes(size * 8), dice.randbytes(size * 8), bytearray(size * 8)
    assert call(and_bits, backend, one, other, size * 8, out) == 0
    assert out == bytes(a & b for a, b in zip(one, other))


@for_each_backend
@settings(deadline=None, max_examples=50)
@given(kept=bitmaps, seed=st.integers(0, 1 << 32), share=st.sampled_from([0, 10, 90, 100]), gap=st.integers(0, 40))
def test_bridge_gaps(backend: str, kept: bytes, seed: int, share: int, gap: int) -> None:
    """Short gaps between two bits are filled unless unreadable; nothing else changes."""
    dice = random.Random(seed)
    readable = bytearray(sum((dice.randrange(100) < share) << j for j in range(8)) for _ in kept)
    was, can = bits(kept), set(bits(readable))
    wanted = set(was)
    for low, high in zip(was, was[1:]):
        row = set(range(low + 1, high))
        if len(row) < gap and row <= can:
            wanted |= row
    out = bytearray(kept)
    assert call(bridge_gaps, backend, out, readable, len(kept) * 8, gap) == len(wanted) - len(was)
    assert bits(out) == sorted(wanted)


@for_each_backend
@settings(deadline=None, max_examples=50)
@given(data=bitmaps, shift=st.integers(0, 8))
def test_spread_and_join_bits(backend: str, data: bytes, shift: int) -> None:
    """Each bit becomes a run of bits; of a run, one set bit is enough."""
    ratio, count = 1 << shift, len(data) * 8
    out = bytearray(len(data) * ratio)
    assert call(spread_bits, backend, data, count, ratio, out) == len(bits(data)) * ratio
    assert bits(out) == [bit * ratio + i for bit in bits(data) for i in range(ratio)]
    rows = count // ratio
    joined = bytearray(-(-rows // 8))
    wanted = sorted({bit // ratio for bit in bits(data) if bit // ratio < rows})
    assert call(join_bits, backend, data, rows, ratio, joined) == len(wanted)
    assert bits(joined) == wanted


@for_each_backend
@given(numbers=st.lists(st.sampled_from([0, 1, 7, 0xFFFFFFFF, 0x80000000]), max_size=40))
@settings(deadline=None, max_examples=30)
def test_count_words(backend: str, numbers: list[int]) -> None:
    data = bytearray(struct.pack(f"={len(numbers)}I", *numbers))
    for value in (0, 7, 0x80000000, 0xFFFFFFFF, 1 << 40):
        assert call(count_words, backend, data, len(numbers), value) == numbers.count(value)


def gather_twin(
    kept: set[int], stored: set[int], first: int, end: int, pages: int, room: int, bridge: int, most: int,
    zeros: set[int],
) -> tuple[list[list[int]], list[int]]:  # fmt: skip
    """The spans, each as the kept pages in it; and all pages chosen, with those known to be zeros."""
    spans: list[list[int]] = []
    chosen: list[int] = []
    for bit in sorted(b for b in kept if first <= b < end)[:pages]:
        if bit in zeros:
            chosen.append(bit)
            continue
        used = sum(span[-1] - span[0] + 1 for span in spans)
        gap = range(spans[-1][-1] + 1, bit) if spans else range(0)
        if spans and len(gap) <= bridge and stored >= set(gap) and used + len(gap) + 1 <= room:
            spans[-1].append(bit)
        elif len(spans) < most and used < room:
            spans.append([bit])
        else:
            break
        chosen.append(bit)
    return spans, chosen


@pytest.mark.fuzz
@for_each_backend
@settings(deadline=None, max_examples=150)
@given(
    kept=bitmaps, stored=bitmaps, all_stored=st.booleans(), first=st.integers(0, 100), cut=st.integers(0, 20),
    pages=st.integers(1, 40), room=st.integers(1, 60), bridge=st.integers(0, 20), most=st.integers(1, 9),
    zeros=bitmaps | st.none(),
)  # fmt: skip
def test_gather_pages(
    backend: str, kept: bytes, stored: bytes, all_stored: bool, first: int, cut: int, pages: int, room: int,
    bridge: int, most: int, zeros: bytes | None,
) -> None:  # fmt: skip
    """Kept pages in order, joined across stored ones, within every limit; and the next page to look at.

    Pages that are known to be zeros are in no span, and take no room.
    """
    size = len(kept)
    zeros = zeros and zeros[:size].ljust(size, b"\0")
    stored = b"\xff" * size if all_stored else bytes(a | b for a, b in zip(kept, stored.ljust(size, b"\0")))
    end = max(size * 8 - cut, 0)
    base = (1 << 63) + 8
    spans, index, pfns, result = (bytearray(b"\xaa" * n) for n in (16 * most, 4 * pages, 8 * pages, 8 * GATHER_WORDS))
    found = call(gather_pages, backend, kept, stored, first, end, pages, room, bridge, spans, most, index,
        pfns, base, result, zeros or 0,
    )  # fmt: skip
    zero = set(bits(zeros or b""))
    expected, chosen = gather_twin(set(bits(kept)), set(bits(stored)), first, end, pages, room, bridge, most, zero)
    used = sum(span[-1] - span[0] + 1 for span in expected)
    go_on, count, number, pages_used = words("Q", result)
    assert (found, count, number, pages_used) == (len(chosen), len(chosen), len(expected), used)
    assert used <= room
    assert words("Q", spans)[: 2 * number] == [n for span in expected for n in (span[0], span[-1] - span[0] + 1)]
    assert words("Q", pfns)[:count] == [base + bit for bit in chosen]
    starts, places = 0, dict.fromkeys(chosen, ZERO_PAGE)
    for span in expected:
        places.update({bit: starts + bit - span[0] for bit in span})
        starts += span[-1] - span[0] + 1
    assert words("I", index)[:count] == list(places.values())
    # No page between the last chosen one and the continuation is kept.
    later = [bit for bit in bits(kept) if bit < end and bit >= first and bit not in chosen]
    assert all(bit >= go_on for bit in later)
    assert not chosen or chosen[-1] < go_on


def pages_of(seed: int, count: int) -> list[bytes]:
    """Pages of zeros, of noise, and of zeros with a single bit set somewhere."""
    dice = random.Random(seed)
    found = []
    for _ in range(count):
        page = bytearray(PAGE * 2)
        kind = dice.choice(["zero", "zero", "bit", "bit", "noise"])
        if kind == "bit":
            page[dice.choice([0, 7, 511, 512, 1023, dice.randrange(1024)])] = 1 << dice.randrange(8)
        elif kind == "noise":
            page[:] = dice.randbytes(len(page))
        found.append(bytes(page))
    return found


@pytest.mark.fuzz
@for_each_backend
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1 << 32), count=st.integers(0, 8))
def test_zero_pages(backend: str, seed: int, count: int) -> None:
    """Pages anywhere in a buffer, one of them twice."""
    pages = pages_of(seed, 9)
    index = [random.Random(seed).choice([*range(9), ZERO_PAGE]) for _ in range(count)]
    out = bytearray(b"\xaa" * (count + 1))
    found = call(zero_pages, backend, b"".join(pages), array("I", index), count, PAGE * 2, out)
    expected = [k == ZERO_PAGE or not any(pages[k]) for k in index]
    assert list(out) == [*map(int, expected), 0xAA]
    assert found == sum(expected)


@pytest.mark.fuzz
@for_each_backend
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1 << 32), count=st.integers(0, 8))
def test_compare_pages(backend: str, seed: int, count: int) -> None:
    """Equal, zeros in the second buffer, or different."""
    dice = random.Random(seed)
    ones = pages_of(seed, 9)
    others = [page if dice.random() < 0.4 else other for page, other in zip(ones, pages_of(seed + 1, 9))]
    index = [dice.randrange(9) for _ in range(count)]
    out = bytearray(b"\xaa" * (count + 1))
    found = call(compare_pages, backend, b"".join(ones), b"".join(others), array("I", index),
        count, PAGE * 2, out,
    )  # fmt: skip
    expected = [0 if ones[k] == others[k] else 2 if any(others[k]) else 1 for k in index]
    assert list(out) == [*expected, 0xAA]
    assert found == sum(map(bool, expected))


@pytest.mark.fuzz
@for_each_backend
@settings(deadline=None, max_examples=40)
@given(
    rows=st.lists(st.tuples(st.integers(0, 255), st.integers(1, 20)), max_size=8), seed=st.integers(0, 1 << 32),
    bit=st.integers(0, 30), drop=st.integers(0, 255),
)  # fmt: skip
def test_apply_classes(backend: str, rows: list[tuple[int, int]], seed: int, bit: int, drop: int) -> None:
    """Bits of other pages stay; pages that were not set are not counted. Long runs of one class are included."""
    classes = b"".join(bytes([which]) * length for which, length in rows)
    count = len(classes)
    dice = random.Random(seed)
    before = bytes(dice.choice([0, 0xFF, 0xFF, dice.randrange(256)]) for _ in range(24))
    kept, histogram = bytearray(before), bytearray(256 * 8)
    cleared = call(apply_classes, backend, classes, count, kept, bit, drop, histogram)
    there = set(bits(before))
    gone = {bit + i for i in range(count) if bit + i in there and classes[i] & drop}
    assert set(bits(kept)) == there - gone
    assert cleared == len(gone)
    seen = [classes[i] for i in range(count) if bit + i in there]
    assert words("Q", histogram) == [seen.count(which) for which in range(256)]


@pytest.mark.fuzz
@for_each_backend
@settings(deadline=None, max_examples=30)
@given(classes=st.binary(min_size=16, max_size=16), seed=st.integers(0, 1 << 32), sized=st.booleans())
def test_count_pages(backend: str, classes: bytes, seed: int, sized: bool) -> None:
    """Four tables: pages with content, zero pages, pages with a known size, and their sum."""
    dice = random.Random(seed)
    base = dice.choice([0, 1 << 18, 1 << 51])
    rows = sorted(dice.sample(range(16), dice.randrange(17)))
    zeros = bytearray(dice.randrange(2) for _ in rows)
    sizes = [dice.choice([0, 1, 4096, 0xFFFFFFFF]) for _ in rows]
    table = bytearray(4 * 256 * 8)
    found = call(count_pages, backend, classes, base, array("Q", [base + row for row in rows]), zeros,
        array("I", sizes) if sized else 0, len(rows), table,
    )  # fmt: skip
    expected = [[0] * 256 for _ in range(4)]
    for row, zero, size in zip(rows, zeros, sizes):
        which = classes[row]
        expected[1 if zero else 0][which] += 1
        if sized and not zero:
            expected[2][which] += 1
            expected[3][which] += size
    assert words("Q", table) == [number for table in expected for number in table]
    assert found == sum(zeros)


@pytest.mark.fuzz
@for_each_backend
@settings(deadline=None, max_examples=30)
@given(size=st.integers(0, 6), seed=st.integers(0, 1 << 32))
def test_count_missing(backend: str, size: int, seed: int) -> None:
    """Pages of one bitmap that another lacks, by class."""
    dice = random.Random(seed)
    there, here, classes = dice.randbytes(size), dice.randbytes(size), dice.randbytes(size * 8)
    histogram = bytearray(256 * 8)
    found = call(count_missing, backend, classes, there, here, size * 8, histogram)
    gone = [classes[bit] for bit in bits(there) if bit not in bits(here)]
    assert words("Q", histogram) == [gone.count(which) for which in range(256)]
    assert found == len(gone)


def test_bitmap_round_trip() -> None:
    """Blocks of all ones, of all zeros, packable or not, read twice."""
    dice = random.Random(1)
    blocks = [bytes(BLOCK_BYTES), b"\xff" * BLOCK_BYTES, b"\xf0" * BLOCK_BYTES, dice.randbytes(BLOCK_BYTES)]
    bitmap = Bitmap()
    for number, block in enumerate(blocks):
        bitmap.put(number, bytearray(block))
    assert list(bitmap) == blocks
    assert [bitmap[number] for number in range(len(bitmap))] == blocks
    assert bitmap.count() == sum(bin(int.from_bytes(block, "little")).count("1") for block in blocks)
    assert (bitmap.block, len(bitmap)) == (BLOCK, 4)


def test_bitmap_block_that_packs_into_its_own_size() -> None:
    """A packed block may be as long as an unpacked one; it is still unpacked."""
    import zlib

    noise = random.Random(2).randbytes(BLOCK_BYTES)
    for size in range(BLOCK_BYTES - 64, BLOCK_BYTES):
        block = noise[:size].ljust(BLOCK_BYTES, b"\0")
        if len(zlib.compress(block, 1)) == BLOCK_BYTES:
            break
    else:
        pytest.skip("this zlib packs no block into exactly its size")
    bitmap = Bitmap()
    bitmap.put(0, bytearray(block))
    assert bitmap[0] == block
