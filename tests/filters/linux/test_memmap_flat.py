"""FLATMEM: from the flat array to runs of struct pages."""

from __future__ import annotations

import struct

import pytest

from tests.build.kernel import DIRECT, FakeKernel
from vmsieve.filters.linux.arch.x86_64 import ARCH
from vmsieve.filters.linux.memmap import Run, open_memmap
from vmsieve.formats.errors import KernelError, ReadError


def test_flatmem_is_one_run() -> None:
    kernel = FakeKernel()
    kernel.static("mem_map", struct.pack("<Q", DIRECT + 0x4000000))
    kernel.keys["SIZE(page)"] = "56"
    found = open_memmap(kernel.memory(), kernel.info(), ARCH, 1000)
    assert (found.model, found.struct_page_size, found.end_pfn) == ("flatmem", 56, 1000)
    assert list(found.runs(10, 20)) == [Run(10, 10, DIRECT + 0x4000000 + 560)]


def test_flatmem_may_begin_above_zero() -> None:
    kernel = FakeKernel()
    kernel.static("mem_map", struct.pack("<Q", DIRECT))
    kernel.keys["SIZE(page)"] = "64"
    memory = kernel.memory()
    memory.translator.flat_first_pfn = 100
    assert list(open_memmap(memory, kernel.info(), ARCH, 300).runs()) == [Run(100, 200, DIRECT)]
    assert list(open_memmap(memory, kernel.info(), ARCH, 100).runs()) == []


def test_flatmem_may_begin_below_zero() -> None:
    """arm64 with KASLR moves its linear map so that memory starts "before" physical address 0."""
    kernel = FakeKernel()
    kernel.static("mem_map", struct.pack("<Q", DIRECT - 100 * 64))
    kernel.keys["SIZE(page)"] = "64"
    memory = kernel.memory()
    memory.translator.flat_first_pfn = -100
    assert list(open_memmap(memory, kernel.info(), ARCH, 300).runs()) == [Run(0, 300, DIRECT)]


def test_a_flat_map_that_is_nowhere_is_an_error() -> None:
    kernel = FakeKernel()
    kernel.static("mem_map", struct.pack("<Q", 0))
    kernel.keys["SIZE(page)"] = "64"
    with pytest.raises(KernelError, match="mem_map"):
        open_memmap(kernel.memory(), kernel.info(), ARCH, 300)
    kernel.keys["SYMBOL(mem_map)"] = f"{DIRECT + (1 << 29):x}"
    with pytest.raises(ReadError):
        open_memmap(kernel.memory(), kernel.info(), ARCH, 300)
