"""Peculiarities of aarch64, riscv64, loongarch64: wide addresses, linear maps, tags, missing or wrong keys."""

from __future__ import annotations

import pytest

from tests.build.radix import END, FakeArm64, FakeLoong, FakeRadix, FakeRiscv
from vmsieve.filters.linux.arch.aarch64 import ARCH
from vmsieve.filters.linux.vmcoreinfo import VmcoreInfo
from vmsieve.formats.errors import KernelError
from vmsieve.formats.inputs import VirtualRange


@pytest.mark.parametrize(("shift", "bit"), [(12, 50), (12, 51), (14, 51), (16, 48), (16, 49), (16, 51)])
@pytest.mark.parametrize("level", [0, 1])
def test_physical_addresses_of_52_bits(shift: int, bit: int, level: int) -> None:
    """LPA with 64 KiB pages and LPA2 with smaller ones place the highest bits differently."""
    kernel = FakeArm64(shift, 52, 52)
    size = kernel.size(level)
    here = kernel.here // size * size + size
    kernel.map(here, (1 << bit) + 3 * size, level)
    assert kernel.memory().translate(here + 5)[0] == (1 << bit) + 3 * size + 5


def test_shareability_is_no_address_without_lpa2() -> None:
    """On a processor without LPA2, a kernel built for it uses the same two bits for shareability."""
    kernel = FakeArm64(12, 52, 48)
    kernel.map(kernel.here, 0x1234000)
    assert kernel.peek(kernel.entry_address(kernel.here, 0)) >> 8 & 3 == 3
    assert kernel.memory().translate(kernel.here)[0] == 0x1234000


LINEAR = {
    "since v5.11": FakeArm64(12, 48, 48),
    "moved, before physical address 0": FakeArm64(12, 48, 48, before=1 << 40),
    "since v5.11, 52 bits": FakeArm64(16, 52, 52),
    "since v5.11, 52 bits planned": FakeArm64(16, 52, 48, before=15 << 48),
    "v5.4 to v5.10, 52 bits planned": FakeArm64(16, 52, 48, page_offset=END - (1 << 48)),
    "before v5.4": FakeArm64(12, 48, 48, page_offset=END - (1 << 47)),
    "riscv64": FakeRiscv(48),
}  # fmt: skip


def linear_of(kernel: FakeRadix) -> int:
    """Virtual address of the start of memory in the linear map."""
    if isinstance(kernel, FakeArm64):
        return kernel.page_offset + kernel.ram - kernel.phys_offset
    assert isinstance(kernel, FakeRiscv)
    return kernel.page_offset


@pytest.mark.parametrize("name", sorted(LINEAR))
def test_the_linear_map_needs_no_tables(name: str) -> None:
    """The linear map ends at the end of memory."""
    kernel = LINEAR[name]
    memory, start = kernel.memory(), linear_of(kernel)
    assert memory.translate(start) == (kernel.ram, 16 << 20)
    assert memory.translate((start + (16 << 20)) - 1) == (kernel.ram + (16 << 20) - 1, 1)
    with pytest.raises(KernelError):
        memory.translate(start + (16 << 20))
    assert any("linear map at" in note and "NUMBER(" in note for note in memory.translator.notes)


@pytest.mark.parametrize("wrong", [None, "0x1000", "0xffff000000000000", "-4096", "zzz"])
@pytest.mark.parametrize("kind", ["aarch64", "riscv64"])
def test_a_linear_map_that_the_tables_do_not_bear_out_is_left_to_them(kind: str, wrong: str | None) -> None:
    kernel: FakeRadix = FakeArm64(12, 48, 48) if kind == "aarch64" else FakeRiscv(39)
    key = "NUMBER(PHYS_OFFSET)" if kind == "aarch64" else "NUMBER(phys_ram_base)"
    del kernel.keys[key]
    if wrong is not None:
        kernel.keys[key] = wrong
    memory, start = kernel.memory(), linear_of(kernel)
    assert memory.translate(start + 8)[0] == kernel.ram + 8
    with pytest.raises(KernelError, match="no memory"):
        memory.translate(start + (8 << 20))
    assert any("tables alone" in note for note in memory.translator.notes)


@pytest.mark.parametrize("kind", ["aarch64", "riscv64"])
def test_where_the_image_is_comes_from_the_headers_where_vmcoreinfo_is_wrong(kind: str) -> None:
    kernel: FakeRadix = FakeArm64(12, 48, 48) if kind == "aarch64" else FakeRiscv(48)
    kernel.keys["NUMBER(kimage_voffset)" if kind == "aarch64" else "NUMBER(va_kernel_pa_offset)"] = "4096"
    kernel.keys.pop("NUMBER(phys_ram_base)", None)
    with pytest.raises(KernelError, match="map themselves"):
        kernel.memory()
    image = kernel.root_vaddr - (2 << 20)
    kernel.source.virtual = (VirtualRange(image, kernel.ram, 4 << 20),)
    memory = kernel.memory()
    assert memory.translate(kernel.root_vaddr)[0] == kernel.root
    assert any("headers" in note for note in memory.translator.notes)


@pytest.mark.parametrize("inside", [0, 2 << 20])
def test_a_riscv64_kernel_without_an_exported_address_is_found(inside: int) -> None:
    """A riscv64 image may be at the start of memory or after the firmware."""
    kernel = FakeRiscv(48)
    del kernel.keys["NUMBER(va_kernel_pa_offset)"]
    kernel.keys["NUMBER(phys_ram_base)"] = str(kernel.ram - inside)
    assert kernel.memory().translate(kernel.root_vaddr)[0] == kernel.root


@pytest.mark.parametrize("bits", [39, 48, 57])
def test_the_mode_of_a_riscv64_kernel_is_found_without_its_key(bits: int) -> None:
    kernel = FakeRiscv(bits)
    del kernel.keys["NUMBER(VA_BITS)"]
    assert any(f"Sv{bits} (as found)" in note for note in kernel.memory().translator.notes)


def test_svnapot_entries_are_equal() -> None:
    """Svnapot: the sixteen entries of a contiguous page are equal."""
    kernel = FakeRiscv(48)
    here = kernel.here // 0x10000 * 0x10000
    for i in range(16):
        kernel.map(here + i * 4096, 0x1238000)
        at = kernel.entry_address(here + i * 4096, 0)
        kernel.poke(at, kernel.peek(at) & ~(3 << 61) | 1 << 63)
    memory = kernel.memory()
    assert [memory.translate(here + i * 4096)[0] for i in range(16)] == [0x1230000 + i * 4096 for i in range(16)]


@pytest.mark.parametrize(("shift", "planned", "bits"), [(16, 52, 52), (16, 52, 48), (12, 48, 48), (12, 39, 39)])
def test_without_the_number_of_bits_in_use_the_tables_decide(shift: int, planned: int, bits: int) -> None:
    """TCR_EL1_T1SZ is exported since v5.9; a wrong value is detected."""
    kernel = FakeArm64(shift, planned, bits)
    for told in (None, "0x3f", "0x1c"):
        kernel.keys.pop("NUMBER(TCR_EL1_T1SZ)", None)
        if told:
            kernel.keys["NUMBER(TCR_EL1_T1SZ)"] = told
        memory = kernel.memory()
        assert memory.translate(kernel.root_vaddr)[0] == kernel.root


def test_tags_and_authentication_codes_are_no_address() -> None:
    """The top byte has tags (KASAN, MTE); with KERNELPACMASK, lower bits hold authentication codes."""
    kernel = FakeArm64(12, 48, 48)
    kernel.map(kernel.here, 0x7000)
    memory = kernel.memory()
    for tag in (0xFF, 0xF0, 0x00, 0x12):
        tagged = kernel.here & ~(0xFF << 56) | tag << 56
        assert memory.translate(tagged + 3)[0] == 0x7003
        assert memory.translator.is_kernel(tagged)
    signed = kernel.here & ~(0x55 << 48)
    with pytest.raises(KernelError):
        memory.translate(signed)
    assert not memory.translator.is_kernel(signed)
    kernel.keys["NUMBER(KERNELPACMASK)"] = "0xff7f000000000000"
    memory = kernel.memory()
    assert memory.translate(signed)[0] == 0x7000
    assert any("KERNELPACMASK" in note for note in memory.translator.notes)


def test_a_block_where_there_are_none_is_an_error() -> None:
    kernel = FakeArm64(12, 52, 52)
    kernel.map(kernel.here, 0x7000)
    for level in (0, 3):
        at = kernel.entry_address(kernel.here, level)
        before = kernel.peek(at)
        kernel.poke(at, before & ~2)
        with pytest.raises(KernelError, match="makes no sense"):
            kernel.memory().translate(kernel.here)
        kernel.poke(at, before)


@pytest.mark.parametrize("kernel", [FakeArm64(12, 48, 48), FakeLoong(14, 3)])
def test_pages_of_a_size_that_the_machine_has_not_are_an_error(kernel: FakeRadix) -> None:
    kernel.keys["PAGESIZE"] = "8192"
    with pytest.raises(KernelError, match="page size"):
        kernel.memory()


def test_windows_of_loongarch64_are_arithmetic() -> None:
    """loongarch64 windows are translated by arithmetic, without page tables."""
    memory = FakeLoong(14, 3).memory()
    for window in (0x8, 0x9, 0xA):
        assert memory.translate((window << 60) + 0x123456789) == (0x123456789, (1 << 48) - 0x123456789)
        assert memory.translator.is_kernel((window << 60) + 8)


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("OSRELEASE=5.4.0\nPAGESIZE=4096", (30, 48)),
        ("OSRELEASE=5.12.0\nPAGESIZE=4096", (27, 48)),
        ("OSRELEASE=5.12.0\nPAGESIZE=65536", (29, 48)),
        ("OSRELEASE=5.4.0\nPAGESIZE=65536\nSIZE(mem_section)=16\nLENGTH(mem_section)=1024", (30, 52)),
        ("OSRELEASE=5.4.0\nPAGESIZE=65536\nSIZE(mem_section)=16\nLENGTH(mem_section)=64", (30, 48)),
    ],
)
def test_defaults_of_memory_sizes(text: str, bits: tuple[int, int]) -> None:
    """The number of section roots shows 52 bits of physical address."""
    info = VmcoreInfo(text.encode())
    assert (ARCH.section_size_bits(info), ARCH.max_physmem_bits(info)) == bits
