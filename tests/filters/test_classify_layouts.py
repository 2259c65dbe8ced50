"""Page selection on made-up machines with the struct pages of kernels 4.4 to 7.2, compared with a slow twin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS, STRUCT_PAGE, Layout
from tests.build.machine import EVERY_CLASS, EVERYTHING, MIB, Machine
from tests.filters.classify_kit import bitmap, bits, opened, run, struct_pages
from tests.filters.classify_twin import dropped, everything
from vmsieve.filters.classify import Classifier
from vmsieve.filters.histogram import Histogram, dropping, tally
from vmsieve.filters.loops.classify import apply_classes
from vmsieve.formats.bitmap import BLOCK, address_of

if TYPE_CHECKING:
    from pathlib import Path

    from vmsieve.filters.knowledge import Knowledge

MORE = """
0x900-0x97f free order=7
0x980-0x9ff free order=0
0xa00-0xa0f free order=2 private=11
0xa10-0xa1f free order=1 private=6
0xa20-0xa2f user mapping=0xffff888000000001
0xa30-0xa3f swapcache mapping=0x1
0xa40-0xa7f kernel order=6
0xa45-0xa46 hwpoison
0xa80-0xabf thp order=6
0xa91 hwpoison
0x1000-0x11ff hugetlb order=9
0x1200-0x13ff hugetlb order=9
"""
for_each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def machine(layout: Layout) -> Machine:
    built = Machine(layout, EVERY_CLASS + MORE)
    # Not marked as a tail, but inside a compound page by its head's order: the page is not part of it.
    built.set(0x680, head=0)
    # Struct pages of a huge page, all mapped to its first page of struct pages (HVO): every 64th looks like the head.
    if layout.head_key:
        for pfn in range(0x1240, 0x1400):
            built.poke(pfn, 0, built.struct_page(0x1200 + pfn % 64))
    return built


@for_each_layout
def test_every_level_selects_what_the_twin_selects(layout: Layout, tmp_path: Path) -> None:
    """Kept pages and the count of each class equal the twin's at all 32 levels."""
    built = machine(layout)
    truth = everything(layout, struct_pages(built))
    source, knowledge = opened(built, tmp_path)
    assert knowledge.problem is None
    for level in range(32):
        found, expected = run(source, knowledge, level), dropped(truth, level)
        assert list(found.kept) == bitmap(set(built.frames()) - set(expected)), level
        names = list(expected.values())
        assert found.counts == {name: names.count(name) for name in found.counts}, level
        assert (found.notes, found.weaker) == ([], False)
        assert found.max_pfn == 0x10800
    source.close()


def _thorough(knowledge: Knowledge) -> Classifier:
    assert knowledge.memory is not None
    assert knowledge.memmap is not None
    assert knowledge.info is not None
    return Classifier(knowledge.memory, knowledge.memmap, knowledge.info, 31, thorough=True)


@for_each_layout
def test_one_thorough_look_serves_every_level(layout: Layout, tmp_path: Path) -> None:
    """The classes of a single scan give each level the pages and counts that a scan for that level gives."""
    source, knowledge = opened(machine(layout), tmp_path)
    judge = _thorough(knowledge)
    runs = [(pfn, bytes(classes[:count])) for pfn, classes, count in judge.classify(0, 0x10800)]
    exists, _ = source.memory_bits(0, BLOCK, 4096)
    for level in range(32):
        kept, histogram = bytearray(exists), Histogram()
        for pfn, classes in runs:
            row = bytearray(classes)
            drop = dropping(judge.rules, level)
            apply_classes(address_of(row), len(row), address_of(kept), pfn, drop, histogram.address)
        single = run(source, knowledge, level)
        assert [bytes(kept)] == list(single.kept), level
        assert {**single.counts, "kept": single.kept.count()} == tally(histogram, judge.rules, level), level
    source.close()


def test_a_page_named_by_no_line_is_kept(tmp_path: Path) -> None:
    """A machine of plain kernel pages loses no page."""
    built = Machine(LAYOUTS["6.12"])
    source, knowledge = opened(built, tmp_path)
    assert bits(run(source, knowledge, 31).kept) == set(built.frames())
    source.close()


def test_poisoned_tail_of_a_kept_compound_page_is_dropped(tmp_path: Path) -> None:
    """A poisoned tail is dropped, as reading it may crash the crash kernel; the rest of the compound page stays.

    makedumpfile keeps it: a tail is judged by its head alone.
    """
    built = Machine(LAYOUTS["6.12"], "0x840-0x847 kernel order=3\n0x843 hwpoison")
    source, knowledge = opened(built, tmp_path)
    for level in (0, 1, 31):
        assert bits(run(source, knowledge, level).kept) == set(built.frames()) - {0x843}
    source.close()


@pytest.mark.parametrize("order", [11, 12, 31, 32, 63, 64, 1 << 20, 1 << 63, (1 << 64) - 1])
def test_a_free_block_of_impossible_order_is_kept(order: int, tmp_path: Path) -> None:
    built = Machine(LAYOUTS["6.12"], f"0x0 free private={order}\n0x400 free private=3")
    source, knowledge = opened(built, tmp_path)
    found = run(source, knowledge, 31)
    assert bits(found.kept) == set(built.frames()) - set(range(0x400, 0x408))
    source.close()


def test_a_free_block_that_is_not_aligned_to_its_size_is_kept(tmp_path: Path) -> None:
    """The buddy allocator has no misaligned blocks: the pages that follow may be in use."""
    built = Machine(LAYOUTS["6.12"], "0x404 free private=3\n0x501 free private=1\n0x408 free private=3")
    source, knowledge = opened(built, tmp_path)
    assert bits(run(source, knowledge, 31).kept) == set(built.frames()) - set(range(0x408, 0x410))
    source.close()


@pytest.mark.parametrize("order", [1, 64, 255])
def test_a_compound_page_of_impossible_order_loses_its_head_only(order: int, tmp_path: Path) -> None:
    """An impossible order, or one to which the head is not aligned, says nothing about the following pages."""
    built = Machine(LAYOUTS["6.12"], "0x600-0x603 thp order=2")
    first = 0x601 if order == 1 else 0x600
    if order == 1:
        built = Machine(LAYOUTS["6.12"], "0x600-0x607 thp order=0")
        for pfn in range(0x602, 0x608):
            built.set(pfn, head=built.tail_mark(0x600, 3), mapping=0)
        built.set(0x600, mapping=0, flags=0)
        built.set(0x601, flags=built.get(0x601, "flags") | built.layout.mask("head"))
    built.set(first + 1, flags=order)
    source, knowledge = opened(built, tmp_path)
    assert bits(run(source, knowledge, 31).kept) == set(built.frames()) - {first}
    source.close()


def test_a_page_in_between_that_is_no_tail_ends_a_compound_page(tmp_path: Path) -> None:
    """Pages after it are kept although they are marked as tails: their head is unknown."""
    built = Machine(LAYOUTS["6.12"], "0x600-0x63f thp order=6")
    built.set(0x620, head=0, mapping=0, flags=0)
    source, knowledge = opened(built, tmp_path)
    assert bits(run(source, knowledge, 31).kept) == set(built.frames()) - set(range(0x600, 0x620))
    source.close()


def test_a_free_block_in_between_ends_a_compound_page(tmp_path: Path) -> None:
    """The same if that page is free, which is not a tail either."""
    built = Machine(LAYOUTS["6.12"], "0x600-0x63f thp order=6\n0x620-0x627 free order=3")
    for pfn in range(0x620, 0x628):
        built.set(pfn, head=0, mapping=0)
    source, knowledge = opened(built, tmp_path)
    assert bits(run(source, knowledge, 31).kept) == set(built.frames()) - set(range(0x600, 0x628))
    assert bits(run(source, knowledge, 8).kept) == set(built.frames()) - set(range(0x600, 0x620))
    source.close()


def test_types_in_the_top_byte_leave_the_other_bits_to_others(tmp_path: Path) -> None:
    """Since v6.12 the low 24 bits of the type's word may hold anything."""
    built = Machine(LAYOUTS["6.12"], "0x300-0x3ff free order=8 kind=0xf0123456\n0x820 offline kind=0xf1000001")
    source, knowledge = opened(built, tmp_path)
    found = run(source, knowledge, 31)
    assert (found.counts["free"], found.counts["offline"]) == (256, 1)
    source.close()


def test_a_section_without_struct_pages_is_kept(tmp_path: Path) -> None:
    """A section without struct pages is kept; the other section is filtered as usual."""
    built = Machine(LAYOUTS["6.12"], EVERYTHING + "section 2 nomap\n")
    truth = dropped(everything(built.layout, struct_pages(built)), 31)
    source, knowledge = opened(built, tmp_path)
    kept = bits(run(source, knowledge, 31).kept)
    assert {pfn for pfn in kept if pfn < 0x8000} == {pfn for pfn in built.frames() if pfn < 0x8000} - set(truth)
    source.close()


def test_blocks_that_cross_sections(tmp_path: Path) -> None:
    """A huge page and a free block of 256 MiB each span two sections and many reads of struct pages."""
    built = Machine(LAYOUTS["6.12"], "0x100 slab", ram=((0, 24 * MIB), (256 * MIB, 1024 * MIB)))
    built.keys["LENGTH(zone.free_area)"] = "17"
    built.set(0x20001, head=built.tail_mark(0x20000, 16), flags=16)
    built.set(0x20002, head=built.tail_mark(0x20000, 16))
    for section, first in ((4, 3), (5, 0)):
        built.maps[section][first * STRUCT_PAGE :] = built.struct_page(0x20002) * ((1 << 15) - first)
    built.set(0x20000, kind=built.layout.types["hugetlb"], flags=built.layout.mask("head"))
    free = bytearray(built.struct_page(0x30000))
    free[built.layout.refcount : built.layout.refcount + 4] = bytes(4)
    for section in (6, 7):
        built.maps[section][:] = free * (1 << 15)
    built.set(0x30000, kind=built.layout.types["buddy"], private=16)
    source, knowledge = opened(built, tmp_path)
    found = run(source, knowledge, 31)
    assert (found.counts["free"], found.counts["user"]) == (1 << 16, 1 << 16)
    others = set(range(24 * MIB // 4096)) | set(range(0x10000, 0x20000))
    assert bits(found.kept) == others
    assert run(source, knowledge, 8).kept.count() == len(others) + (1 << 16)
    source.close()


CLAIMS = {
    "user": "user", "cache": "cache", "free": "free order=9", "free, in a block": "free order=10",
    "hwpoison": "hwpoison", "offline": "offline", "a tail": "thp order=9",
}  # fmt: skip


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("level", [0, 31])
def test_struct_pages_that_contradict_their_own_memory(claim: str, level: int, tmp_path: Path) -> None:
    """Memory of struct pages belongs to the kernel; struct pages that contradict this are invalid and drop nothing.

    The struct pages of the first section are at page frames 0x1600 to 0x17ff.
    """
    place = {"free, in a block": 0x1400, "a tail": 0x1400}.get(claim, 0x1600)
    last = 0x17FF if claim == "free, in a block" else place + 0x1FF
    built = Machine(LAYOUTS["6.12"], f"{EVERYTHING}{place:#x}-{last:#x} {CLAIMS[claim]}")
    if claim == "a tail":
        for pfn in range(0x1600, 0x1800):
            built.set(pfn, head=built.tail_mark(place, 9))
    source, knowledge = opened(built, tmp_path)
    found = run(source, knowledge, level)
    if level or "free" not in claim:
        assert found.weaker
        assert any("can't be those of this kernel" in note for note in found.notes)
        # The first section's struct pages describe memory below 128 MiB, which includes the struct pages themselves.
        assert {pfn for pfn in built.frames() if pfn < 0x8000} <= bits(found.kept)
    source.close()
