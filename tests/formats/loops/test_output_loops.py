"""The writers' loops equal their slow twins on every backend."""

from __future__ import annotations

import struct
import sys
from array import array

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.codecs.codec_kit import BACKENDS, on
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.loops.describe import UNREADABLE, cut_segments, describe_pages, page_runs


def _view(values: array[int]) -> memoryview:
    return memoryview(values)


#: Size and flags of a page: packed, stored, zero, unreadable.
_page = st.one_of(
    st.tuples(st.integers(1, 4096), st.sampled_from([0, 1, 2, 4, 0x20])), st.just((0, 0)), st.just((0, UNREADABLE))
)


@BACKENDS
@settings(deadline=None, max_examples=60)
@given(
    pages=st.lists(_page, min_size=1, max_size=40),
    offset=st.integers(0, 2**64 - 1),
    zero=st.integers(0, 2**64 - 1),
    swap=st.booleans(),
)
def test_descriptors_are_the_structures_packed_one_by_one(
    backend: str, pages: list[tuple[int, int]], offset: int, zero: int, swap: bool
) -> None:
    sizes, flags = array("I", [p[0] for p in pages]), array("I", [p[1] for p in pages])
    out, tally = bytearray(24 * len(pages)), array("Q", [9, 9])
    used = on(backend, describe_pages)(
        len(pages), address_of(_view(sizes)), address_of(_view(flags)), offset, zero, 4096, int(swap),
        address_of(out), address_of(_view(tally)),
    )  # fmt: skip
    order = ">" if (sys.byteorder == "little") == swap else "<"
    expected, at = b"", offset
    for size, flag in pages:
        if flag == UNREADABLE:
            expected += bytes(24)
        elif size == 0:
            expected += struct.pack(order + "QIIQ", zero, 4096, 0, 0)
        else:
            expected += struct.pack(order + "QIIQ", at % 2**64, size, flag, 0)
            at += size
    assert bytes(out) == expected
    assert used == sum(p[0] for p in pages)
    assert list(tally) == [pages.count((0, 0)), pages.count((0, UNREADABLE))]


@BACKENDS
@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(st.tuples(st.integers(1, 3), _page), min_size=1, max_size=60),
    first=st.sampled_from([0, 1 << 40, 2**64 - 200]),
)
def test_runs_hold_the_stored_pages_in_order_and_are_as_long_as_can_be(
    backend: str, steps: list[tuple[int, tuple[int, int]]], first: int
) -> None:
    pfns, at = array("Q"), first
    for step, _ in steps:
        at += step
        pfns.append(at)
    sizes, flags = array("I", [s[1][0] for s in steps]), array("I", [s[1][1] for s in steps])
    out, tally = array("Q", [0]) * (3 * len(steps)), array("Q", [9, 9])
    found = on(backend, page_runs)(
        len(steps), *(address_of(_view(a)) for a in (pfns, sizes, flags, out, tally))
    )  # fmt: skip
    runs = [tuple(out[3 * i : 3 * i + 3]) for i in range(found)]
    stored = [pfn for pfn, size in zip(pfns, sizes) if size]
    assert [pfn + i for pfn, count, _ in runs for i in range(count)] == stored
    assert [at + i for _, count, at in runs for i in range(count)] == list(range(len(stored)))
    assert all(one[0] + one[1] != two[0] for one, two in zip(runs, runs[1:]))
    assert list(tally) == [len(stored), list(flags).count(UNREADABLE)]


@BACKENDS
@settings(deadline=None, max_examples=60)
@given(
    runs=st.lists(st.tuples(st.integers(1, 200), st.sampled_from([(0, 0), (1, 0), (1, 1)])), min_size=1, max_size=12),
    gap=st.integers(1, 100),
    room=st.integers(1, 3),
    base=st.sampled_from([0, 64, (1 << 63) + 8]),
    cut=st.integers(0, 2000),
)
def test_segments_come_out_alike_whole_or_in_parts(
    backend: str, runs: list[tuple[int, tuple[int, int]]], gap: int, room: int, base: int, cut: int
) -> None:
    bits = [kind for length, kind in runs for _ in range(length)]
    size = -(-len(bits) // 64) * 64
    bits += [(0, 0)] * (size - len(bits))
    maps = [
        bytearray(sum(bits[8 * i + j][which] << j for j in range(8)) for i in range(size // 8)) for which in range(2)
    ]
    loop = on(backend, cut_segments)
    state, out = array("Q", [0] * 4), array("Q", [0] * (3 * room))
    found: list[tuple[int, ...]] = []
    at = 0
    for end in sorted({min(cut, size), size}):
        while at < end:
            got = loop(
                address_of(maps[0]), address_of(maps[1]), at, end, base, gap, address_of(_view(state)),
                address_of(_view(out)), room,
            )  # fmt: skip
            found += [tuple(out[3 * i : 3 * i + 3]) for i in range(got)]
            assert state[3] > at or got
            at = state[3]
    if state[0] != state[2]:
        found.append(tuple(state[:3]))
    assert found == _naive(bits, base, gap)


def _naive(bits: list[tuple[int, int]], base: int, gap: int) -> list[tuple[int, ...]]:
    found: list[list[int]] = []
    for i, (exists, kept) in enumerate(bits):
        pfn = base + i
        if not exists:
            continue
        if not found or found[-1][2] != pfn or (kept and pfn - found[-1][1] >= gap):
            found.append([pfn, pfn, pfn])
        found[-1][2] = pfn + 1
        if kept:
            found[-1][1] = pfn + 1
    return [tuple(f) for f in found]
