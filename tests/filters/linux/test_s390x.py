"""Page tables and address arithmetic of s390x: intact, damaged and hostile."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.kernel import PAGE
from tests.build.s390x import IDENTITY, IMAGE, IMAGE_PHYS, INVALID, LARGE, MIB, ROOT, FakeS390
from tests.filters.linux.walk_kit import assert_translates
from tests.outcome import result_or_error
from vmsieve.filters.linux.arch import find
from vmsieve.filters.linux.arch.s390x import ARCH, S390Tables
from vmsieve.filters.linux.memory import PhysicalMemory
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import KernelError, ReadError, VmsieveError

#: Somewhere above all memory, in the address space of three levels.
HERE = 0x37200000000
#: The same with five levels, where only the top table is shared with the kernel's own memory.
FAR = HERE + (1 << 42) + (1 << 53)
LEVELS = pytest.mark.parametrize("levels", [3, 4, 5])
SIZES = [PAGE, MIB, 2048 * MIB]


@LEVELS
@pytest.mark.parametrize("size", SIZES)
def test_pages_of_every_size_translate(levels: int, size: int) -> None:
    kernel = FakeS390(levels=levels)
    here = HERE & -size
    kernel.map(here + 3 * size, 7 * size, size)
    translate = kernel.memory().translate
    for at in (0, 1, 0x123, PAGE - 1, size - 1):
        paddr, room = translate(here + 3 * size + at)
        assert (paddr, room) == (7 * size + at, min(size - at, size))
    with pytest.raises(KernelError, match="no memory behind"):
        translate(here + 2 * size)


@pytest.mark.parametrize(
    ("levels", "vaddr"), [(4, (1 << 53) - PAGE), (5, (1 << 64) - PAGE), (4, 1 << 42), (5, 1 << 53)]
)
def test_more_levels_reach_where_fewer_do_not(levels: int, vaddr: int) -> None:
    """Each level adds eleven bits of address."""
    kernel = FakeS390(levels=levels)
    kernel.map(vaddr, 0x7000)
    assert kernel.memory().translate(vaddr + 8) == (0x7008, PAGE - 8)
    with pytest.raises(KernelError, match="not an address"):
        FakeS390(levels=levels - 1).memory().translate(vaddr)


@pytest.mark.parametrize("size", SIZES[:2])
def test_two_levels_are_enough_for_two_gibibytes(size: int) -> None:
    """With two levels the segment table is the root; the highest address is below 2 GiB."""
    kernel = FakeS390(levels=2)
    kernel.map(0x7FF00000, 5 * size, size)
    tables = S390Tables(PhysicalMemory(kernel.source), ROOT)
    assert (tables.levels, tables.end) == (2, 1 << 31)
    assert tables.translate(0x7FF00123) == (5 * size + 0x123, size - 0x123)
    with pytest.raises(KernelError, match="not an address"):
        tables.translate(1 << 31)


def test_before_v6_10_addresses_are_the_same_as_far_as_memory_goes() -> None:
    """Before v6.10, memory is translated without page tables, which decide only above it."""
    kernel = FakeS390()
    memory = kernel.memory()
    assert memory.translate(0) == (0, 16 * MIB)
    assert memory.translate(16 * MIB - 1) == (16 * MIB - 1, 1)
    with pytest.raises(KernelError):
        memory.translate(16 * MIB)
    kernel.map(16 * MIB, 0x5000)
    assert kernel.memory().translate(16 * MIB + 1) == (0x5001, PAGE - 1)


@pytest.mark.parametrize("teller", ["VMCOREINFO", "os_info"])
def test_since_v6_10_each_part_is_where_the_kernel_says(teller: str) -> None:
    """Lowcore, 31-bit code, image and identity mapping by VMCOREINFO or os_info; all else by page tables."""
    kernel = FakeS390(split=True)
    if teller == "os_info":
        kernel.add_os_info(kernel.place_values())
        for key in ("KERNELOFFSET", "KERNELOFFPHYS", "IDENTITYBASE", "SAMODE31", "EAMODE31"):
            del kernel.keys[key]
    memory = kernel.memory()
    for vaddr, paddr in (
        (0x1FF8, 0x1FF8), (0x700000, 0x700000), (0x702FFF, 0x702FFF), (IMAGE, IMAGE_PHYS),
        (IMAGE + 0x123456, IMAGE_PHYS + 0x123456), (IDENTITY, 0), (IDENTITY + 16 * MIB - 1, 16 * MIB - 1),
    ):  # fmt: skip
        assert memory.translate(vaddr)[0] == paddr
    assert memory.translate(0x1FF8)[1] == 8
    for vaddr in (0x2000, 0x703000, IDENTITY + 16 * MIB):
        with pytest.raises(KernelError):
            memory.translate(vaddr)
    kernel.map(HERE, 0x6000)
    assert kernel.memory().translate(HERE)[0] == 0x6000
    assert any(teller in note for note in memory.translator.notes)


def test_os_info_corrects_vmcoreinfo() -> None:
    """The page tables must map themselves to their address; otherwise the other source is used."""
    kernel = FakeS390(split=True)
    kernel.add_os_info(kernel.place_values())
    kernel.keys["KERNELOFFPHYS"] = "900000"
    memory = kernel.memory()
    assert memory.translate(IMAGE)[0] == IMAGE_PHYS
    assert any("os_info" in note for note in memory.translator.notes)


@pytest.mark.parametrize(
    "keys",
    [{"SYMBOL(swapper_pg_dir)": "12345000"}, {"SYMBOL(swapper_pg_dir)": "100000"}, {"SYMBOL(swapper_pg_dir)": "xyz"}],
)
@pytest.mark.parametrize("split", [False, True])
def test_tables_that_do_not_map_themselves_are_rejected(keys: dict[str, str], split: bool) -> None:
    kernel = FakeS390(split=split)
    kernel.keys.update(keys)
    with pytest.raises(KernelError):
        kernel.memory()


@pytest.mark.parametrize("level", [-1, 0, 1, 2, 3])
def test_an_invalid_entry_is_an_error(level: int) -> None:
    kernel = FakeS390(levels=5)
    kernel.map(FAR, 0x1000)
    at = kernel.entry_address(FAR, level)
    kernel.poke(at, kernel.peek(at) | (INVALID if level >= 0 else 0x400))
    with pytest.raises(KernelError, match="no memory behind"):
        kernel.memory().translate(FAR)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_an_entry_of_another_table_type_is_rejected(level: int) -> None:
    """Each entry has its table's type; tables that refer to themselves are detected."""
    kernel = FakeS390(levels=5)
    kernel.map(FAR, 0x1000)
    at = kernel.entry_address(FAR, level)
    if level == 3:
        assert S390Tables(PhysicalMemory(kernel.source), ROOT).levels == 5
        kernel.poke(ROOT, kernel.peek(ROOT) ^ 4)
    else:
        kernel.poke(at, kernel.peek(at) ^ 4)
    with pytest.raises(KernelError):
        kernel.memory().translate(FAR)


@pytest.mark.parametrize("level", [2, 3])
def test_large_pages_are_of_two_sizes_only(level: int) -> None:
    """The large-page bit means nothing in entries of higher tables: the walk continues."""
    kernel = FakeS390(levels=5)
    kernel.map(FAR, 0x1000)
    at = kernel.entry_address(FAR, level)
    kernel.poke(at, kernel.peek(at) | LARGE)
    assert kernel.memory().translate(FAR)[0] == 0x1000


def test_a_table_may_have_fewer_than_four_quarters() -> None:
    """The entry that leads to a table gives its first and last quarter."""
    kernel = FakeS390()
    vaddr = HERE + (2 << 29)  # in the third quarter of a segment table
    kernel.map(vaddr, 0x1000)
    at = kernel.entry_address(vaddr, 1)
    entry = kernel.peek(at)
    for first_and_last, there in ((2 << 6 | 2, True), (3 << 6 | 3, False), (1, False)):
        kernel.poke(at, entry & ~3 | first_and_last)
        if there:
            assert kernel.memory().translate(vaddr)[0] == 0x1000
            continue
        with pytest.raises(KernelError, match="no memory behind"):
            kernel.memory().translate(vaddr)


@pytest.mark.parametrize("level", [0, 1])
def test_a_table_that_is_not_in_the_dump_is_a_read_error(level: int) -> None:
    kernel = FakeS390()
    kernel.map(HERE, 0x1000)
    at = kernel.entry_address(HERE, level)
    kernel.poke(at, kernel.peek(at) | 1 << 50)
    with pytest.raises(ReadError):
        kernel.memory().translate(HERE)


def test_neighbours_are_looked_up_once() -> None:
    kernel = FakeS390()
    kernel.map(HERE, 0, MIB)
    memory = kernel.memory()
    memory.translate(HERE)
    before = kernel.source.reads
    for at in range(0, MIB, PAGE):
        memory.translate(HERE + at)
    assert kernel.source.reads == before


def test_all_of_the_address_space_may_be_the_kernels_but_the_lowcore() -> None:
    """Kernel pointers may be low numbers; null and addresses beyond the page tables are invalid."""
    is_kernel = FakeS390().memory().translator.is_kernel
    assert [is_kernel(v) for v in (0, 8, 0x2000, 0x100000, HERE, (1 << 42) - 1, 1 << 42, 1 << 63)] == [
        False, False, True, True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "bits"), [("", 46), ("OSRELEASE=3.2.0", 42), ("OSRELEASE=3.3.0", 46),
                                            ("OSRELEASE=6.1.0", 46)])  # fmt: skip
def test_defaults_of_memory_sizes_follow_the_version(text: str, bits: int) -> None:
    info = VmcoreInfo(text.encode())
    assert (ARCH.max_physmem_bits(info), ARCH.section_size_bits(info)) == (bits, 28)
    assert find("s390") is ARCH


def _walk(kernel: FakeS390, vaddr: int) -> int | None:
    """Page tables walked plainly: a slow twin independent of the code under test."""
    if vaddr >= 1 << 9 + 11 * kernel.levels:
        return None
    table = ROOT
    for level in range(kernel.levels - 1, 0, -1):
        entry = kernel.peek(table + 8 * (vaddr // (1 << 9 + 11 * level) % 2048))
        if entry & INVALID or entry // 4 % 4 != level - 1:
            return None
        if level <= 2 and entry & LARGE:
            span = 1 << 9 + 11 * level
            return entry // span * span + vaddr % span
        table = entry // 4096 * 4096 if level > 1 else entry // 2048 * 2048
    entry = kernel.peek(table + vaddr // 4096 % 256 * 8)
    return None if entry & 0xC00 else entry // 4096 * 4096 + vaddr % 4096


@pytest.mark.fuzz
@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([3, 4, 5]),
    st.lists(st.tuples(st.sampled_from(SIZES), st.integers(0, 7), st.integers(0, (1 << 40) - 1)), max_size=10),
    st.lists(st.integers(0, (16 << 30) - 1), min_size=1, max_size=12),
)
def test_translation_equals_a_walk_in_plain_words(
    levels: int, maps: list[tuple[int, int, int]], probes: list[int]
) -> None:
    kernel = FakeS390(levels=levels)
    here = HERE & -(2048 * MIB)
    for size, slot, frame in maps:
        try:
            kernel.map(here + slot * size, frame * PAGE // size * size, size)
        except ReadError:
            continue  # a large page already lies there
    memory = kernel.memory()
    for probe in probes + [slot * size for size, slot, _ in maps]:
        assert_translates(memory, here + probe, lambda vaddr: _walk(kernel, vaddr))


@pytest.mark.fuzz
@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=64, max_size=512), st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=20))
def test_garbage_in_tables_gives_typed_errors_only(garbage: bytes, probes: list[int]) -> None:
    kernel = FakeS390()
    kernel.write(ROOT, (garbage * (4 * PAGE // len(garbage) + 1))[: 4 * PAGE])
    tables = S390Tables(PhysicalMemory(kernel.source), ROOT)
    for vaddr in [*probes, *(probe % tables.end for probe in probes), ROOT, HERE]:
        found = result_or_error(tables.translate, vaddr)
        assert isinstance(found, VmsieveError) or (0 <= found[0] < 1 << 64 and 1 <= found[1] <= 2048 * MIB)
