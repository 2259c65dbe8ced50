"""Page tables of x86_64: intact, damaged and hostile."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.kernel import DIRECT, IMAGE, LARGE, PAGE, PRESENT, FakeKernel
from tests.filters.linux.walk_kit import assert_translates
from tests.outcome import result_or_error
from vmsieve.filters.linux.arch import Arch, arches, find
from vmsieve.filters.linux.arch.x86_64 import ARCH, KERNEL_MAP, X86Tables
from vmsieve.filters.linux.memory import PhysicalMemory
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import KernelError, ReadError, VmsieveError
from vmsieve.formats.inputs import VirtualRange

#: Somewhere in the address space of both 4 and 5 levels.
HERE = 0xFFFFC90000000000
SIZES = [PAGE, 2 << 20, 1 << 30]
BOTH = pytest.mark.parametrize("levels", [4, 5])


@BOTH
@pytest.mark.parametrize("size", SIZES)
def test_pages_of_every_size_translate(levels: int, size: int) -> None:
    kernel = FakeKernel(levels=levels)
    kernel.map(HERE + 3 * size, 7 * size, size)
    translate = kernel.memory().translate
    for at in (0, 1, 0x123, PAGE - 1, size - 1):
        paddr, room = translate(HERE + 3 * size + at)
        assert paddr == 7 * size + at
        assert 1 <= room <= size - at
    with pytest.raises(KernelError, match="no memory behind"):
        translate(HERE + 2 * size)


@BOTH
def test_bytes_promised_to_run_on_do(levels: int) -> None:
    kernel = FakeKernel(levels=levels)
    kernel.map(HERE, 5 << 30, 1 << 30)
    kernel.map(HERE + (1 << 30), 6 << 30, 1 << 30)
    kernel.map(HERE + (2 << 30), 1 << 30, 1 << 30)
    assert list(kernel.memory().segments(HERE + 5, 2 << 30)) == [((5 << 30) + 5, (2 << 30) - 5), (1 << 30, 5)]


@BOTH
def test_the_encryption_bit_is_no_address(levels: int) -> None:
    kernel = FakeKernel(levels=levels, c_bit=1 << 47)
    for i, size in enumerate(SIZES):
        kernel.map(HERE + (i << 32), 9 * size, size)
    memory = kernel.memory()
    assert [memory.translate(HERE + (i << 32))[0] for i in range(3)] == [9 * size for size in SIZES]
    assert any("sme_mask" in note for note in memory.translator.notes)


def test_without_the_encryption_mask_tables_are_rejected() -> None:
    kernel = FakeKernel(c_bit=1 << 47)
    del kernel.keys["NUMBER(sme_mask)"]
    with pytest.raises(KernelError, match="not where"):
        kernel.memory()


def test_high_bits_of_an_entry_are_no_address() -> None:
    kernel = FakeKernel()
    kernel.poke(kernel.entry_address(HERE, 1), 0xFFF0000000000E61 | 0x1234000)
    assert kernel.memory().translate(HERE + 5)[0] == 0x1234005


def test_the_low_bits_of_a_large_page_are_no_address() -> None:
    kernel = FakeKernel()
    # Bit 12 of a large page's entry belongs to its memory type.
    kernel.poke(kernel.entry_address(HERE, 2), 0x40000000 | 1 << 12 | LARGE | PRESENT)
    assert kernel.memory().translate(HERE)[0] == 0x40000000


@BOTH
@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_an_entry_that_is_not_present_is_an_error(levels: int, level: int) -> None:
    kernel = FakeKernel(levels=levels)
    kernel.map(HERE, 0x1234000)
    at = kernel.entry_address(HERE, level)
    kernel.poke(at, kernel.peek(at) & ~PRESENT)
    with pytest.raises(KernelError, match="no memory behind") as caught:
        kernel.memory().translate(HERE)
    assert caught.value.offset is not None


@pytest.mark.parametrize("level", [2, 3, 4])
def test_a_table_that_is_not_in_the_dump_is_a_read_error(level: int) -> None:
    kernel = FakeKernel()
    kernel.map(HERE, 0x1234000)
    kernel.poke(kernel.entry_address(HERE, level), (1 << 51) | PRESENT)
    with pytest.raises(ReadError):
        kernel.memory().translate(HERE)


def test_a_large_page_where_there_are_none_is_an_error() -> None:
    kernel = FakeKernel()
    kernel.poke(kernel.entry_address(HERE, 4), 0x40000000 | PRESENT | LARGE)
    with pytest.raises(KernelError, match="makes no sense"):
        kernel.memory().translate(HERE)


def test_a_root_that_is_its_own_child_is_walked_to_the_last_level_and_no_further() -> None:
    kernel = FakeKernel()
    # Every level is the root itself: the "page" is the root.
    slot = 0x1A0
    kernel.poke(kernel.root + slot * 8, kernel.root | PRESENT)
    vaddr = 0xFFFF << 48 | slot << 39 | slot << 30 | slot << 21 | slot << 12
    assert kernel.memory().translate(vaddr + 8) == (kernel.root + 8, PAGE - 8)


@pytest.mark.parametrize(
    ("levels", "vaddr"),
    [
        (4, 0x0000800000000000),
        (4, 0xFFFF7FFFFFFFFFFF),
        (4, 0xFF11000000000000),
        (5, 0x0100000000000000),
        (5, 0xFEFFFFFFFFFFFFFF),
        (4, 1 << 64),
        (5, -1),
    ],
)
def test_addresses_no_processor_takes_are_errors(levels: int, vaddr: int) -> None:
    with pytest.raises(KernelError, match="canonical"):
        FakeKernel(levels=levels).memory().translate(vaddr)


def test_five_levels_reach_where_four_do_not() -> None:
    kernel = FakeKernel(levels=5)
    kernel.map(0xFF11000000000000, 0x7000)
    assert kernel.memory().translate(0xFF11000000000008)[0] == 0x7008


@BOTH
def test_the_kernel_image_is_where_its_tables_say(levels: int) -> None:
    kernel = FakeKernel(levels=levels, phys_base=-0x800000)
    memory = kernel.memory()
    tables = X86Tables(memory.physical, kernel.root, levels)
    for vaddr in (IMAGE, IMAGE + 0x123456, IMAGE + (4 << 20) - 1):
        assert memory.translate(vaddr)[0] == tables.translate(vaddr)[0] == kernel.image_physical(vaddr)


def test_an_address_before_the_image_that_would_be_below_zero_is_an_error() -> None:
    memory = FakeKernel(phys_base=-0x800000).memory()
    with pytest.raises(KernelError, match="not in memory"):
        memory.translate(KERNEL_MAP)
    assert memory.translate(KERNEL_MAP + 0x800000)[0] == 0


def test_modules_are_not_part_of_the_image() -> None:
    kernel = FakeKernel()
    kernel.map(0xFFFFFFFFC0000000, 0x5000)
    assert kernel.memory().translate(0xFFFFFFFFC0000010)[0] == 0x5010
    kernel.keys["NUMBER(KERNEL_IMAGE_SIZE)"] = str(512 << 20)
    kernel.map(0xFFFFFFFFA0000000, 0x6000)
    assert kernel.memory().translate(0xFFFFFFFFA0000010)[0] == 0x6010


@pytest.mark.parametrize("number", [None, "12288", "-4096", "99999999999999999999"])
def test_phys_base_comes_from_the_headers_where_vmcoreinfo_is_wrong(number: str | None) -> None:
    kernel = FakeKernel(phys_base=0x6000000)
    kernel.source.virtual = (
        VirtualRange(DIRECT, 0, 1 << 30),
        VirtualRange(0xFFFFFFFFC0000000, 0x1000, PAGE),
        VirtualRange(IMAGE, kernel.image_physical(IMAGE), 4 << 20),
    )
    kernel.keys.pop("NUMBER(phys_base)")
    if number is not None:
        kernel.keys["NUMBER(phys_base)"] = number
    translator = kernel.memory().translator
    assert translator.phys_base == 0x6000000
    assert any("headers" in note for note in translator.notes)


def test_phys_base_may_be_printed_unsigned() -> None:
    kernel = FakeKernel(phys_base=-0x800000)
    kernel.keys["NUMBER(phys_base)"] = str((1 << 64) - 0x800000)
    assert kernel.memory().translator.phys_base == -0x800000


def test_phys_base_defaults_to_zero() -> None:
    kernel = FakeKernel(phys_base=0)
    del kernel.keys["NUMBER(phys_base)"]
    assert kernel.memory().translator.phys_base == 0


@pytest.mark.parametrize("name", ["init_level4_pgt", "swapper_pg_dir"])
def test_older_names_of_the_root_serve(name: str) -> None:
    kernel = FakeKernel()
    kernel.keys[f"SYMBOL({name})"] = kernel.keys.pop("SYMBOL(init_top_pgt)")
    assert kernel.memory().read(DIRECT + kernel.root, 8)


@pytest.mark.parametrize("root", [None, "ffffffff81004000", "ffff888000000000", "1000", "xyz"])
def test_tables_that_do_not_map_themselves_are_rejected(root: str | None) -> None:
    kernel = FakeKernel()
    kernel.keys.pop("SYMBOL(init_top_pgt)")
    if root is not None:
        kernel.keys["SYMBOL(init_top_pgt)"] = root
    with pytest.raises(KernelError, match="page tables"):
        kernel.memory()


def test_neighbours_are_looked_up_once() -> None:
    kernel = FakeKernel()
    kernel.map(HERE, 2 << 20, 2 << 20)
    memory = kernel.memory()
    memory.translate(HERE)
    before = kernel.source.reads
    for at in range(0, 2 << 20, PAGE):
        memory.translate(HERE + at)
    assert kernel.source.reads == before


@pytest.mark.parametrize(("text", "bits"), [("", 46), ("OSRELEASE=2.6.25", 40), ("OSRELEASE=2.6.26.8", 44),
                                            ("OSRELEASE=2.6.32-71.el6", 46), ("OSRELEASE=6.1.0", 46),
                                            ("OSRELEASE=6.1.0\nNUMBER(pgtable_l5_enabled)=1", 52)])  # fmt: skip
def test_defaults_of_memory_sizes_follow_the_version(text: str, bits: int) -> None:
    info = VmcoreInfo(text.encode())
    assert (ARCH.max_physmem_bits(info), ARCH.section_size_bits(info)) == (bits, 27)


def test_architectures_are_found_by_all_their_names() -> None:
    assert find("x86_64") is ARCH
    assert find("amd64") is ARCH
    for arch in arches():
        assert isinstance(arch, Arch)
        assert find(arch.name) is arch
    names = [name for arch in arches() for name in (arch.name, *arch.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("machine", [None, "", "pdp11"])
def test_an_unknown_machine_is_a_kernel_error_that_names_the_known(machine: str | None) -> None:
    with pytest.raises(KernelError, match="x86_64"):
        find(machine)


def test_kernel_addresses_are_those_of_the_upper_half() -> None:
    four, five = (FakeKernel(levels=levels).memory().translator for levels in (4, 5))
    assert [four.is_kernel(vaddr) for vaddr in (0, 1 << 47, DIRECT, (1 << 64) - 1, 1 << 64)] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert [t.is_kernel(0xFF11000000000000) for t in (four, five)] == [False, True]
    assert not five.is_kernel(0x8000000000000000)


def _walk(kernel: FakeKernel, vaddr: int) -> int | None:
    """Page tables walked plainly: a slow twin independent of the code under test."""
    table = kernel.root
    for level in range(kernel.levels, 0, -1):
        entry = kernel.peek(table + 8 * (vaddr // (1 << (3 + 9 * level)) % 512))
        if entry % 2 == 0:
            return None
        frame = entry % (1 << 52) // PAGE * PAGE
        if level == 1 or (level < 4 and entry & LARGE):
            span = 1 << (3 + 9 * level)
            return frame // span * span + vaddr % span
        table = frame
    return None


@pytest.mark.fuzz
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([4, 5]),
    st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(0, 7), st.integers(0, (1 << 40) - 1)), max_size=12),
    st.lists(st.integers(0, (8 << 30) - 1), min_size=1, max_size=12),
)
def test_translation_equals_a_walk_in_plain_words(
    levels: int, maps: list[tuple[int, int, int]], probes: list[int]
) -> None:
    kernel = FakeKernel(levels=levels)
    for level, slot, frame in maps:
        size = PAGE << 9 * (level - 1)
        try:
            kernel.map(HERE + slot * size, frame * PAGE // size * size, size)
        except ReadError:
            continue  # a large page already lies there
    memory = kernel.memory()
    for probe in probes + [slot * (PAGE << 9 * (level - 1)) for level, slot, _ in maps]:
        assert_translates(memory, HERE + probe, lambda vaddr: _walk(kernel, vaddr))


@pytest.mark.fuzz
@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=64, max_size=512), st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=20))
def test_garbage_in_tables_gives_typed_errors_only(garbage: bytes, probes: list[int]) -> None:
    kernel = FakeKernel()
    source = kernel.source
    for pfn, page in source.pages.items():
        if pfn != kernel.root // PAGE:
            page[:] = (garbage * (PAGE // len(garbage) + 1))[:PAGE]
    tables = X86Tables(PhysicalMemory(source), kernel.root, 4)
    for vaddr in [*probes, IMAGE, DIRECT, KERNEL_MAP, *(DIRECT + probe % (1 << 36) for probe in probes)]:
        found = result_or_error(tables.translate, vaddr)
        assert isinstance(found, VmsieveError) or (0 <= found[0] < 1 << 52 and 1 <= found[1] <= 1 << 30)
