"""Kernel symbols: found by name, in the three encodings of addresses."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.crash_kernel import MIB, PAGE, CrashKernel
from tests.build.kernel import IMAGE, FakeKernel
from tests.build.memory_file import source
from tests.build.symbols import WAYS, add_symbols
from tests.outcome import result_or_error
from vmsieve.filters.linux.crashkernel import Region, reserved
from vmsieve.filters.linux.kallsyms import find_symbols
from vmsieve.formats.errors import KernelError, VmsieveError
from vmsieve.pipeline.inspect.crashkernel import INTACT, UNKNOWN, check_crash_kernel
from vmsieve.pipeline.process.progress import Silent

NAMES = ("crashk_res", "kexec_crash_image", "absent")
each_way = pytest.mark.parametrize("way", WAYS)


def machine(
    way: str = "base", *, many: int = 400, crash: tuple[int, int] = (MIB, 2 * MIB - 1), image: int = 1
) -> FakeKernel:
    """A kernel with the variables and a table of them among others."""
    kernel = FakeKernel()
    resource = kernel.static("its_crashk_res", struct.pack("<QQ", *crash).ljust(64, b"\0"))
    loaded = kernel.static("its_image", struct.pack("<Q", image << 12))
    uts = int(kernel.keys["SYMBOL(init_uts_ns)"], 16)
    others = [(f"tsymbol_{i}_of_many", IMAGE + 16 * i) for i in range(many)]
    symbols = [
        ("Ashort_percpu", 0x4000), *others[: many // 2], ("Dcrashk_resource", uts + 1), ("dxcrashk_res", uts + 2),
        ("t" + "long_name_" * 40, IMAGE + 5), ("Dcrashk_res", resource), *others[many // 2 :], ("dinit_uts_ns", uts),
        ("Bkexec_crash_image", loaded), ("Dcrashk_res", uts + 3),
    ]  # fmt: skip
    add_symbols(kernel, symbols, way)
    return kernel


@each_way
@pytest.mark.parametrize("many", [0, 7, 4000])
def test_symbols_are_found(way: str, many: int) -> None:
    """Only whole names match, the first of two; also after a name of over 127 tokens, and across pages."""
    kernel = machine(way, many=many)
    found = find_symbols(kernel.memory(), kernel.info(), NAMES)
    assert found == {
        "crashk_res": int(kernel.keys["SYMBOL(its_crashk_res)"], 16),
        "kexec_crash_image": int(kernel.keys["SYMBOL(its_image)"], 16),
    }


@pytest.mark.parametrize("key", ["names", "num_syms", "token_table", "token_index", "offsets", "relative_base"])
def test_a_part_is_not_told(key: str) -> None:
    kernel = machine()
    del kernel.keys[f"SYMBOL(kallsyms_{key})"]
    with pytest.raises(KernelError):
        find_symbols(kernel.memory(), kernel.info(), NAMES)


def test_a_table_that_contradicts_vmcoreinfo() -> None:
    """If a known symbol's address is wrong, no address is used."""
    kernel = machine()
    kernel.keys["SYMBOL(init_uts_ns)"] = f"{IMAGE + 0x123450:x}"
    with pytest.raises(KernelError, match="disagrees"):
        find_symbols(kernel.memory(), kernel.info(), NAMES)


def test_a_table_without_data() -> None:
    """Kernels without CONFIG_KALLSYMS_ALL lack the known symbol: an error."""
    kernel = FakeKernel()
    add_symbols(kernel, [(f"tsymbol_{i}", IMAGE + i) for i in range(9)])
    with pytest.raises(KernelError, match="is incomplete"):
        find_symbols(kernel.memory(), kernel.info(), NAMES)


@pytest.mark.parametrize("count", [0, 1 << 24, 0xFFFFFFFF, 100000])
def test_an_impossible_number_of_symbols(count: int) -> None:
    """A wrong number of symbols is a typed error."""
    kernel = machine()
    kernel.source.write(
        kernel.image_physical(int(kernel.keys["SYMBOL(kallsyms_num_syms)"], 16)), struct.pack("<I", count)
    )
    kernel.source.write(kernel.image_physical(int(kernel.keys["SYMBOL(kallsyms_names)"], 16)), b"\1t" * 300)
    with pytest.raises(VmsieveError):
        find_symbols(kernel.memory(), kernel.info(), NAMES)


@pytest.mark.fuzz
@each_way
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1 << 32))
def test_damage_at_random(way: str, seed: int) -> None:
    """Random damage gives addresses or a typed error."""
    dice = random.Random(seed)
    kernel = machine(way, many=30)
    for _ in range(dice.randrange(1, 5)):
        part = dice.choice(["names", "num_syms", "token_table", "token_index", "offsets"])
        at = kernel.image_physical(int(kernel.keys[f"SYMBOL(kallsyms_{part})"], 16)) + dice.randrange(64)
        kernel.source.write(at, dice.choice([b"\xff", b"\0", b"\x80", dice.randbytes(4), b"\xff" * 8]))
    found = result_or_error(lambda: find_symbols(kernel.memory(), kernel.info(), NAMES))
    if isinstance(found, VmsieveError):
        return
    assert set(found) <= set(NAMES)
    assert all(0 <= address < 1 << 64 for address in found.values())


@each_way
def test_the_crash_kernels_memory(way: str) -> None:
    """The kernel's variables give the memory reserved for a crash kernel, or state that nothing is reserved."""
    kernel = machine(way)
    assert reserved(source(kernel.elf_core())) == ((Region(MIB, 2 * MIB),), "the kernel's crashk_res")
    for more, words in (({"image": 0}, "was loaded"), ({"crash": (0, 0)}, "was reserved")):
        with pytest.raises(KernelError, match=words):
            reserved(source(machine(way, **more).elf_core()))
    assert reserved(source(machine(way, crash=(1 << 62, (1 << 62) + MIB)).elf_core()))[0] == ()


def test_no_kernel_that_is_understood() -> None:
    """Without the variables nothing is reported."""
    assert reserved(source(CrashKernel().core())) == ((), "")
    kernel = machine()
    del kernel.keys["SYMBOL(kallsyms_names)"]
    assert reserved(source(kernel.elf_core())) == ((), "")


def test_a_crash_kernel_that_was_unloaded() -> None:
    """An unloaded crash kernel, still in memory, is not reported as loaded."""
    base = 0x9000000
    segments = {base: b"070701".ljust(PAGE, b"."), base + 2 * PAGE: b"\x7fELF\2\1\1".ljust(PAGE, b"\0")}
    loaded = CrashKernel(digest_at=-32, segments=segments, table_at=base + 5 * PAGE + 32)
    words = struct.pack("<32Q", *loaded.words())
    for image, state in ((1, INTACT), (0, UNKNOWN)):
        kernel = machine(crash=(base, base + 16 * PAGE - 1), image=image)
        for at, data in segments.items():
            kernel.source.write(at, data)
        kernel.source.write(base + 5 * PAGE, loaded.digest() + words)
        kernel.source.write(base + 15 * PAGE, bytes(PAGE))
        found = check_crash_kernel(source(kernel.elf_core()), (), "", Silent())
        assert found.state == state
