"""VMDUMP files: memory, registers, sparse giants, damage."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.build.memory_file import page_sets, ranges, read, source
from tests.build.s390_file import MIB, VMCOREINFO, machine
from tests.build.vmdump_file import PAGE, Vmdump, cpu, pages_of
from vmsieve.formats.errors import CorruptError, ReadError, TruncatedError, UnsupportedError

MEMORY = machine(20)
DUMP = Vmdump(pages_of(MEMORY), len(MEMORY))
WHOLE = DUMP.build()


def test_memory_is_as_written() -> None:
    """Every byte, including zero pages; reads of any alignment, and across the end of a key page (16 MiB)."""
    opened = source(WHOLE)
    assert (opened.machine, opened.byte_order, opened.page_size, opened.format) == (
        "s390x",
        "big",
        PAGE,
        "VMDUMP, 64big",
    )
    assert not opened.incomplete
    assert opened.remarks == []
    assert ranges(opened) == [(0, 20 * MIB, 20 * MIB)]
    assert read(opened, 0, len(MEMORY)) == MEMORY
    for at, size in ((5, 3), (PAGE - 2, 4), (16 * MIB - 5000, 9000), (2 * MIB - 100, MIB + 200), (MIB // 2 - 7, 30)):
        assert read(opened, at, size) == MEMORY[at : at + size]
    frames = set(range(len(MEMORY) // PAGE))
    assert page_sets(opened, PAGE, 1 << 13) == (frames, frames)


def test_pages_here_and_there() -> None:
    """Every other page of two distant groups, and a single one; all else is zero."""
    some = {
        pfn: bytes([pfn & 0xFF | 1]) * PAGE for pfn in [*range(0, 4096, 2), *range(5 * 4096 + 1, 6 * 4096, 2), 30000]
    }
    opened = source(Vmdump(some, 32768 * PAGE, cpus=1).build())
    for first in (0, 4000, 5 * 4096 - 3, 29990):
        expected = b"".join(some.get(pfn, bytes(PAGE)) for pfn in range(first, first + 20))
        assert read(opened, first * PAGE, 20 * PAGE) == expected
        assert read(opened, first * PAGE + 9, 3 * PAGE) == expected[9 : 9 + 3 * PAGE]


def test_memory_beyond_the_first_index_page() -> None:
    """600 GiB: the second index page follows the first one's key pages."""
    far = 512 << 18
    some = {7: b"a" * PAGE, far + 5: b"b" * PAGE}
    opened = source(Vmdump(some, 600 << 30, cpus=1).build())
    assert read(opened, 7 * PAGE, PAGE) == b"a" * PAGE
    assert read(opened, (far + 5) * PAGE, PAGE) == b"b" * PAGE
    assert opened.end() == (far + 6) * PAGE  # too many zeros to be plausible for a file of this size


def test_registers_come_from_the_information_record() -> None:
    """All processors; VMCOREINFO is read from memory."""
    opened = source(WHOLE)
    assert [one.registers[:208] for one in opened.cpus] == [
        cpu(i)["psw"] + cpu(i)["gprs"] + cpu(i)["acrs"] for i in range(2)
    ]
    for i in range(2):
        for name in ("crs", "fprs", "fpc", "timer", "clock", "prefix"):
            assert cpu(i)[name] in opened.notes
    assert opened.vmcoreinfo == VMCOREINFO
    assert opened.crash_time == 1700000000
    shown = {name: opened.header[name] for name in ("node", "cpu_model", "cpus_online", "pages")}
    assert shown == {
        "node": "LNXBOX", "cpu_model": "00012964, serial number 000000123456",
        "cpus_online": 2, "pages": len(DUMP.pages),
    }  # fmt: skip
    assert len(source(replace(DUMP, cpus=30).build()).cpus) == 30


def test_the_size_of_memory() -> None:
    """The highest requested range, otherwise the machine's defined size."""
    assert source(replace(DUMP, ranges=[(0, 5 * MIB - 1), (18 * MIB, 20 * MIB - 1)]).build()).end() == 20 * MIB
    assert source(replace(DUMP, ranges=[], record_info=9).build()).end() == 20 * MIB


@pytest.mark.parametrize("lacking", [1, PAGE, PAGE + 1, 300 * PAGE, len(DUMP.pages) * PAGE])
def test_a_torn_file_is_read_as_far_as_it_goes(lacking: int) -> None:
    """Pages are last and in order: those in the file are right."""
    opened = source(WHOLE[:-lacking])
    assert opened.incomplete
    missing = sorted(DUMP.pages)[-((lacking + PAGE - 1) // PAGE)]
    assert ranges(opened) == [(0, missing * PAGE, 20 * MIB)]
    assert read(opened, 0, missing * PAGE) == MEMORY[: missing * PAGE]
    with pytest.raises(ReadError) as caught:
        read(opened, missing * PAGE, PAGE)
    assert caught.value.offset == missing * PAGE


def test_a_file_that_ends_before_its_pages_is_refused() -> None:
    """Cut anywhere before: the places of pages are unknown then."""
    start = len(WHOLE) - len(DUMP.pages) * PAGE
    for size in (0x100, PAGE, 2 * PAGE + 5, 3 * PAGE, 5 * PAGE, start - 5000, start - 1):
        with pytest.raises(TruncatedError):
            source(WHOLE[:size])


@pytest.mark.parametrize(("kind", "why"), [(0, "31-bit"), (0x82, "old z/VM"), (7, "unknown")])
def test_other_formats_are_refused(kind: int, why: str) -> None:
    """With the detected format."""
    with pytest.raises(UnsupportedError, match=why):
        source(replace(DUMP, kind=kind).build())


def test_damaged_records() -> None:
    """Invalid maps and address spaces, bitmaps larger than memory, impossible sizes."""
    data = bytearray(WHOLE)
    data[PAGE] ^= 1
    with pytest.raises(CorruptError, match="file map"):
        source(bytes(data))
    data = bytearray(WHOLE)
    at = data.index("ASIZBK".encode("cp037"))
    data[at] ^= 1
    with pytest.raises(CorruptError, match="address space"):
        source(bytes(data))
    with pytest.raises(CorruptError, match="more memory"):
        source(replace(DUMP, ranges=[(0, MIB - 1)]).build())
    for last in ((1 << 60) - 1, 5):
        with pytest.raises(CorruptError, match="size of memory"):
            source(replace(DUMP, ranges=[(0, last)]).build())


def test_next_data_skips_zeros() -> None:
    """Searches of memory skip zeros, but no page with data."""
    some = {7: b"a" * PAGE, 9000: b"b" * PAGE}
    opened = source(Vmdump(some, 64 << 20, cpus=1).build())
    asked = (0, 6 * PAGE, 7 * PAGE, 7 * PAGE + 8, 8 * PAGE, 9000 * PAGE, 9001 * PAGE)
    found = [opened.next_data(at) for at in asked]
    assert found == [7 * PAGE, 7 * PAGE, 7 * PAGE, 7 * PAGE + 8, 9000 * PAGE, 9000 * PAGE, 64 << 20]
