"""The loops that mark pages by importance equal their slow twins on every backend."""

from __future__ import annotations

import struct
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.layouts import LAYOUTS, STRUCT_PAGE, Layout
from tests.filters.classify_kit import BACKENDS, random_pages
from vmsieve.filters.linux.key_set import KeySet
from vmsieve.filters.linux.page_layout import PageLayout
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.filters.loops.importance import RECLAIMABLE, RESERVED, SLAB, TASKS, mark_pages, mark_targets
from vmsieve.filters.loops.parameters import NOWHERE
from vmsieve.filters.parameters import Parameters
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.compiler import Loop, bind

MARKS = (RESERVED, TASKS, RECLAIMABLE, SLAB)
#: Values that random struct pages have where the cache's address is read: in place of the mapping.
OF_TASKS, CAN_GO = 0xFFFF888000001000, 0xFFFF888000001001


def twin(layout: Layout, known: PageLayout, data: bytes, order: str, *, cached: bool) -> list[int]:
    found, mark = [], 0
    for at in range(0, len(data), STRUCT_PAGE):
        page = data[at : at + STRUCT_PAGE]

        def word(offset: int, code: str = "Q", page: bytes = page) -> int:
            return int(struct.unpack_from(order + code, page, offset)[0])

        if known.offset_tail is None or not word(known.offset_tail) & 1:
            flags, kind = word(layout.flags), word(layout.kind, "I")
            slab = kind & known.slab_mask == known.slab_type if known.slab_mask else flags & known.slab_flag
            of = {OF_TASKS: TASKS, CAN_GO: RECLAIMABLE}.get(word(layout.mapping), SLAB) if cached else SLAB
            mark = of if slab else RESERVED if flags & known.reserved() else 0
        found.append(mark)
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(sorted(LAYOUTS)), seed=st.integers(0, 1 << 32), order=st.sampled_from("<>"),
    cut=st.integers(0, 96), cached=st.booleans(),
)  # fmt: skip
def test_marks_equal_the_twins(backend: str, name: str, seed: int, order: str, cut: int, cached: bool) -> None:
    """In two calls, cut anywhere, also among tails."""
    if backend == "jit":
        pytest.importorskip("numba")
    layout = LAYOUTS[name]
    text = "".join(f"{key}={value}\n" for key, value in layout.keys().items())
    known = PageLayout(VmcoreInfo(text.encode()), STRUCT_PAGE)
    data = bytearray(random_pages(layout, seed, 96, "little" if order == "<" else "big"))
    parameters = Parameters()
    parameters.set_layout(known, swap=(order == "<") != (sys.byteorder == "little"))
    tasks, reclaimable = KeySet([OF_TASKS]), KeySet([CAN_GO])
    out, state = bytearray(4 * 16), memoryview(bytearray(8)).cast("Q")
    assert isinstance(mark_pages, Loop)
    call, marked = bind(mark_pages, backend), 0
    for first, end in ((0, cut), (cut, 96)):
        part = data[first * STRUCT_PAGE : end * STRUCT_PAGE] or bytearray(1)
        marked += call(
            parameters.address, address_of(part), end - first, layout.mapping if cached else NOWHERE, tasks.address,
            reclaimable.address, address_of(state), 5 + first, address_of(out), 16,
        )  # fmt: skip
    expected = twin(layout, known, bytes(data), order, cached=cached)
    for number, mark in enumerate(MARKS):
        bits = int.from_bytes(out[16 * number : 16 * number + 16], "little") >> 5
        assert [bits >> i & 1 for i in range(96)] == [int(one == mark) for one in expected]
    assert marked == sum(map(bool, expected))


@pytest.mark.parametrize("backend", BACKENDS)
@settings(deadline=None, max_examples=40)
@given(
    words=st.lists(st.integers(0, (1 << 64) - 1) | st.integers((1 << 63) - 9000, (1 << 63) + 90_000), max_size=50),
    start=st.integers((1 << 63) - 9000, (1 << 63) + 9000), size=st.integers(0, 70_000), order=st.sampled_from("<>"),
)  # fmt: skip
def test_targets_equal_the_twins(backend: str, words: list[int], start: int, size: int, order: str) -> None:
    if backend == "jit":
        pytest.importorskip("numba")
    data = bytearray(struct.pack(f"{order}{len(words)}Q", *words)) or bytearray(1)
    out, swap = bytearray(8), int((order == "<") != (sys.byteorder == "little"))
    assert isinstance(mark_targets, Loop)
    found = bind(mark_targets, backend)(address_of(data), len(words), swap, start, start + size, 12, address_of(out))
    hits = [word for word in words if start <= word < start + size]
    assert found == len(hits)
    pages = {(word >> 12) - (start >> 12) for word in hits}
    assert int.from_bytes(out, "little") == sum(1 << page for page in pages)
