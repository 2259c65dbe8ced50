"""The loops that count pages in the cells of a map, each compared with a slow twin."""

from __future__ import annotations

import random
from array import array

import pytest

from tests.filters.classify_kit import BACKENDS, kernel
from vmsieve.filters.loops.cells import CATEGORIES, count_cell_bits, count_cell_pages, counter_size
from vmsieve.formats.bitmap import address_of


def counters(cells: int, shift: int) -> array[int]:
    size = counter_size(shift)
    most = (1 << 8 * size) - 1
    assert most >= 1 << min(shift, 31), "a counter takes every page frame of a cell"
    return array({1: "B", 2: "H", 4: "I"}[size], [7] * (cells * CATEGORIES))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shift", [0, 1, 3, 7, 8, 15, 16, 18, 40])
def test_pages_are_counted_by_cell_and_category(backend: str, shift: int) -> None:
    """Pages anywhere in a block, of any class, zero or not, also above 2**63."""
    if backend == "jit":
        pytest.importorskip("numba")
    dice = random.Random(shift)
    for first in (0, 1 << 52, (1 << 64) - 512):
        classes = bytearray(dice.randbytes(256))
        bits = sorted(dice.sample(range(256), 100))
        pfns = array("Q", [first + bit for bit in bits])
        zeros = bytearray(dice.randrange(2) for _ in bits)
        table = bytearray(dice.randrange(CATEGORIES) for _ in range(512))
        found, expected = counters(256, shift), counters(256, shift)
        for bit, zero in zip(bits, zeros):
            expected[(bit >> shift) * CATEGORIES + table[zero * 256 + classes[bit]]] += 1
        result = kernel(count_cell_pages, backend)(
            address_of(classes), first, address_of(memoryview(pfns).cast("B")), address_of(zeros), len(bits),
            address_of(table), shift, address_of(memoryview(found).cast("B")),
        )  # fmt: skip
        assert result == 0
        assert found == expected


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shift", [0, 1, 3, 7, 8, 15, 16, 40])
def test_bits_are_counted_by_cell(backend: str, shift: int) -> None:
    """Any number of cells; those after the last one stay unchanged."""
    if backend == "jit":
        pytest.importorskip("numba")
    dice = random.Random(shift)
    for count in (0, 1, 7, 8, 9, 255, 256):
        bits = bytearray(dice.choice([0, 0xFF, dice.randrange(256)]) for _ in range(32))
        found, expected = counters(256, shift), counters(256, shift)
        for i in range(count):
            if bits[i >> 3] >> (i & 7) & 1:
                expected[(i >> shift) * CATEGORIES + 5] += 1
        arguments = (address_of(bits), count, 5, shift, address_of(memoryview(found).cast("B")))
        assert kernel(count_cell_bits, backend)(*arguments) == 0
        assert found == expected
