"""The classification loop on every backend, compared with a slow twin, on arbitrary struct pages."""

from __future__ import annotations

import random
from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.build.layouts import LAYOUTS, STRUCT_PAGE
from tests.filters.classify_kit import BACKENDS, at_level, classifier, classify, random_pages
from tests.filters.classify_twin import dropped, everything
from vmsieve.filters.loops.parameters import RULES_AT
from vmsieve.filters.rules import RULE_STRIDE
from vmsieve.formats.compiler import Loop, bind

if TYPE_CHECKING:
    from tests.build.layouts import Layout

#: Page frames that a run may begin with: 0, and one whose addresses are above 2**63.
FIRST = (0, 0x10000, 1 << 51)
names = st.sampled_from(sorted(LAYOUTS))
seeds = st.integers(0, 1 << 32)


def pages_of(first: int, data: bytes) -> dict[int, bytes]:
    rows = range(0, len(data), STRUCT_PAGE)
    return {first + i: data[at : at + STRUCT_PAGE] for i, at in enumerate(rows)}


def cuts(seed: int, count: int) -> list[int]:
    dice = random.Random(seed)
    return [dice.randrange(count) for _ in range(dice.choice([0, 1, 5, count]))]


@pytest.mark.fuzz
@pytest.mark.parametrize("backend", BACKENDS)
@settings(deadline=None, max_examples=60)
@given(name=names, seed=seeds, first=st.sampled_from(FIRST), order=st.sampled_from(["little", "big"]))
def test_thorough_classes_equal_the_twins(backend: str, name: str, seed: int, first: int, order: str) -> None:
    """All rules at once, in pieces cut anywhere, in either byte order."""
    if backend == "jit":
        pytest.importorskip("numba")
    layout, count = LAYOUTS[name], 96
    data = random_pages(layout, seed, count, order)
    judge = classifier(layout, 31, thorough=True, byte_order=order)
    found = classify(judge, first, data, backend, cuts(seed, count))
    assert found == everything(layout, pages_of(first, data), order)


def neighbours(layout: Layout, seed: int, order: str) -> bytes:
    """Runs of struct pages equal to the first of each run except for one bit or one value."""
    dice = random.Random(seed)
    first = random_pages(layout, seed, 12, order)
    out = bytearray()
    for at in range(0, len(first), STRUCT_PAGE):
        plain = bytearray(first[at : at + STRUCT_PAGE])
        if dice.random() < 0.8:
            plain[layout.head : layout.head + 8] = bytes(8)
        for _ in range(dice.choice([1, 4, 24])):
            page = bytearray(plain)
            field = dice.choice([layout.flags, layout.mapping, layout.private, layout.kind, layout.refcount])
            bit = dice.randrange(32 if field in (layout.kind, layout.refcount) else 64)
            page[field + bit // 8] ^= dice.choice([0, 1 << bit % 8])
            if dice.random() < 0.1:
                number = dice.choice([0, 1, 9, 10, 11, 31, 63, 64, 1 << 63]).to_bytes(8, "little")
                page[layout.private : layout.private + 8] = number if order == "little" else number[::-1]
            out += page
    return bytes(out)


@pytest.mark.fuzz
@pytest.mark.parametrize("thorough", [False, True])
@settings(deadline=None, max_examples=60)
@given(name=names, seed=seeds, order=st.sampled_from(["little", "big"]))
def test_neighbours_classified_together_equal_the_twin(thorough: bool, name: str, seed: int, order: str) -> None:
    """Page by page: neighbours differ in fields that no rule reads, and sometimes in one that a rule reads."""
    layout = LAYOUTS[name]
    data = neighbours(layout, seed, order)
    found = classify(classifier(layout, 31, thorough=thorough, byte_order=order), 0, data)
    truth = everything(layout, pages_of(0, data), order)
    if thorough:
        assert found == truth
    else:
        assert {pfn for pfn, classes in found.items() if classes} == set(dropped(truth, 31))


def _levels(layout: Layout, data: bytes, first: int, level: int, seed: int) -> set[int]:
    """Page frames that a scan for one level drops."""
    judge = classifier(layout, level)
    found = classify(judge, first, data, "aot", cuts(seed, len(data) // STRUCT_PAGE))
    return {pfn for pfn, classes in found.items() if at_level(classes, level)}


@pytest.mark.fuzz
@settings(deadline=None, max_examples=150)
@given(name=names, seed=seeds, level=st.integers(0, 31))
@example(name="4.4", seed=165539, level=16)  # a block ends at a tail that is of the block's head, with others before it
def test_a_scan_for_one_level_drops_what_the_twin_drops(name: str, seed: int, level: int) -> None:
    """Skipping the inside of free blocks, which only a single-level scan does, changes nothing."""
    layout = LAYOUTS[name]
    data = random_pages(layout, seed, 512)
    truth = everything(layout, pages_of(0, data))
    assert _levels(layout, data, 0, level, seed) == set(dropped(truth, level))


def test_a_free_block_that_heads_a_larger_compound_page() -> None:
    """A free block of 8 pages whose head is also that of a user page of 64.

    Tails are not free: they are dropped as the user page's, at levels with 8, and the block ends at its head.
    """
    layout = LAYOUTS["6.12"]
    data = bytearray()
    for pfn in range(64):
        page = bytearray(STRUCT_PAGE)
        page[layout.kind : layout.kind + 4] = b"\xff\xff\xff\xff"
        page[layout.head] = pfn > 0
        data += page
    data[layout.kind : layout.kind + 4] = layout.types["buddy"].to_bytes(4, "little")
    data[layout.private] = 3
    data[layout.mapping] = 1
    data[layout.flags] = layout.mask("head")
    data[STRUCT_PAGE + layout.flags] = 6
    for level, expected in ((16, 1), (8, 64), (24, 64), (31, 64)):
        assert _levels(layout, bytes(data), 0, level, 0) == set(range(expected)), level
    data[4 * STRUCT_PAGE + layout.head] = 0  # within the block: the user page ends here
    for level, expected in ((16, 1), (8, 4), (24, 4), (31, 4)):
        assert _levels(layout, bytes(data), 0, level, 0) == set(range(expected)), level


def test_rules_of_blocks_precede_those_of_single_pages() -> None:
    """Of the rules that match a page, only the first can begin a block."""
    layout = LAYOUTS["7.2"]
    judge = classifier(layout, 31)
    flags, kinds = [0, *(layout.mask(name) for name in layout.bits)], layout.types.values()
    blocks = []
    for i, rule in enumerate(judge.rules):
        assert rule.matches is not None
        matches, words = bind(Loop(rule.matches), "python"), judge.parameters.address + RULES_AT + i * RULE_STRIDE
        found = [matches(words, 0, flag, 0, kind, order, 0, 0) for flag, kind, order in product(flags, kinds, (0, 3))]
        blocks.append(max(found) > 1)
    assert any(blocks)
    assert blocks == sorted(blocks, reverse=True)


@pytest.mark.parametrize("kind", ["buddy", "unaccepted"])
def test_a_block_after_one_that_is_out_of_place(kind: str) -> None:
    """Two neighbours with the same fields, of which only the second is aligned to begin a block."""
    layout = LAYOUTS["7.2"]
    page = bytearray(STRUCT_PAGE)
    page[layout.kind : layout.kind + 4] = layout.types[kind].to_bytes(4, "little")
    page[layout.private] = 1
    plain = bytearray(STRUCT_PAGE)
    plain[layout.kind : layout.kind + 4] = b"\xff\xff\xff\xff"
    data = bytes(page * 2 + plain * 2)
    found = classify(classifier(layout, 31), 1023, data)
    size = 2 if kind == "buddy" else 3
    assert [bool(found[1023 + i]) for i in range(4)] == [False] + [True] * size + [False] * (3 - size)


def test_blocks_across_calls_and_far_apart() -> None:
    """A free block and a compound page larger than a call, which end in a later call."""
    layout = LAYOUTS["6.12"]
    count = 3 << 12
    plain = bytearray(STRUCT_PAGE)
    plain[layout.kind : layout.kind + 4] = b"\xff\xff\xff\xff"
    data = bytearray(plain * count)
    data[layout.kind : layout.kind + 4] = layout.types["buddy"].to_bytes(4, "little")
    data[layout.private] = 13
    head = 9216
    for pfn in range(head + 1, count):
        data[pfn * STRUCT_PAGE + layout.head] = 1
    data[head * STRUCT_PAGE + layout.mapping] = 1
    data[head * STRUCT_PAGE] = layout.mask("head")
    data[(head + 1) * STRUCT_PAGE] = 10
    for first in (0, 1 << 45):
        judge = classifier(layout, 31, told={**layout.keys(), "LENGTH(zone.free_area)": "14"})
        found = classify(judge, first, bytes(data), cuts=range(0, count, 4096))
        expected = {first + i: {"free"} for i in range(8192)} | {first + head + i: {"user"} for i in range(1024)}
        assert {pfn: names for pfn, names in found.items() if names} == expected
