"""Memory models with sections: from section_mem_map to runs of struct pages."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.kernel import (
    DIRECT,
    PAGE,
    PAGES_PER_SECTION,
    SECTION,
    VMEMMAP,
    FakeKernel,
    add_sections,
    coded,
    vmemmap,
)  # fmt: skip
from tests.outcome import result_or_error
from vmsieve.filters.linux import memmap as module
from vmsieve.filters.linux.arch.x86_64 import ARCH
from vmsieve.filters.linux.memmap import MemMap, Run, open_memmap
from vmsieve.formats.errors import KernelError, VmsieveError

P = PAGES_PER_SECTION
ALL = 1 << 28


def opened(kernel: FakeKernel, max_pfn: int = ALL) -> MemMap:
    return open_memmap(kernel.memory(), kernel.info(), ARCH, max_pfn)


def with_sections(*sections: int, **options: bool | int) -> FakeKernel:
    kernel = FakeKernel()
    add_sections(kernel, {n: coded(vmemmap(n), n) for n in sections}, **options)  # type: ignore[arg-type]
    return kernel


@pytest.mark.parametrize("extreme", [True, False])
@pytest.mark.parametrize("size", [16, 32])
def test_neighbouring_sections_merge_and_holes_part_them(extreme: bool, size: int) -> None:
    found = opened(with_sections(0, 1, 2, 5, 6, 40, extreme=extreme, size=size), 50 * P)
    assert found.model == ("sparsemem-extreme" if extreme else "sparsemem")
    assert found.struct_page_size == 64
    assert list(found.runs()) == [
        Run(0, 3 * P, VMEMMAP),
        Run(5 * P, 2 * P, vmemmap(5)),
        Run(40 * P, P, vmemmap(40)),
    ]
    assert (found.absent, found.damaged, found.end_pfn) == (44, 0, 41 * P)


def test_sections_of_several_roots() -> None:
    found = opened(with_sections(0, 255, 256, 300, 511, 512, 5000), 6000 * P)
    assert [(run.first_pfn // P, run.count // P) for run in found.runs()] == [
        (0, 1), (255, 2), (300, 1), (511, 2), (5000, 1),
    ]  # fmt: skip
    assert found.absent == 6000 - 7


def test_arrays_of_their_own_do_not_merge() -> None:
    kernel = FakeKernel()
    maps = {0: DIRECT + 0x40000000, 1: DIRECT + 0x10000000, 2: DIRECT + 0x10000000 + P * 64}
    add_sections(kernel, {n: coded(vaddr, n) for n, vaddr in maps.items()})
    assert list(opened(kernel).runs()) == [Run(0, P, maps[0]), Run(P, 2 * P, maps[1])]


@pytest.mark.parametrize("flags", range(0x40))
def test_a_map_counts_only_when_present_and_flags_are_no_address(flags: int) -> None:
    kernel = FakeKernel()
    add_sections(kernel, {0: coded(vmemmap(0), 0), 1: coded(vmemmap(1), 1, flags)})
    found = opened(kernel, 2 * P)
    assert list(found.runs()) == [Run(0, 2 * P if flags & 3 == 3 else P, VMEMMAP)]
    assert found.absent == (0 if flags & 3 == 3 else 1)


def test_a_map_that_stayed_behind_when_memory_was_taken_out_is_no_map() -> None:
    kernel = FakeKernel()
    add_sections(kernel, {0: coded(vmemmap(0), 0), 1: coded(vmemmap(1), 1, SECTION & ~1)})
    assert list(opened(kernel).runs()) == [Run(0, P, VMEMMAP)]


def test_the_last_run_ends_with_the_dump() -> None:
    found = opened(with_sections(0, 1, 2), P + 100)
    assert list(found.runs()) == [Run(0, P + 100, VMEMMAP)]
    assert found.end_pfn == P + 100


def test_the_end_is_that_of_the_last_map() -> None:
    assert opened(with_sections(0, 1), 9 * P).end_pfn == 2 * P


@pytest.mark.parametrize(
    ("first", "end", "expected"),
    [
        (0, 1, [Run(0, 1, VMEMMAP)]),
        (5, 5, []),
        (7, 5, []),
        (2 * P - 1, 4 * P + 2, [Run(2 * P - 1, 1, VMEMMAP + (2 * P - 1) * 64), Run(4 * P, 2, vmemmap(4))]),
        (2 * P, 4 * P, []),
        (5 * P, 9 * P, []),
        (-5, 3, [Run(0, 3, VMEMMAP)]),
        (0, 1 << 70, [Run(0, 2 * P, VMEMMAP), Run(4 * P, P, vmemmap(4))]),
    ],
)
def test_windows_cut_runs(first: int, end: int, expected: list[Run]) -> None:
    assert list(opened(with_sections(0, 1, 4)).runs(first, end)) == expected


def test_windows_side_by_side_cover_what_one_does() -> None:
    found = opened(with_sections(0, 1, 4, 9))
    cut = [run for at in range(0, 12 * P, 5000) for run in found.runs(at, at + 5000)]
    assert sum(run.count for run in cut) == 4 * P
    assert all(run.vaddr == VMEMMAP + run.first_pfn * 64 for run in cut)


def test_the_symbol_may_be_that_of_a_pointer() -> None:
    direct, pointed = opened(with_sections(0, 3)), opened(with_sections(0, 3, pointer=True))
    assert list(direct.runs()) == list(pointed.runs())
    assert pointed.damaged == 0


def test_a_missing_length_means_two_levels() -> None:
    kernel = with_sections(0, 3)
    del kernel.keys["LENGTH(mem_section)"]
    assert opened(kernel).model == "sparsemem-extreme"


def test_sizes_default_to_the_architecture() -> None:
    kernel = with_sections(0, 3)
    del kernel.keys["NUMBER(SECTION_SIZE_BITS)"], kernel.keys["NUMBER(MAX_PHYSMEM_BITS)"]
    assert list(opened(kernel).runs()) == [Run(0, P, VMEMMAP), Run(3 * P, P, vmemmap(3))]


@pytest.mark.parametrize("raw", [0x3, 0x123457, 0x7FFFFFFFFFFF0007])
def test_a_damaged_section_is_skipped_and_reported(raw: int) -> None:
    kernel = FakeKernel()
    add_sections(kernel, {0: coded(vmemmap(0), 0), 1: raw, 2: coded(vmemmap(2), 2)})
    found = opened(kernel, 3 * P)
    assert list(found.runs()) == [Run(0, P, VMEMMAP), Run(2 * P, P, vmemmap(2))]
    assert found.damaged == 1
    assert "memory section 1:" in found.notes[0]


@pytest.mark.parametrize("shift", [0x40, 0x80000, -0x100000])
def test_a_displaced_section_map_is_rejected(shift: int) -> None:
    """One changed bit of section_mem_map gives the struct pages of pages a little further on."""
    kernel = FakeKernel()
    add_sections(kernel, {n: coded(vmemmap(n) + shift * (n == 2), n) for n in range(4)})
    found = opened(kernel, 4 * P)
    assert list(found.runs()) == [Run(0, 2 * P, VMEMMAP), Run(3 * P, P, vmemmap(3))]
    assert found.damaged == 1
    assert found.notes == ["memory section 2: its map is displaced from those of the others; its pages are kept"]
    add_sections(kernel, {n: coded(vmemmap(n) + shift * n, n) for n in range(2)})
    with pytest.raises(KernelError, match="no plausible memory section"):
        opened(kernel, 2 * P)


def test_maps_that_were_made_apart_are_right() -> None:
    """Kernels without a virtual memory map place the struct pages of hotplugged memory anywhere."""
    kernel = FakeKernel()
    maps = {n: DIRECT + 0x10000000 + n * P * 64 for n in range(3)}
    maps |= {7: DIRECT + 0x4001000, 8: DIRECT + 0x4001000 + P * 64 + PAGE}
    add_sections(kernel, {n: coded(vaddr, n) for n, vaddr in maps.items()})
    found = opened(kernel)
    assert [(run.first_pfn // P, run.count // P) for run in found.runs()] == [(0, 3), (7, 1), (8, 1)]
    assert found.damaged == 0


@pytest.mark.parametrize("root", [0x1000, DIRECT + (1 << 29), 0xFFFFC90000000000, (1 << 64) - 8])
def test_a_missing_root_loses_only_its_sections(root: int) -> None:
    kernel = with_sections(0, 256, 512)
    array = int(kernel.keys["SYMBOL(mem_section)"], 16) - DIRECT
    kernel.poke(array + 8, root)
    found = opened(kernel)
    assert [run.first_pfn for run in found.runs()] == [0, 512 * P]
    assert found.damaged == 1
    assert "memory section 256:" in found.notes[0]


def test_a_missing_page_of_a_static_array_loses_only_its_sections() -> None:
    kernel = FakeKernel()
    add_sections(kernel, {n: coded(vmemmap(n), n) for n in range(64)}, extreme=False, size=256)
    del kernel.source.pages[(kernel.image_physical(int(kernel.keys["SYMBOL(mem_section)"], 16)) + PAGE) // PAGE]
    found = opened(kernel)
    assert [(run.first_pfn // P, run.count // P) for run in found.runs()] == [(0, 16), (32, 32)]
    assert found.damaged == 1


@pytest.mark.parametrize("value", [0, 0x1000, DIRECT + (1 << 29)])
def test_no_section_at_all_is_an_error(value: int) -> None:
    kernel = with_sections()
    array = int(kernel.keys["SYMBOL(mem_section)"], 16) - DIRECT
    for root in range(2048):
        kernel.poke(array + 8 * root, value)
    with pytest.raises(KernelError, match="no plausible memory section"):
        opened(kernel)


def test_sections_beyond_what_the_machine_can_have_are_not_looked_at() -> None:
    found = opened(with_sections(0), 1 << 60)
    assert list(found.runs()) == [Run(0, P, VMEMMAP)]
    assert found.absent == (1 << 19) - 1


def test_the_notes_are_bounded() -> None:
    kernel = FakeKernel()
    add_sections(kernel, {0: coded(vmemmap(0), 0)} | dict.fromkeys(range(1, 200), 3))
    found = opened(kernel)
    assert found.damaged == 199
    assert len(found.notes) == 20


def test_pieces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_RUNS", 3)
    found = opened(with_sections(0, 2, 4, 6, 8, 10))
    assert [run.first_pfn for run in found.runs()] == [0, 2 * P, 4 * P]
    assert found.damaged == 1


def test_sections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_SECTIONS", 512)
    assert opened(with_sections(0, 256)).end_pfn == 257 * P
    found = opened(with_sections(0, 256, 512))
    assert (found.end_pfn, found.damaged) == (257 * P, 1)
    assert "implausibly many" in found.notes[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SIZE(page)", None), ("SIZE(page)", "0"), ("SIZE(page)", "8192"), ("SIZE(page)", "63"),
        ("SIZE(mem_section)", "0"), ("SIZE(mem_section)", "24"), ("SIZE(mem_section)", "8192"),
        ("OFFSET(mem_section.section_mem_map)", "16"), ("OFFSET(mem_section.section_mem_map)", "4"),
        ("NUMBER(SECTION_SIZE_BITS)", "12"), ("NUMBER(SECTION_SIZE_BITS)", "47"), ("NUMBER(SECTION_SIZE_BITS)", "-1"),
        ("NUMBER(SECTION_SIZE_BITS)", "100"), ("NUMBER(MAX_PHYSMEM_BITS)", "0"), ("NUMBER(MAX_PHYSMEM_BITS)", "64"),
        ("SYMBOL(mem_section)", "1000"), ("SYMBOL(mem_section)", None),
    ],
)  # fmt: skip
def test_impossible_keys_are_kernel_errors(key: str, value: str | None) -> None:
    kernel = with_sections(0)
    kernel.keys.pop(key)
    if value is not None:
        kernel.keys[key] = value
    with pytest.raises(KernelError):
        opened(kernel)


def test_a_section_larger_than_a_small_page_is_an_error_on_machines_with_large_pages_too() -> None:
    kernel = with_sections(0, extreme=False)
    kernel.keys.update({"PAGESIZE": "65536", "SIZE(mem_section)": "8192"})
    kernel.source.page_size = None
    with pytest.raises(KernelError, match="mem_section is implausible"):
        opened(kernel)


@pytest.mark.parametrize("length", [None, 1 << 40])
def test_more_sections_than_any_machine_has_are_an_error_before_memory_is_taken(length: int | None) -> None:
    kernel = with_sections(0)
    kernel.keys.update({"NUMBER(MAX_PHYSMEM_BITS)": "63", "NUMBER(SECTION_SIZE_BITS)": "13"})
    del kernel.keys["LENGTH(mem_section)"]
    if length is not None:
        kernel.keys["LENGTH(mem_section)"] = str(length)
    with pytest.raises(KernelError, match="implausibly many memory sections"):
        opened(kernel, 1 << 50)


def test_tables_of_a_big_endian_machine_are_read_as_such() -> None:
    assert list(module._words(bytes(range(16)), "big")) == [0x0001020304050607, 0x08090A0B0C0D0E0F]
    assert list(module._words(bytes(range(16)), "little")) == [0x0706050403020100, 0x0F0E0D0C0B0A0908]


def test_discontigmem_is_reported_as_unsupported() -> None:
    kernel = with_sections(0)
    kernel.keys.update({
        "SYMBOL(node_data)": "ffffffff81000000", "LENGTH(node_data)": "4", "SIZE(pglist_data)": "4096",
        "OFFSET(pglist_data.node_mem_map)": "0", "OFFSET(pglist_data.node_start_pfn)": "8",
        "OFFSET(pglist_data.node_spanned_pages)": "16",
    })  # fmt: skip
    with pytest.raises(KernelError, match="DISCONTIGMEM"):
        opened(kernel)
    # A kernel with sections exports the rest of these.
    del kernel.keys["OFFSET(pglist_data.node_mem_map)"]
    assert opened(kernel).model == "sparsemem-extreme"


def _check(found: MemMap, max_pfn: int) -> None:
    end = 0
    for run in found.runs():
        assert run.first_pfn >= end
        assert run.count >= 1
        assert 1 << 63 <= run.vaddr < 1 << 64
        end = run.first_pfn + run.count
    assert end == found.end_pfn <= max_pfn


@pytest.mark.fuzz
@settings(max_examples=150, deadline=None)
@given(
    st.booleans(),
    st.dictionaries(st.integers(0, 600), st.integers(0, (1 << 64) - 1), max_size=8),
    st.dictionaries(st.integers(0, 2047), st.integers(0, (1 << 64) - 1), max_size=4),
    st.integers(0, 1 << 40),
)
def test_garbage_in_the_sections_gives_runs_in_order_or_a_typed_error(
    extreme: bool, sections: dict[int, int], roots: dict[int, int], max_pfn: int
) -> None:
    kernel = FakeKernel()
    add_sections(kernel, {0: coded(vmemmap(0), 0), **sections}, extreme=extreme)
    if extreme:
        for at, value in roots.items():
            kernel.poke(int(kernel.keys["SYMBOL(mem_section)"], 16) - DIRECT + at * 8, value)
    found = result_or_error(opened, kernel, max_pfn)
    if not isinstance(found, VmsieveError):
        _check(found, max_pfn)
