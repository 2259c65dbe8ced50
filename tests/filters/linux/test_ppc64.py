"""Page tables and memory maps of ppc64 kernels with either MMU: intact, damaged and hostile."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.kernel import PAGE
from tests.build.ppc64 import MIB, OFFSET, OLD_VMEMMAP, PIECES, ROOT, TABLES, VARIABLES, VMEMMAP, FakePpc
from tests.filters.linux.walk_kit import assert_translates
from tests.outcome import result_or_error
from vmsieve.filters.linux.arch import find
from vmsieve.filters.linux.arch.ppc64le import ARCH, PpcTables
from vmsieve.filters.linux.memory import PhysicalMemory
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import KernelError, ReadError, VmsieveError

EACH = pytest.mark.parametrize(("mmu", "kib"), list(TABLES))
ORDERS = pytest.mark.parametrize("order", ["little", "big"])
#: In vmalloc memory: below the reach of every page table.
HERE = OFFSET + (0x3D << 40)


@EACH
@ORDERS
def test_pages_of_every_size_translate(mmu: str, kib: int, order: str) -> None:
    """Page tables are big-endian on kernels of either byte order."""
    for shift, _ in TABLES[mmu, kib][1:]:
        kernel, size = FakePpc(mmu, kib, order), 1 << shift
        kernel.add_pieces([])
        here = HERE & -size
        kernel.map(here + 3 * size, 7 * size, size)
        translate = kernel.memory().translate
        for at in (0, 1, 0x123, size - 1):
            assert translate(here + 3 * size + at) == (7 * size + at, size - at)
        with pytest.raises(KernelError, match="no memory behind"):
            translate(here + 2 * size)


@EACH
@ORDERS
def test_the_direct_map_is_arithmetic_as_far_as_memory_goes(mmu: str, kib: int, order: str) -> None:
    kernel = FakePpc(mmu, kib, order)
    kernel.add_pieces([])
    memory = kernel.memory()
    assert memory.translate(OFFSET) == (0, 16 * MIB)
    assert memory.translate(OFFSET + 16 * MIB - 1) == (16 * MIB - 1, 1)
    for vaddr in (OFFSET + 16 * MIB, OFFSET - 1, 0, (1 << 64) - 1, 0xD << 60):
        with pytest.raises(KernelError):
            memory.translate(vaddr)


@pytest.mark.parametrize("kib", [4, 64])
@pytest.mark.parametrize("told", [False, True])
def test_the_mmu_is_found_out_with_and_without_a_key(kib: int, told: bool) -> None:
    radix, hashed = FakePpc("radix", kib, told=told), FakePpc("hash", kib, told=told)
    hashed.add_pieces([(VMEMMAP, 0x400000)], shift=20)
    for kernel, name in ((radix, "radix"), (hashed, "hash")):
        notes = " ".join(kernel.memory().translator.notes)
        assert f"{name} MMU" in notes
        assert ("NUMBER(RADIX_MMU)" in notes) == told
        assert "otherwise" not in notes


def test_page_tables_that_map_themselves_override_a_key() -> None:
    kernel = FakePpc("radix")
    kernel.keys["NUMBER(RADIX_MMU)"] = "0"
    notes = kernel.memory().translator.notes
    assert "NUMBER(RADIX_MMU)=0 says otherwise" in notes


@pytest.mark.parametrize("start", [VMEMMAP, OLD_VMEMMAP])
@pytest.mark.parametrize("shift", [12, 16, 20, 24])
@ORDERS
def test_the_hash_mmus_memory_map_is_in_pieces(start: int, shift: int, order: str) -> None:
    """vmemmap_list may be in any order and have holes; virtual neighbours may be physically apart."""
    kernel, size = FakePpc("hash", order=order), 1 << shift
    kernel.add_pieces([(start + 3 * size, 2 * size), (start, 5 * size), (start + size, 9 * size)], shift)
    memory = kernel.memory()
    for vaddr, paddr in ((0, 5 * size), (size, 9 * size), (3 * size, 2 * size)):
        assert memory.translate(start + vaddr) == (paddr, size)
        assert memory.translate(start + vaddr + size - 8) == (paddr + size - 8, 8)
    for vaddr in (2 * size, 4 * size):
        with pytest.raises(KernelError):
            memory.translate(start + vaddr)
    assert list(memory.segments(start, 2 * size)) == [(5 * size, size), (9 * size, size)]
    assert f"3 pieces of {size} bytes" in " ".join(memory.translator.notes)


def test_pieces_that_follow_each_other_twice_are_one_run() -> None:
    """Pieces contiguous in both virtual and physical memory become one run."""
    kernel = FakePpc("hash")
    kernel.add_pieces([(VMEMMAP + n * MIB, (3 + n + (n > 3)) * MIB) for n in (5, 0, 2, 1, 3, 4)], shift=20)
    memory = kernel.memory()
    assert memory.translate(VMEMMAP + 5) == (3 * MIB + 5, 4 * MIB - 5)
    assert memory.translate(VMEMMAP + 4 * MIB) == (8 * MIB, 2 * MIB)
    with pytest.raises(KernelError):
        memory.translate(VMEMMAP + 6 * MIB)


def test_of_two_pieces_at_one_address_the_newer_counts() -> None:
    """The list begins with the newest entry."""
    kernel = FakePpc("hash")
    kernel.add_pieces([(VMEMMAP, 0x100000), (VMEMMAP, 0x200000)], shift=20)
    assert kernel.memory().translate(VMEMMAP)[0] == 0x200000


@pytest.mark.parametrize(("vaddr", "paddr"), [(VMEMMAP + 8, 0), (VMEMMAP, 8), (0x1000000, 0), (VMEMMAP, 1 << 60)])
def test_an_impossible_piece_ends_the_list(vaddr: int, paddr: int) -> None:
    """Entries read before the damage are used, and the report says that the list is damaged."""
    kernel = FakePpc("hash")
    kernel.add_pieces([(VMEMMAP, 0x100000), (vaddr, paddr), (VMEMMAP + MIB, 0x300000)], shift=20)
    memory = kernel.memory()
    assert memory.translate(VMEMMAP + MIB)[0] == 0x300000
    with pytest.raises(KernelError):
        memory.translate(VMEMMAP)
    assert any("damaged after 1 pieces" in note for note in memory.translator.notes)


def test_a_list_that_leads_out_of_memory_is_reported_as_damaged() -> None:
    kernel = FakePpc("hash")
    kernel.add_pieces([(VMEMMAP, 0x100000)], shift=20)
    kernel.source.write(PIECES, struct.pack("<Q", OFFSET + (1 << 40)))
    memory = kernel.memory()
    assert memory.translate(VMEMMAP)[0] == 0x100000
    assert any("vmemmap_list is damaged" in note for note in memory.translator.notes)


def test_a_list_that_leads_in_a_circle_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmsieve.filters.linux.arch.ppc64le._MOST_PIECES", 1000)
    kernel = FakePpc("hash")
    kernel.add_pieces([(VMEMMAP, 0x100000), (VMEMMAP + MIB, 0x200000)], shift=20)
    kernel.source.write(PIECES, struct.pack("<Q", OFFSET + PIECES + 24))
    notes = kernel.memory().translator.notes
    assert any("list is too long" in note for note in notes)


@pytest.mark.parametrize(
    "keys",
    [
        {"SYMBOL(swapper_pg_dir)": "12345000"}, {"SYMBOL(swapper_pg_dir)": "zz"}, {"PAGESIZE": "16384"},
        {"SYMBOL(vmemmap_list)": "c000000080000000"}, {"SIZE(mmu_psize_def)": "0"}, {"SYMBOL(vmemmap_list)": "0"},
        {"OFFSET(mmu_psize_def.shift)": "95"}, {"SYMBOL(mmu_psize_defs)": "c000000080000000"},
        {"SYMBOL(mmu_vmemmap_psize)": "1000"}, {"SIZE(vmemmap_backing)": "8"}, {"OFFSET(vmemmap_backing.phys)": "17"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("mmu", ["hash", "radix"])
def test_impossible_keys_are_not_followed(mmu: str, keys: dict[str, str]) -> None:
    """The hash MMU gives an error or a remark on the damaged list; the radix MMU needs no list."""
    kernel = FakePpc(mmu, told=False)
    kernel.source.page_size = None
    kernel.add_pieces([(VMEMMAP, 0x100000)], shift=20)
    kernel.keys.update(keys)
    try:
        notes = kernel.memory().translator.notes
    except VmsieveError:
        assert mmu == "hash" or not next(iter(keys)).endswith(("psize)", "list)", "defs)", "def)", "shift)", "phys)"))
    else:
        assert mmu == "radix" or any("damaged" in note for note in notes)


@pytest.mark.parametrize(("shift", "which"), [(11, 5), (35, 5), (24, 64), (24, 1 << 30)])
def test_an_impossible_size_of_pieces_is_an_error(shift: int, which: int) -> None:
    kernel = FakePpc("hash")
    kernel.add_pieces([(VMEMMAP, 0)], shift)
    kernel.source.write(VARIABLES + 8, struct.pack("<I", which))
    with pytest.raises(KernelError, match="size of a piece"):
        kernel.memory()


def test_page_tables_must_map_themselves_where_the_kernel_says_radix() -> None:
    kernel = FakePpc("radix")
    kernel.add_pieces([])
    kernel.poke(kernel.entry_address(OFFSET, 0), 0)
    with pytest.raises(KernelError, match="not where VMCOREINFO says"):
        kernel.memory()


@EACH
@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_an_empty_entry_is_no_memory(mmu: str, kib: int, level: int) -> None:
    kernel = FakePpc(mmu, kib)
    kernel.add_pieces([])
    kernel.map(HERE, 0x10000, kernel.page)
    kernel.poke(kernel.entry_address(HERE, level), 0)
    with pytest.raises(KernelError, match="no memory behind"):
        kernel.memory().translate(HERE)


@pytest.mark.parametrize("kib", [4, 64])
@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("flip", [1 << 63, 1, 1 << 4])
def test_the_radix_mmus_entries_say_how_large_the_next_table_is(kib: int, level: int, flip: int) -> None:
    kernel = FakePpc("radix", kib)
    kernel.map(HERE, 0x10000, kernel.page)
    at = kernel.entry_address(HERE, level)
    kernel.poke(at, kernel.peek(at) ^ flip)
    with pytest.raises(KernelError, match="makes no sense"):
        PpcTables(PhysicalMemory(kernel.source), ROOT, kernel.page, radix=True).translate(HERE)


@EACH
def test_memory_without_the_present_bit_is_unmapped(mmu: str, kib: int) -> None:
    """Only bit 63 decides, whatever else the entry contains."""
    kernel = FakePpc(mmu, kib)
    kernel.add_pieces([])
    for shift, _ in kernel.levels[1:]:
        kernel.map(HERE & -(1 << shift), 0, 1 << shift)
        at = kernel.entry_address(HERE & -(1 << shift), [s for s, _ in kernel.levels].index(shift))
        kernel.poke(at, kernel.peek(at) & ~(1 << 63))
        with pytest.raises(KernelError, match="no memory behind"):
            kernel.memory().translate(HERE)
        kernel.poke(at, 0)


@EACH
def test_a_table_that_is_not_in_the_dump_is_a_read_error(mmu: str, kib: int) -> None:
    kernel = FakePpc(mmu, kib)
    kernel.add_pieces([])
    kernel.map(HERE, 0x10000, kernel.page)
    at = kernel.entry_address(HERE, 2)
    kernel.poke(at, kernel.peek(at) | 1 << 50)
    with pytest.raises(ReadError):
        kernel.memory().translate(HERE)


def test_neighbours_are_looked_up_once() -> None:
    kernel = FakePpc()
    kernel.map(HERE, 0, 2 * MIB)
    memory = kernel.memory()
    memory.translate(HERE)
    before = kernel.source.reads
    for at in range(0, 2 * MIB, PAGE):
        memory.translate(HERE + at)
    assert kernel.source.reads == before


def test_pointers_of_the_kernel_begin_with_twelve_and_above() -> None:
    is_kernel = FakePpc().memory().translator.is_kernel
    assert [is_kernel(v) for v in (0, OFFSET - 1, OFFSET, VMEMMAP, OLD_VMEMMAP, 1 << 64)] == [
        False, False, True, True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "bits"),
    [("", 46), ("OSRELEASE=3.6.0", 44), ("OSRELEASE=3.7.0", 46), ("OSRELEASE=4.19.0", 47),
     ("OSRELEASE=4.20.0\nPAGESIZE=65536", 51), ("OSRELEASE=6.1.0\nPAGESIZE=4096", 46)],
)  # fmt: skip
def test_defaults_of_memory_sizes_follow_the_version(text: str, bits: int) -> None:
    info = VmcoreInfo(text.encode())
    assert (ARCH.max_physmem_bits(info), ARCH.section_size_bits(info)) == (bits, 24)
    assert find("ppc64") is find("ppc64le") is ARCH


def _walk(kernel: FakePpc, vaddr: int) -> int | None:
    """Page tables walked plainly: a slow twin independent of the code under test."""
    if vaddr // (1 << 60) != 12:
        return None
    table, at = ROOT, vaddr % (1 << 60)
    for shift, bits in kernel.levels:
        if at >= 1 << shift + bits:
            return None
        entry = kernel.peek(table + 8 * (at >> shift))
        at %= 1 << shift
        if entry >> 62 == 3 or (entry >> 63 and shift == kernel.levels[-1][0]):
            return (entry % (1 << 53) >> shift << shift) + at
        if not entry >> 63:
            return None
        table = entry % (1 << 60) // 256 * 256
    return None


@pytest.mark.fuzz
@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(list(TABLES)),
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 7), st.integers(0, 1 << 24)), max_size=8),
    st.lists(st.integers(0, (8 << 34) - 1), min_size=1, max_size=12),
)
def test_translation_equals_a_walk_in_plain_words(
    which: tuple[str, int], maps: list[tuple[int, int, int]], probes: list[int]
) -> None:
    kernel = FakePpc(*which)
    kernel.add_pieces([])
    here = HERE & -(1 << 34)
    wanted = []
    for level, slot, frame in maps:
        size = 1 << kernel.levels[level][0]
        try:
            kernel.map(here + slot * size, frame * size % (1 << 53), size)
        except AssertionError:
            continue  # a large page already lies there
        wanted.append(slot * size)
    memory = kernel.memory()
    for probe in probes + wanted:
        assert_translates(memory, here + probe, lambda vaddr: _walk(kernel, vaddr))


@pytest.mark.fuzz
@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(list(TABLES)),
    st.binary(min_size=64, max_size=512),
    st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=20),
)
def test_garbage_in_tables_and_lists_gives_typed_errors_only(
    which: tuple[str, int], garbage: bytes, probes: list[int]
) -> None:
    kernel = FakePpc(*which)
    tables = PpcTables(PhysicalMemory(kernel.source), ROOT, kernel.page, radix=which[0] == "radix")
    kernel.source.write(ROOT, (garbage * (65536 // len(garbage) + 1))[:65536])
    for vaddr in [*probes, *(OFFSET | probe >> 12 for probe in probes), HERE, VMEMMAP]:
        found = result_or_error(tables.translate, vaddr)
        assert isinstance(found, VmsieveError) or (0 <= found[0] < 1 << 53 and 1 <= found[1] <= 1 << 44)
    kernel.add_pieces([(VMEMMAP, 0)])
    kernel.source.write(PIECES, garbage)
    result_or_error(kernel.memory)
