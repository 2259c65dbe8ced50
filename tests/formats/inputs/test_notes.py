"""ELF notes: built and read again, and read up to where they are damaged."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.notes import note, prstatus, vmcoreinfo
from vmsieve.formats.layouts import elf
from vmsieve.formats.notes import build_note, cpus, each_note, find_note, readable_size, without_note

VMCOREINFO = (b"VMCOREINFO", 0)
ORDERS = pytest.mark.parametrize("order", ["little", "big"])


@ORDERS
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.integers(0, 2**32 - 1), st.binary(max_size=20))))
def test_notes_come_back_as_they_were_built(order: str, notes: list[tuple[bytes, int, bytes]]) -> None:
    """Any name, type and descriptor; each starts at a multiple of 4 bytes."""
    area = b"".join(build_note(name, kind, descriptor, order) for name, kind, descriptor in notes)
    found = list(each_note(area, order))
    assert [(n.name, n.type, area[n.offset : n.offset + n.size]) for n in found] == [
        (name.rstrip(b"\0"), kind, descriptor) for name, kind, descriptor in notes
    ]
    assert all(n.end % 4 == 0 for n in found)
    assert readable_size(area, order) == len(area)


@ORDERS
def test_a_built_note_is_the_structure_of_the_headers(order: str) -> None:
    """Compared with a note packed by hand."""
    assert build_note(b"CORE", 1, b"12345", order) == note(b"CORE\0", 1, b"12345", order)
    assert build_note(b"VMCOREINFO", 0, b"A=1\n", order) == vmcoreinfo(b"A=1\n", order)


@given(st.binary(max_size=200), st.sampled_from(["little", "big"]))
def test_any_bytes_can_be_read_as_notes(area: bytes, order: str) -> None:
    """No error, and no read outside the area."""
    for found in each_note(area, order):
        assert found.offset + found.size <= found.end + 3 <= len(area) + 3
    assert 0 <= readable_size(area, order) <= len(area)
    cpus(area, order)
    place = find_note(area, order, VMCOREINFO)
    assert place is None or sum(place) <= len(area)


@given(st.integers(0, 400))
def test_cut_notes_keep_the_whole_ones(size: int) -> None:
    """The readable part ends with the last whole note, and includes zeros after it."""
    first, second = prstatus(1, b"r" * 80), vmcoreinfo(b"OSRELEASE=6\n")
    area = (first + second)[:size]
    whole = len(first + second) if size >= len(first + second) else len(first) if size >= len(first) else 0
    assert readable_size(area, "little") == (len(area) if not any(area[whole:]) else whole)


def test_a_descriptor_may_end_with_the_area() -> None:
    """The last descriptor's padding may be missing."""
    area = note(b"CORE\0", 1, bytes(112) + b"reg" + bytes(8))[:-1]
    assert [cpu.registers for cpu in cpus(area, "little")] == [b"reg"]


def test_the_first_text_that_is_not_empty_is_vmcoreinfo() -> None:
    """A kernel reserves the note before it fills it; other names or types are other notes."""
    area = vmcoreinfo(b"") + note(b"VMCOREINFO\0", 1, b"no") + note(b"VMCOREINFO_XEN\0", 0, b"no") + vmcoreinfo(b"X=1")
    place = find_note(area, "little", VMCOREINFO)
    assert place is not None
    assert area[place[0] : sum(place)] == b"X=1"
    assert find_note(struct.pack("<III", 0, 0, 0), "little", VMCOREINFO) is None


@pytest.mark.parametrize("order", ["little", "big"])
def test_notes_without_vmcoreinfo_keep_all_others(order: str) -> None:
    """A replacement must be the only VMCOREINFO; registers are unchanged."""
    before, after = prstatus(7, b"registers" * 8, order), note(b"LINUX\0", 5, b"x" * 9, order)
    text = vmcoreinfo(b"OSRELEASE=1\n", order)
    assert without_note(before + text + after + text, order, elf.NOTE_VMCOREINFO) == before + after
