"""Implausible data are not used: damage to what describes the kernel drops no kernel page."""

from __future__ import annotations

import os
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from perf.corruption import Subject

from tests.build.layouts import LAYOUTS, STRUCT_PAGE
from tests.build.machine import EVERYTHING, Machine
from tests.dumps import ROOT, unpacked
from tests.filters.classify_kit import bits, opened, run
from vmsieve.filters.doubts import Doubts
from vmsieve.filters.plausibility import doubt_scan
from vmsieve.filters.struct_page_memory import StructPageMemory
from vmsieve.formats.bitmap import BLOCK_BYTES, Bitmap

if TYPE_CHECKING:
    from pathlib import Path

ZOO = ROOT / "tests" / "zoo"
#: A kernel for each machine; ``VMSIEVE_CORRUPTIONS`` sets the number of damaged copies of each.
SUBJECTS = (
    "aarch64-6.12-52", "loongarch64-7.2", "ppc64le-6.12-64k", "riscv64-7.2-sv39", "s390x-6.1", "x86_64-6.1-dimm",
    "x86_64-6.12-hvo", "x86_64-7.3-numa",
)  # fmt: skip
#: Page frames of the made-up machine that the kernel uses, and the address of its direct map.
KERNELS, DIRECT = range(0x100, 0x180), 0xFFFF888000000000
TRIALS = int(os.environ.get("VMSIEVE_CORRUPTIONS", "8"))


@pytest.mark.fuzz
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_damaged_page_affects_only_the_pages_it_describes(name: str, scratch: Path) -> None:
    """Damage to struct pages, page tables, sections or VMCOREINFO drops no additional page of the kernel."""
    subject = Subject(unpacked(ZOO / f"{name}.zst", scratch))
    assert not subject.weaker, subject.notes
    assert subject.counts()["struct pages"] > 0
    for i in range(TRIALS):
        found = subject.trial(f"test/{name}/{i}")
        assert (found.lost, found.failed) == ([], ""), (i, found.what)
    subject.close()


@pytest.mark.parametrize("seed", [
    "1/s390x-6.1/83", "1/s390x-6.1/126", "1/s390x-6.12/122", "1/s390x-6.12/164", "1/ppc64le-6.12-64k/69",
    "1/riscv64-7.2-sv39/24", "1/ppc64le-6.12-4k-radix/106",
    "1/x86_64-6.12-hvo/32", "1/x86_64-6.1-dimm/54", "1/x86_64-7.3-numa/1",
    "k3/x86_64-5.10-kdump/10", "k3/x86_64-7.3-1g/35", "c3/x86_64-7.3-rt-kdump/45",
])  # fmt: skip
def test_earlier_violations(seed: str, scratch: Path) -> None:
    """Page tables and sections that led to other struct pages, or beyond the end of memory."""
    subject = Subject(unpacked(ZOO / f"{seed.split('/')[1]}.zst", scratch))
    found = subject.trial(seed)
    assert (found.lost, found.failed) == ([], ""), found.what
    subject.close()


def test_a_free_block_ends_where_its_pages_are_not_free(tmp_path: Path) -> None:
    """A free block's head with too large an order: the kernel page inside and pages after it stay, with a remark."""
    built = Machine(LAYOUTS["6.12"], EVERYTHING + "0x900-0x97f free order=7\n")
    built.set(0x940, refcount=1)
    source, knowledge = opened(built, tmp_path)
    found = run(source, knowledge, 16)
    assert bits(found.kept) & set(range(0x900, 0x980)) == set(range(0x940, 0x980))
    assert found.weaker
    assert any("contradict" in note for note in found.notes)
    source.close()


def test_a_tail_belongs_to_the_head_that_it_points_to(tmp_path: Path) -> None:
    """Tails belong to the compound page that they point to, not to a preceding head of user memory."""
    built = Machine(LAYOUTS["6.12"], EVERYTHING + "0x1000-0x103f thp order=6\n0x1040-0x107f kernel order=6\n")
    built.set(0x1001, flags=7)
    built.set(0x1040, head=built.tail_mark(0x1000, 6))
    source, knowledge = opened(built, tmp_path)
    found = run(source, knowledge, 31)
    assert bits(found.kept) & set(range(0x1000, 0x1080)) == set(range(0x1041, 0x1080))
    assert found.weaker
    source.close()


def test_a_kernel_without_slab_pages_keeps_user_pages(tmp_path: Path) -> None:
    """Without slab pages any user page may be one: user memory is kept, with a remark."""
    built = Machine(LAYOUTS["6.12"], "0x260-0x27f user\n0x300-0x3ff free order=8")
    built.set(0x107FF, kind=0xFFFFFFFF)
    source, knowledge = opened(built, tmp_path)
    found = run(source, knowledge, 31)
    assert bits(found.kept) == set(built.frames()) - set(range(0x300, 0x400))
    assert found.weaker
    assert any("user pages are kept: no slab page was found" in note for note in found.notes)
    source.close()


def test_a_rule_that_drops_the_kernels_own_tables_is_off(tmp_path: Path) -> None:
    """A page table that is free by its struct page: free pages are kept, the others dropped as before."""
    built = Machine(LAYOUTS["6.12"], EVERYTHING)
    table = int(built.keys["SYMBOL(mem_section)"], 16) - 0xFFFF888000000000 >> 12
    built.set(table, kind=built.layout.types["buddy"], private=0, refcount=0)
    source, knowledge = opened(built, tmp_path)
    found = run(source, knowledge, 31)
    assert found.counts["free"] == 0
    assert found.counts["user"] > 0
    assert found.weaker
    assert any("free pages are kept: they would include the kernel's own tables" in note for note in found.notes)
    source.close()


def test_a_page_table_is_no_struct_pages(tmp_path: Path) -> None:
    """If a table refers to itself, pages it maps as struct pages are kept; others are dropped as before."""
    built = Machine(LAYOUTS["6.12"], EVERYTHING + "0x900-0x97f free order=7\n")
    source, knowledge = opened(built, tmp_path)
    assert knowledge.memory is not None
    assert knowledge.memmap is not None
    run_of_it = next(knowledge.memmap.runs(0x900, 0x980))
    block = knowledge.memory.translate(run_of_it.vaddr)[0] // 4096
    dropped = set(built.frames()) - bits(run(source, knowledge, 31).kept)
    knowledge.memory.physical.blocks.add(block)
    found = run(source, knowledge, 31)
    assert dropped >= set(range(0x900, 0x980))
    assert set(built.frames()) - bits(found.kept) <= dropped - set(range(0x900, 0x940))
    assert found.weaker
    source.close()


def test_the_log_is_the_kernels_own(tmp_path: Path) -> None:
    """A log page that is free by its struct page: free pages are kept. A log without a size is ignored."""
    for size, weaker in ((1 << 14, True), (0, False)):
        built = Machine(LAYOUTS["6.12"], EVERYTHING)
        variables, log = KERNELS[0], KERNELS[1]
        built.keys["SYMBOL(log_buf)"] = f"{DIRECT + variables * 4096:x}"
        built.keys["SYMBOL(log_buf_len)"] = f"{DIRECT + variables * 4096 + 8:x}"
        built.memory[variables] = struct.pack("<QI", DIRECT + log * 4096, size)
        built.set(log, flags=0, kind=built.layout.types["buddy"], private=0, refcount=0)
        source, knowledge = opened(built, tmp_path)
        found = run(source, knowledge, 31)
        assert (found.counts["free"] == 0) is weaker
        said = any("free pages are kept: they would include the kernel's own" in note for note in found.notes)
        assert said is weaker
        source.close()


@pytest.mark.parametrize(("broken", "weaker"), [(1, False), (4, True)])
def test_memory_of_the_kernels_may_be_broken_but_not_here_and_there(broken: int, weaker: bool, tmp_path: Path) -> None:
    """A poisoned kernel page is left out, as reading it may end the crash kernel. Many indicate a wrong flag."""
    built = Machine(LAYOUTS["6.12"], EVERYTHING)
    own = KERNELS[:broken]
    for pfn in own:
        built.set(pfn, flags=built.layout.mask("hwpoison"))
    source, knowledge = opened(built, tmp_path)
    assert knowledge.memory is not None
    knowledge.memory.physical.blocks |= set(own)
    found = run(source, knowledge, 31)
    assert found.weaker is weaker
    assert bits(found.kept).isdisjoint(own) is not weaker
    source.close()


def test_the_rule_is_found_by_where_a_block_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page table inside a free block that begins far before it."""
    built = Machine(LAYOUTS["6.12"], EVERYTHING)
    table = int(built.keys["SYMBOL(mem_section)"], 16) - 0xFFFF888000000000 >> 12
    head = table & ~0xF
    assert head < table
    for pfn in range(head, head + 16):
        built.set(pfn, flags=0, kind=0xFFFFFFFF, private=0, refcount=0)
    built.set(head, kind=built.layout.types["buddy"], private=4)
    monkeypatch.setattr("vmsieve.filters.classify.BLOCK", 1)
    source, knowledge = opened(built, tmp_path)
    found = run(source, knowledge, 31)
    assert found.counts["free"] == 0
    assert any("free pages are kept: they would include the kernel's own tables" in note for note in found.notes)
    source.close()


@pytest.mark.parametrize("how", ["twice", "swapped"])
def test_swapped_struct_pages_are_rejected(how: str, tmp_path: Path) -> None:
    """Sections with the same map, or each other's: their struct pages describe other pages, and all are kept."""
    compounds = "".join(f"{at:#x}-{at + 7:#x} kernel order=3\n" for at in (0x400, 0x440, 0x10200, 0x10240))
    built = Machine(LAYOUTS["6.12"], f"{compounds}0x300-0x3ff free order=8\n0x10300-0x103ff free order=8\n0x80 slab")
    one, two = built.sections
    if how == "swapped":
        built.maps = {one: built.maps[two], two: built.maps[one]}
    else:
        place = built.map_at(one)
        built.map_at = lambda section: place  # type: ignore[method-assign]  # noqa: ARG005
    source, knowledge = opened(built, tmp_path)
    found = run(source, knowledge, 31)
    assert bits(found.kept) == set(built.frames())
    assert found.weaker
    assert any("can't be those of this kernel" in note for note in found.notes)
    source.close()


def test_many_pieces_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many contested pieces of struct pages are merged into few, and repeated scans end."""
    monkeypatch.setattr("vmsieve.filters.doubts._MOST_CONTESTED", 20)
    memory = StructPageMemory([])
    memory.note(0, [(0x100000, 0x200000)])
    stored, kept = Bitmap(), Bitmap()
    stored.put(0, bytearray(b"\xff" * BLOCK_BYTES))
    kept.put(0, bytearray(b"\x55" * BLOCK_BYTES))
    classifier: Any = SimpleNamespace(
        struct_page_memory=memory,
        page_size=4096,
        conflicts=0,
        blocks_differ=False,
        unread=0,
        slabs_unknown=None,
        blocks_read=set(),
    )
    doubts = Doubts()
    assert doubt_scan(doubts, classifier, stored, kept)
    first, *others = doubts.contested
    assert first[0] == 0x101000
    assert len(others) < 20
    assert max(end for _, end in doubts.contested) == 0x300000
    while doubt_scan(doubts, classifier, stored, kept):
        assert len(doubts.contested) <= 20
    assert doubts.contested[0] == first


def test_memory_is_noted_once() -> None:
    """Adjacent pieces are merged; only repeated ones are marked."""
    memory = StructPageMemory([])
    assert memory.note(0, [(0x10000, 0x4000)]) is None
    assert memory.note(0, [(0x14000, 0x1000), (0x20000, 0x1000)]) is None
    assert list(memory.pieces()) == [(0x10000, 0x15000), (0x20000, 0x21000)]
    marks = memory.note(0, [(0x15000, 0x1000), (0x12000, 0x1000), (0x16000, 0x1000)])
    assert marks is not None
    assert marks[:3] == bytes([0, 1, 0])
    assert list(memory.pieces()) == [(0x10000, 0x17000), (0x20000, 0x21000)]
    assert memory.aliased == [(0x12000, 0x13000)]
    distrusted = StructPageMemory([(0x30000, 0x31000)])
    marks = distrusted.note(STRUCT_PAGE, [(0x2F000 + STRUCT_PAGE, 0x3000 - STRUCT_PAGE)])
    assert marks is not None
    assert marks[:3] == bytes([0, 2, 0])
