"""VMCOREINFO with a key missing: less is filtered, never more, and a remark says so."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS, Layout
from tests.build.machine import EVERY_CLASS, EVERYTHING, Machine
from tests.filters.classify_kit import bits, classifier, classify, opened, run
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.dump.report import Report
from vmsieve.pipeline.process.exits import EXIT_OK, EXIT_WEAKER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vmsieve.pipeline.dump.scan import Scan

#: Keys of optional kernel features: their absence looks like a missing key.
OPTIONAL = {
    "NUMBER(PG_hwpoison)", "NUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)",
}  # fmt: skip
#: Keys with a second source, whose loss makes no difference.
SPARE = {
    "NUMBER(SECTION_SIZE_BITS)", "NUMBER(MAX_PHYSMEM_BITS)", "NUMBER(phys_base)", "NUMBER(KERNEL_IMAGE_SIZE)",
    "SYMBOL(_stext)", "SYMBOL(swapper_pg_dir)", "SYMBOL(init_uts_ns)", "OFFSET(uts_namespace.name)", "CRASHTIME",
    "KERNELOFFSET", "PAGESIZE", "OFFSET(page._refcount)", "OFFSET(page._count)", "OFFSET(page.compound_head)",
    "OFFSET(page.compound_info)", "LENGTH(mem_section)", "SYMBOL(init_top_pgt)", "SYMBOL(init_level4_pgt)",
    "SYMBOL(vmap_area_list)", "SYMBOL(node_online_map)",
}  # fmt: skip


def without(machine: Machine) -> Iterator[tuple[str, bytes]]:
    """Each key, and VMCOREINFO without it."""
    lines = machine.vmcoreinfo().splitlines(keepends=True)
    for line in lines:
        yield line.partition(b"=")[0].decode(), b"".join(other for other in lines if other is not line)


def kept(scan: Scan) -> int:
    """The kept pages as one integer."""
    return int.from_bytes(b"".join(scan.kept), "little")


def outcome(scan: Scan, notes: list[str]) -> tuple[int, list[str]]:
    """Exit status and messages."""
    report = Report("in", "out")
    report.add_scan(scan)
    return report.exit_status(), [*notes, *report.notes]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_missing_key_keeps_the_same_pages_or_more_with_a_remark(layout: Layout, tmp_path: Path) -> None:
    """Each key in turn, at levels 31, 8, 6 and 16."""
    machine = Machine(layout, EVERY_CLASS)
    source, knowledge = opened(machine, tmp_path)
    full = {level: run(source, knowledge, level) for level in (31, 8, 6, 16)}
    assert outcome(full[31], knowledge.notes) == (EXIT_OK, [])
    for key, text in without(machine):
        weaker = gather_knowledge(source, text)
        for level, expected in full.items():
            found = run(source, weaker, level)
            more = kept(found) & ~kept(expected)
            assert not kept(expected) & ~kept(found), (key, level)
            status, notes = outcome(found, weaker.notes)
            if key in OPTIONAL:
                assert status == EXIT_OK, key
            elif more:
                assert status == EXIT_WEAKER, (key, level)
                assert any(len(note) > 20 for note in notes), (key, level)
            if key in SPARE:
                assert (more, status) == (0, EXIT_OK), (key, level)
    source.close()


@pytest.mark.parametrize("name", ["4.4", "6.1", "6.6", "6.10", "7.2"])
def test_every_key_that_a_rule_needs_makes_a_difference(name: str, tmp_path: Path) -> None:
    """The test above is effective: without these keys more pages are kept."""
    machine = Machine(LAYOUTS[name], EVERY_CLASS)
    source, knowledge = opened(machine, tmp_path)
    full = kept(run(source, knowledge, 31))
    # At level 31 the other cache rule drops these pages too, and the limit was not reached.
    exempt = {"NUMBER(PG_private)", "LENGTH(zone.free_area)", "OFFSET(page.lru)"}
    for key, text in without(machine):
        about_pages = re.match(r"(OFFSET\((page|folio)\.|NUMBER\(P|NUMBER\(HUGE|LENGTH\(z|SIZE\(page)", key)
        if about_pages and key not in SPARE | exempt:
            assert kept(run(source, gather_knowledge(source, text), 31)) & ~full, key
    source.close()


def test_without_private_the_first_cache_rule_is_off(tmp_path: Path) -> None:
    """At level 2, page cache without private data only, all page cache is kept."""
    machine = Machine(LAYOUTS["6.1"], EVERYTHING)
    source, _ = opened(machine, tmp_path)
    text = next(text for key, text in without(machine) if key == "NUMBER(PG_private)")
    found = run(source, gather_knowledge(source, text), 2)
    assert found.counts["cache"] == found.counts["cache_private"] == 0
    assert found.weaker
    assert any("NUMBER(PG_private)" in note for note in found.notes)
    source.close()


@pytest.mark.parametrize(("missing", "said"), [
    ({"NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)"}, "PAGE_BUDDY_MAPCOUNT_VALUE"),
    ({"OFFSET(page.private)"}, "OFFSET(page.private)"),
    ({"LENGTH(zone.free_area)"}, "LENGTH(zone.free_area)"),
    ({"NUMBER(PG_lru)"}, "NUMBER(PG_lru)"),
    ({"NUMBER(PG_swapbacked)"}, "NUMBER(PG_swapbacked)"),
    ({"NUMBER(PG_swapcache)"}, "NUMBER(PG_swapcache)"),
    ({"NUMBER(PG_slab)"}, "NUMBER(PG_slab)"),
    ({"NUMBER(PG_head_mask)"}, "PG_head_mask"),
    ({"OFFSET(page.compound_order)"}, "compound pages is not known"),
    ({"OFFSET(page.compound_dtor)"}, "compound pages is not known"),
    ({"NUMBER(HUGETLB_PAGE_DTOR)"}, "hugetlbfs"),
    ({"OFFSET(page.compound_head)", "OFFSET(page.lru)"}, "OFFSET(page.compound_head)"),
    ({"OFFSET(page.flags)"}, "OFFSET(page.flags)"),
    ({"OFFSET(page.mapping)"}, "OFFSET(page.mapping)"),
    ({"OFFSET(page._mapcount)"}, "OFFSET(page._mapcount)"),
    ({"SIZE(page)"}, "SIZE(page)"),
    ({"SIZE(mem_section)"}, "memory model"),
    ({"SYMBOL(mem_section)"}, "memory model"),
    ({"SYMBOL(init_top_pgt)", "SYMBOL(swapper_pg_dir)"}, "page tables"),
], ids=lambda value: value if isinstance(value, str) else "+".join(sorted(value)))  # fmt: skip
def test_missing_keys_are_named(missing: set[str], said: str, tmp_path: Path) -> None:
    """The remark names the missing key."""
    machine = Machine(LAYOUTS["6.1"], EVERYTHING)
    for key in missing:
        del machine.keys[key]
    source, knowledge = opened(machine, tmp_path)
    status, notes = outcome(run(source, knowledge, 31), knowledge.notes)
    assert status == EXIT_WEAKER
    assert any(said in note for note in notes), notes
    source.close()


def test_a_kernel_without_a_release_is_known_by_its_other_keys(tmp_path: Path) -> None:
    """Page tables and struct pages confirm the kernel: the same pages are dropped; a remark names the missing line."""
    machine = Machine(LAYOUTS["6.1"], EVERYTHING)
    source, knowledge = opened(machine, tmp_path)
    full = kept(run(source, knowledge, 31))
    source.close()
    del machine.keys["OSRELEASE"]
    source, knowledge = opened(machine, tmp_path)
    found = run(source, knowledge, 31)
    assert kept(found) == full
    assert outcome(found, knowledge.notes) == (EXIT_OK, ["VMCOREINFO is garbled: OSRELEASE is missing"])
    source.close()


def test_notes_are_of_levels_that_they_matter_for(tmp_path: Path) -> None:
    """A level that drops free pages only gives no remark on huge pages."""
    machine = Machine(LAYOUTS["6.1"], EVERYTHING)
    del machine.keys["NUMBER(PG_head_mask)"]
    source, knowledge = opened(machine, tmp_path)
    for level, status in ((0, EXIT_OK), (16, EXIT_OK), (17, EXIT_OK), (2, EXIT_WEAKER), (8, EXIT_WEAKER)):
        found = outcome(run(source, knowledge, level), knowledge.notes)
        assert (found[0], bool(found[1])) == (status, status == EXIT_WEAKER), level
    source.close()


def test_no_vmcoreinfo_keeps_every_page(tmp_path: Path) -> None:
    """Without VMCOREINFO nothing is dropped, and each level above 1 gives a remark."""
    machine = Machine(LAYOUTS["6.12"], EVERYTHING)
    source = open_source(str(machine.write(tmp_path / "machine.elf", b"")))
    knowledge = gather_knowledge(source)
    for level in (0, 1, 31):
        found = run(source, knowledge, level)
        assert bits(found.kept) == set(machine.frames())
        status, notes = outcome(found, knowledge.notes)
        assert status == (EXIT_WEAKER if level > 1 else EXIT_OK)
        assert level <= 1 or any("every page is kept" in note for note in notes)
    source.close()


def test_swap_cache_of_kernels_before_its_flag_became_an_alias() -> None:
    """Up to v4.9 PG_swapcache was a separate flag after PG_private and does not need PG_swapbacked."""
    old, new = LAYOUTS["4.4"], LAYOUTS["4.16"]
    keys = {key: value for key, value in new.keys().items() if key != "NUMBER(PG_swapbacked)"}
    assert "swapbacked" not in old.bits
    for layout, told, expected in ((old, old.keys(), {"cache", "cache_private"}), (new, keys, set())):
        machine = Machine(layout, "0x10 swapcache")
        machine.set(0x10, flags=layout.mask("swapcache"))
        judge = classifier(layout, 31, told=told)
        assert bool(judge.notes) == (layout is new)
        assert classify(judge, 0x10, machine.struct_page(0x10))[0x10] == expected


def test_a_block_larger_than_usual_where_the_limit_is_not_known() -> None:
    """Without LENGTH(zone.free_area), free blocks above order 10 are ignored."""
    layout = LAYOUTS["6.12"]
    keys = {key: value for key, value in layout.keys().items() if key != "LENGTH(zone.free_area)"}
    machine = Machine(layout, "0x0 free private=11\n0x800 free private=10")
    judge = classifier(layout, 31, told=keys)
    found = classify(judge, 0, b"".join(machine.struct_page(pfn) for pfn in range(0x1000)))
    assert {pfn for pfn, names in found.items() if names} == set(range(0x800, 0xC00))
    assert judge.weaker


@pytest.mark.parametrize("name", ["6.10", "6.12"])
def test_huge_pages_of_a_kernel_without_hugetlbfs(name: str, tmp_path: Path) -> None:
    """Without a key for hugetlb, the order's place follows from PAGE_SLAB_MAPCOUNT_VALUE (v6.10)."""
    machine = Machine(LAYOUTS[name], "0x600-0x7ff thp order=9")
    del machine.keys["NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)"]
    source, knowledge = opened(machine, tmp_path)
    assert run(source, knowledge, 8).counts["user"] == 512
    source.close()


@pytest.mark.parametrize(("key", "value"), [
    ("OFFSET(page.flags)", "60"), ("OFFSET(page.mapping)", "4096"), ("OFFSET(page._mapcount)", "61"),
    ("OFFSET(page.flags)", "-8"), ("SIZE(page)", "0"), ("SIZE(page)", "99999999"), ("NUMBER(PG_lru)", "64"),
    ("NUMBER(PG_lru)", "-1"), ("NUMBER(PG_slab)", "9999"), ("NUMBER(PG_head_mask)", "-1"),
    ("NUMBER(PG_head_mask)", "0"),
    ("LENGTH(zone.free_area)", "0"), ("LENGTH(zone.free_area)", "4000000000"), ("OFFSET(page.compound_order)", "63"),
    ("OFFSET(page.compound_order)", "18446744073709551615"), ("OFFSET(page.private)", "57"),
    ("OFFSET(page.compound_head)", "58"), ("PAGESIZE", "4097"), ("SIZE(mem_section)", "0"),
])  # fmt: skip
def test_impossible_values_count_as_missing(key: str, value: str, tmp_path: Path) -> None:
    """An impossible value drops no page that the true value keeps."""
    machine = Machine(LAYOUTS["6.1"], EVERYTHING)
    source, knowledge = opened(machine, tmp_path)
    full = bits(run(source, knowledge, 31).kept)
    assert key in machine.keys
    machine.keys[key] = value
    found = run(source, gather_knowledge(source, machine.vmcoreinfo()), 31)
    assert bits(found.kept) >= full
    source.close()
