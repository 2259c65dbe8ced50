"""The readers' loops equal their slow twins on every backend."""

from __future__ import annotations

import struct
import sys
from array import array
from ctypes import addressof, c_uint64
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.codecs.codec_kit import BACKENDS, on
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.loops import descriptors as loops
from vmsieve.formats.loops.describe import UNREADABLE


def bit(bitmap: bytes | bytearray, number: int) -> int:
    return bitmap[number // 8] >> number % 8 & 1


@BACKENDS
@settings(deadline=None, max_examples=60)
@given(st.binary(min_size=96, max_size=96), st.integers(1, 3), st.integers(0, 2**40))
def test_ranks_are_the_bits_counted_one_by_one(backend: str, bitmap: bytes, words: int, before: int) -> None:
    """The rank of each block, and of the one after the last; blocks with any bit; blocks that are empty."""
    blocks = 12 // words
    out = array("Q", bytes(8 * blocks))
    data, filled = bytearray(bitmap[:64] + bytes(32)), bytearray(blocks)
    places = address_of(memoryview(out)), address_of(filled)
    rank = on(backend, loops.rank_blocks)
    found = rank(address_of(data), blocks, words, before, *places)
    expected = [before + sum(bit(data, i) for i in range(64 * words * n)) for n in range(blocks + 1)]
    assert [*out, found] == expected
    assert [bool(one) for one in filled] == [a < b for a, b in zip(expected, expected[1:])]
    assert rank(address_of(data), blocks, words, before, 0, places[1]) == found
    assert rank(0, blocks, 0, before, *places) == before
    assert list(out) == [before] * blocks


@BACKENDS
@settings(deadline=None, max_examples=120)
@given(
    st.lists(st.sampled_from([bytes(8), b"\xff" * 8, b"\x01" + bytes(7), bytes(7) + b"\x80", b"\xa5" * 8]), min_size=3),
    st.integers(0, 400),
    st.integers(0, 400),
    st.integers(0, 1),
)
def test_the_first_bit_is_found(backend: str, parts: list[bytes], first: int, end: int, value: int) -> None:
    """Across skipped words, from and to any bit."""
    data = bytearray(b"".join(parts))
    end = min(end, len(data) * 8)
    found = on(backend, loops.find_bit)(address_of(data), first, end, value)
    assert found == next((i for i in range(first, end) if bit(data, i) == value), end)


class Plan(NamedTuple):
    """The result of plan_pages."""

    pages: int
    why: int
    packed: int
    used: int
    shared: tuple[int, int]
    content: list[bytes]


SIZE = 64
FILE = bytes(range(1, 201)) * 3


def slow_plan(stored: list[bool], descriptors: list[tuple[int, int, int]], shared: tuple[int, int]) -> Plan:
    """Pages that can be read together, and the packed bytes of each."""
    content: list[bytes] = []
    left = iter(descriptors)
    packed = used = following = 0
    for here in stored:
        if not here:
            content.append(bytes(SIZE))
            continue
        offset, size, flags = next(left)
        why = (
            loops.MISSING if offset == 0
            else loops.TOO_LONG if size > SIZE
            else loops.EMPTY if size == 0 or (not flags and size != SIZE)
            else loops.BEYOND if offset + size > len(FILE)
            else loops.CHANGED if flags and packed and flags != packed
            else loops.DONE
        )  # fmt: skip
        if why:
            return Plan(len(content), why, packed, used, shared, content)
        if not shared[1] and offset < following:
            shared = offset, size
        if (offset, size) != shared:
            following = offset + size
        content.append(FILE[offset : offset + size])
        packed = flags or packed
        used += 1
    return Plan(len(content), loops.DONE, packed, used, shared, content)


DESCRIPTOR = st.one_of(
    st.tuples(st.integers(1, 500), st.just(SIZE), st.just(0)),
    st.tuples(st.integers(1, 500), st.integers(1, SIZE), st.sampled_from([1, 1, 1, 2])),
    st.tuples(st.just(40), st.just(SIZE), st.just(0)),
    st.tuples(st.sampled_from([0, 599, 600, 2**64 - 1]), st.integers(0, SIZE + 1), st.sampled_from([0, 1])),
)


@BACKENDS
@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.booleans(), min_size=1, max_size=30),
    st.lists(DESCRIPTOR, min_size=30, max_size=30),
    st.booleans(),
    st.booleans(),
    st.integers(0, 9),
    st.sampled_from([(0, 0), (40, SIZE)]),
)
def test_a_plan_brings_every_page_its_bytes(
    backend: str, stored: list[bool], descriptors: list[tuple[int, int, int]], contiguous: bool, swap: bool, first: int,
    shared: tuple[int, int],
) -> None:  # fmt: skip
    """Reading the extents puts each page's bytes where the table says; errors stop at the same page."""
    if contiguous:
        at, row = 100, []
        for _, size, flags in descriptors:
            row.append((at, size, flags))
            at += size
        descriptors = [d if d[0] != 40 else (40, SIZE, 0) for d in row]
    order = ">" if (sys.byteorder == "little") == swap else "<"
    raw = bytearray(b"".join(struct.pack(order + "QIIQ", *d, 0) for d in descriptors))
    bitmap = bytearray(8)
    for i, here in enumerate(stored):
        bitmap[(first + i) // 8] |= here << (first + i) % 8
    table, extents = bytearray(16 * len(stored)), (c_uint64 * (2 * len(stored)))()
    result = (c_uint64 * loops.PLAN_WORDS)(*shared)
    pages = on(backend, loops.plan_pages)(
        address_of(bitmap), first, len(stored), address_of(raw), int(swap), SIZE, len(FILE), address_of(table),
        addressof(extents), addressof(result),
    )  # fmt: skip
    place, size, why, found, packed, used = result
    buffer = bytearray(SIZE) + FILE[place : place + size].ljust(SIZE, b"\0")
    for i in range(found):
        buffer += FILE[extents[2 * i] : extents[2 * i] + extents[2 * i + 1]]
    assert len(buffer) <= SIZE * (2 + pages)
    content = []
    for i in range(pages):
        at, length, kind = struct.unpack_from("=QII", table, i * 16)
        assert at + length <= len(buffer)
        assert kind <= 1
        content.append(bytes(buffer[at : at + length]))
    assert Plan(pages, why, packed, used, (place, size), content) == slow_plan(stored, descriptors, shared)


def test_neighbours_are_read_at_once() -> None:
    """A run of data is one extent, including data after a zero page in it."""
    row = [(100, 30, 1), (130, 30, 1), (40, SIZE, 0), (160, 30, 1), (40, SIZE, 0), (40, SIZE, 0), (190, 5, 1)]
    raw = bytearray(b"".join(struct.pack("=QIIQ", *d, 0) for d in row))
    table, extents = bytearray(16 * 7), (c_uint64 * 14)()
    result = (c_uint64 * loops.PLAN_WORDS)()
    bitmap = bytearray(b"\x7f" + bytes(7))
    pages = loops.plan_pages(
        address_of(bitmap), 0, 7, address_of(raw), 0, SIZE, len(FILE), address_of(table), addressof(extents),
        addressof(result),
    )  # fmt: skip
    assert (pages, result[3], extents[0], extents[1]) == (7, 1, 100, 95)
    assert (result[0], result[1]) == (40, SIZE)


@BACKENDS
@settings(deadline=None, max_examples=100)
@given(st.lists(DESCRIPTOR, min_size=1, max_size=30), st.booleans(), st.sampled_from([0, 40, 500]))
def test_packed_pages_are_taken_as_they_are(
    backend: str, descriptors: list[tuple[int, int, int]], swap: bool, zero: int
) -> None:
    """Sizes and flags of each page, and their bytes in order; unreadable pages are flagged."""
    order = ">" if (sys.byteorder == "little") == swap else "<"
    raw = bytearray(b"".join(struct.pack(order + "QIIQ", *d, 0) for d in descriptors))
    count = len(descriptors)
    sizes, flags, extents = array("I", bytes(4 * count)), array("I", bytes(4 * count)), array("Q", bytes(16 * count))
    found = on(backend, loops.take_pages)(
        count, address_of(raw), int(swap), SIZE, len(FILE), zero,
        *(address_of(memoryview(row).cast("B")) for row in (sizes, flags, extents)),
    )  # fmt: skip
    expected, content = [], b""
    for offset, size, flag in descriptors:
        good = offset > 0 and 0 < size <= SIZE and (flag or size == SIZE) and offset + size <= len(FILE)
        if not good:
            expected.append((0, UNREADABLE))
        elif zero and offset == zero:
            expected.append((0, 0))
        else:
            expected.append((size, flag))
            content += FILE[offset : offset + size]
    assert list(zip(sizes, flags)) == expected
    assert b"".join(FILE[extents[2 * i] : sum(extents[2 * i : 2 * i + 2])] for i in range(found)) == content


@BACKENDS
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 4096, 2**40, 2**63]) | st.integers(0, 2**50), st.integers(0, 2**32 - 1))),
    st.integers(0, 2**41),
    st.booleans(),
)
def test_pages_without_data_are_counted(backend: str, rows: list[tuple[int, int]], size: int, swap: bool) -> None:
    """The highest end of data in any order, pages without data, and pages whose data the file does not have."""
    order = "<>"[(sys.byteorder == "little") == swap]
    table = bytearray(b"".join(struct.pack(order + "QIIQ", offset, length, 0, 0) for offset, length in rows) or b"\0")
    tally = (c_uint64 * 2)(7, 1)
    missing = on(backend, loops.check_pages)(len(rows), address_of(table), int(swap), size, addressof(tally))
    stored = [offset + length for offset, length in rows if 0 < offset < 2**63]
    assert missing == sum(offset == 0 for offset, _ in rows)
    assert list(tally) == [max([7, *stored]), 1 + sum(end > size for end in stored)]
