"""Candidates for kallsyms and BTF: found anywhere in memory in one pass, likely areas first."""

from __future__ import annotations

import random
import struct

import pytest

from tests.build.kernel import IMAGE, PAGE, FakeKernel, FakeSource, NoFile
from vmsieve.filters.linux.arch import find
from vmsieve.filters.linux.btf import magic
from vmsieve.filters.linux.candidates import Candidates, likely_areas
from vmsieve.filters.linux.kallsyms_search import DIGITS
from vmsieve.formats.inputs import VirtualRange
from vmsieve.formats.notes import build_note

MIB = 1 << 20


def memory(pieces: dict[int, bytes], order: str = "little", size: int = 3 * MIB) -> FakeSource:
    """Memory with bytes at physical addresses."""
    data = bytearray(size)
    for at, piece in pieces.items():
        data[at : at + len(piece)] = piece
    pages = {i: data[i * PAGE : (i + 1) * PAGE] for i in range(size // PAGE)}
    return FakeSource(NoFile(), "made up", "x86_64", order, pages=pages)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("shift", range(8))
def test_signs_are_found_wherever_they_lie(order: str, shift: int) -> None:
    """Digits at any address and BTF at multiples of 4 are found, also across pieces of memory; nothing else is."""
    at = MIB - 16 + shift
    types = 2 * MIB - 20 + shift * 4
    made = memory({
        500 + shift: DIGITS, at: DIGITS, types: magic(order), 4096: DIGITS[:-1], 5000: magic(order)[:4] + b"\xff" * 8,
        6000: b"0\x001\x002\x004\0" * 4, 7002: magic(order), 3 * MIB - len(DIGITS): DIGITS,
    }, order)  # fmt: skip
    candidates = Candidates(made, [])
    assert list(candidates.types()) == [types]
    assert list(candidates.digits()) == [500 + shift, at, 3 * MIB - len(DIGITS)]
    assert list(candidates.types()) == [types]


def test_likely_places_come_first_and_once() -> None:
    """Memory is read only as far as the requested candidates need."""
    made = memory({100: DIGITS, 2 * MIB + 100: DIGITS, 2 * MIB + 200: magic("little")})
    candidates = Candidates(made, [(2 * MIB, 3 * MIB)])
    digits = candidates.digits()
    assert next(digits) == 2 * MIB + 100
    reads = made.reads
    assert next(candidates.types()) == 2 * MIB + 200
    assert made.reads == reads
    assert list(digits) == [100]
    assert list(candidates.digits()) == [2 * MIB + 100, 100]


def test_a_flood_of_signs_comes_to_an_end() -> None:
    """The number of candidates is bounded."""
    made = memory({0: (DIGITS + b"x" * 5) * 30000, MIB: (magic("little") + bytes(4)) * 60000})
    candidates = Candidates(made, [])
    assert len(list(candidates.digits())) == len(list(candidates.types())) == 64


def registers(cr3: int, cr4: int = 0) -> bytes:
    """QEMU's note of a processor (struct QEMUCPUState): 18 registers, 10 segments, CR0 to CR4, one more."""
    return build_note(
        b"QEMU", 0, struct.pack("<2I", 1, 440) + bytes(384) + struct.pack("<6Q", 1, 0, 0, cr3, cr4, 0), "little"
    )


@pytest.mark.parametrize("levels", [4, 5])
def test_a_processors_registers_locate_the_image(levels: int) -> None:
    """A processor's page tables, user ones too, locate the kernel image; damaged registers do not."""
    kernel = FakeKernel(levels=levels, phys_base=0x1200000)
    physical = kernel.memory().physical
    flag = (levels == 5) << 12
    dice = random.Random(1)
    for notes in (registers(kernel.root, flag), registers(3 << 50) + registers(kernel.root | 0x1000 | 0x63, flag)):
        physical.source.notes = notes
        if kernel.root & 0x1000 and notes != registers(kernel.root, flag):
            continue
        ((start, end),) = likely_areas(physical, find("x86_64"))
        assert start <= kernel.image_physical(IMAGE) < end
        assert end - start <= 8 * MIB
    for _ in range(50):
        physical.source.notes = registers(dice.getrandbits(64), dice.getrandbits(64))
        list(likely_areas(physical, find("x86_64")))
    for cut in range(0, 480, 37):
        physical.source.notes = registers(kernel.root)[:cut]
        assert list(likely_areas(physical, find("x86_64"))) == []


def test_the_headers_locate_the_image() -> None:
    """The highest mapping in the kernel's half is taken for the kernel image, unless it is too large."""
    physical = FakeKernel().memory().physical
    physical.source.virtual = (VirtualRange(0xFFFF888000000000, 0, 1 << 40), VirtualRange(IMAGE, 0x1000000, 0x200000))
    assert list(likely_areas(physical, find("aarch64"))) == [(0x1000000, 0x1200000)]
    physical.source.virtual = physical.source.virtual[:1]
    assert list(likely_areas(physical, find("aarch64"))) == []
