"""Page tables of aarch64, riscv64 and loongarch64: each page size and width, intact, damaged and hostile."""

from __future__ import annotations

from typing import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.kernel import PAGE
from tests.build.radix import END, FakeArm64, FakeLoong, FakeRadix, FakeRiscv
from tests.filters.linux.walk_kit import assert_translates
from tests.outcome import result_or_error
from vmsieve.filters.linux.arch import find
from vmsieve.formats.errors import KernelError, ReadError, VmsieveError

MACHINES: dict[str, Callable[[], FakeRadix]] = {
    # Page shift, planned bits of an address, and bits on this processor.
    **{
        f"aarch64-{1 << shift - 10}K-{planned}-{bits}": lambda shift=shift, planned=planned, bits=bits: FakeArm64(  # type: ignore[misc]
            shift, planned, bits
        )
        for shift, planned, bits in (
            (12, 39, 39), (12, 48, 48), (12, 52, 52), (12, 52, 48), (14, 36, 36), (14, 47, 47), (14, 48, 48),
            (14, 52, 52), (14, 52, 47), (16, 42, 42), (16, 48, 48), (16, 52, 52), (16, 52, 48),
        )
    },
    **{f"riscv64-Sv{bits}": lambda bits=bits: FakeRiscv(bits) for bits in (39, 48, 57)},  # type: ignore[misc]
    **{
        f"loongarch64-{1 << shift - 10}K-{levels}": lambda shift=shift, levels=levels: FakeLoong(shift, levels)  # type: ignore[misc]
        for shift, levels in ((12, 3), (12, 4), (14, 2), (14, 3), (16, 2), (16, 3))
    },
}  # fmt: skip
ALL = pytest.mark.parametrize("machine", sorted(MACHINES))


@ALL
def test_pages_of_every_size_translate(machine: str) -> None:
    kernel = MACHINES[machine]()
    for level in (0, *(level for level in kernel.large if level < kernel.levels)):
        kernel, size = MACHINES[machine](), kernel.size(level)
        here = kernel.here // size * size + size
        try:
            kernel.map(here, 7 * size, level)
        except ReadError:
            continue  # the kernel's own mappings are in the way
        translate = kernel.memory().translate
        for at in (0, 1, 0x123, PAGE - 1, size - 1):
            paddr, room = translate(here + at)
            assert (paddr, room) == (7 * size + at, size - at)
        with pytest.raises(KernelError, match="no memory behind"):
            translate(here + size)


@ALL
def test_there_are_as_many_levels_as_the_machine_has(machine: str) -> None:
    kernel = MACHINES[machine]()
    notes = kernel.memory().translator.notes
    assert any(f"of {kernel.levels} levels" in note for note in notes)


@ALL
def test_an_entry_that_is_not_valid_is_an_error_at_every_level(machine: str) -> None:
    for level in range(MACHINES[machine]().levels):
        kernel = MACHINES[machine]()
        if level == kernel.levels - 1 and machine.startswith("aarch64"):
            continue  # the kernel itself is mapped there
        kernel.map(kernel.here, kernel.ram)
        assert kernel.memory().translate(kernel.here)[0] == kernel.ram
        kernel.poke(kernel.entry_address(kernel.here, level), 0)
        with pytest.raises(KernelError, match="no memory behind") as caught:
            kernel.memory().translate(kernel.here)
        assert caught.value.offset is not None


@ALL
def test_a_table_that_is_not_in_the_dump_is_a_read_error(machine: str) -> None:
    kernel = MACHINES[machine]()
    kernel.map(kernel.here, kernel.ram)
    kernel.poke(kernel.entry_address(kernel.here, 1), kernel.table_entry(1 << 45, 1))
    with pytest.raises(ReadError):
        kernel.memory().translate(kernel.here)


@ALL
def test_addresses_that_are_not_the_kernels_are_errors(machine: str) -> None:
    memory = MACHINES[machine]().memory()
    for vaddr in (-1, 0, 0x1000, 1 << 62, END):
        with pytest.raises(KernelError, match="not an address"):
            memory.translate(vaddr)
        assert not memory.translator.is_kernel(vaddr)
    assert memory.translator.is_kernel(END - 1)


@ALL
@pytest.mark.parametrize("root", ["900000008ffff000", "ffffffffffff0000", "1000", "xyz", None])
def test_page_tables_at_another_address_are_rejected(machine: str, root: str | None) -> None:
    kernel = MACHINES[machine]()
    del kernel.keys["SYMBOL(swapper_pg_dir)"]
    if root is not None:
        kernel.keys["SYMBOL(swapper_pg_dir)"] = root
    with pytest.raises(VmsieveError):
        kernel.memory()


@ALL
def test_neighbours_are_looked_up_once(machine: str) -> None:
    kernel = MACHINES[machine]()
    for i in range(64):
        kernel.map(kernel.here + (i << kernel.shift), kernel.ram + (i << kernel.shift))
    memory = kernel.memory()
    memory.translate(kernel.here)
    before = kernel.source.reads
    for i in range(64):
        memory.translate(kernel.here + (i << kernel.shift))
    assert kernel.source.reads == before


@ALL
def test_neighbours_in_physical_memory_are_read_together(machine: str) -> None:
    kernel = MACHINES[machine]()
    size = 1 << kernel.shift
    for i in range(3):
        kernel.map(kernel.here + i * size, kernel.ram + i * size)
    kernel.map(kernel.here + 3 * size, kernel.ram)
    found = list(kernel.memory().segments(kernel.here + 5, 3 * size))
    assert found == [(kernel.ram + 5, 3 * size - 5), (kernel.ram, 5)]


@pytest.mark.fuzz
@ALL
@settings(max_examples=15, deadline=None)
@given(
    maps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 7), st.integers(0, (1 << 34) - 1)), max_size=8),
    odd=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 7), st.integers(0, END - 1)), max_size=3),
    probes=st.lists(st.integers(0, (1 << 31) - 1), min_size=1, max_size=8),
)
def test_translation_equals_a_walk_in_plain_words(
    machine: str, maps: list[tuple[int, int, int]], odd: list[tuple[int, int, int]], probes: list[int]
) -> None:
    """Translation of random maps, and of entries that are random numbers, equals a plain walk."""
    kernel = MACHINES[machine]()
    places = list(probes)
    for level, slot, frame in maps:
        size = kernel.size(level)
        if level and (level not in kernel.large or level >= kernel.levels):
            continue
        places.append(slot * size)
        try:
            kernel.map(kernel.here + slot * size, (frame << kernel.shift) % (1 << 47) // size * size, level)
        except ReadError:
            continue  # a large page already lies there
    kernel.memory()
    for level, slot, value in odd:
        try:
            if level < kernel.levels - 1:
                kernel.poke(kernel.entry_address(kernel.here + slot * kernel.size(level), level), value)
        except ReadError:
            continue
    for probe in places:
        vaddr = kernel.here + probe
        if vaddr >= END:
            continue
        assert_translates(kernel.memory(), vaddr, kernel.lookup)


@pytest.mark.fuzz
@ALL
@settings(max_examples=15, deadline=None)
@given(
    garbage=st.binary(min_size=64, max_size=512),
    probes=st.lists(st.integers(0, END - 1), min_size=1, max_size=10),
    keys=st.dictionaries(st.integers(0, 9), st.one_of(st.integers(-(1 << 63), END - 1)), max_size=3),
)
def test_garbage_gives_typed_errors_only(machine: str, garbage: bytes, probes: list[int], keys: dict[int, int]) -> None:
    """Garbage in tables and in VMCOREINFO's numbers gives typed errors only."""
    kernel = MACHINES[machine]()
    names = sorted(key for key in kernel.keys if key.startswith(("NUMBER", "KERNEL", "PAGESIZE")))
    for number, value in keys.items():
        kernel.keys[names[number % len(names)]] = f"{value:#x}" if value % 2 else str(value)
    whole = None if keys else kernel.memory()
    for pfn, page in kernel.source.pages.items():
        if whole is None or not kernel.root // PAGE <= pfn < (kernel.root + (1 << kernel.shift)) // PAGE:
            page[:] = (garbage * (PAGE // len(garbage) + 1))[:PAGE]
    memory = result_or_error(kernel.memory) if whole is None else whole
    if isinstance(memory, VmsieveError):
        return
    memory.physical._block.__self__.clear()  # type: ignore[attr-defined]
    for vaddr in [*probes, kernel.here, kernel.root_vaddr, *(END - 1 - probe % (1 << 40) for probe in probes)]:
        found = result_or_error(memory.translate, vaddr)
        assert isinstance(found, VmsieveError) or (0 <= found[0] < 1 << 57 and found[1] >= 1)


def test_architectures_are_found_by_all_their_names() -> None:
    for names in (("aarch64", "arm64"), ("riscv64", "riscv"), ("loongarch64", "loong64", "loongarch")):
        assert len({find(name).name for name in names}) == 1
