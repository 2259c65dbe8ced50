"""ELF cores: the memory that unusual ones describe, and the errors of unusable ones."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.elf_core import DIRECT, Core, Load, core, loads
from tests.build.memory_file import page_sets, pages_in, ranges, read, source
from tests.build.notes import note, prstatus, vmcoreinfo
from tests.build.pages import PAGE, memory, parse
from tests.dumps import answers, dump
from vmsieve.formats.errors import FormatError, ReadError
from vmsieve.formats.inputs import Cpu, MemoryRange, VirtualRange, open_source

if TYPE_CHECKING:
    from pathlib import Path


NONE = (1 << 64) - 1
RECIPE = """
    @0x1000 fill 01020304
    @0x2000 fill 05 x3
    @0x8000 noise 1 x2
    @0xa000 exclude x2
    @0xc000 noise 2
"""
NOTES = prstatus(7, b"\x11" * 216) + vmcoreinfo(b"OSRELEASE=6.1\nPAGESIZE=4096\n") + prstatus(-2, b"\x22" * 216)
BIG_NOTES = prstatus(7, b"\x11" * 216, "big") + vmcoreinfo(b"OSRELEASE=6.1\nPAGESIZE=4096\n", "big")


@pytest.mark.parametrize(("order", "notes"), [("little", NOTES), ("big", BIG_NOTES)])
def test_both_byte_orders_give_the_same_memory(order: str, notes: bytes) -> None:
    """Ranges, bitmaps and every byte of a plain core equal its recipe."""
    opened = source(core(RECIPE, notes, order, 22))
    pages = memory(parse(RECIPE))
    assert (opened.machine, opened.byte_order, opened.page_size) == ("s390x", order, None)
    assert not opened.incomplete
    assert not opened.remarks
    assert ranges(opened) == [(0x1000, 0x5000, 0x5000), (0x8000, 0xA000, 0xC000), (0xC000, 0xD000, 0xD000)]
    assert opened.end() == 0xD000
    assert page_sets(opened, PAGE, 16) == (set(pages), {pfn for pfn, data in pages.items() if data is not None})
    for pfn, data in pages.items():
        if data is not None:
            assert read(opened, pfn * PAGE, PAGE) == data


@pytest.mark.parametrize(
    ("number", "order", "name"),
    [
        (62, "little", "x86_64"), (183, "little", "aarch64"), (21, "little", "ppc64le"), (21, "big", "ppc64"),
        (22, "big", "s390x"), (243, "little", "riscv64"), (258, "little", "loongarch64"),
    ],
)  # fmt: skip
def test_machines_are_named_as_uname_does(number: int, order: str, name: str) -> None:
    """e_machine and the byte order determine the machine."""
    assert source(core(RECIPE, order=order, machine=number)).machine == name


def test_an_unknown_machine_has_a_remark() -> None:
    """A core of an unknown machine opens, so that its bytes can be read."""
    opened = source(core(RECIPE, machine=9999))
    assert (opened.machine, opened.machine_number) == (None, 9999)
    assert opened.remarks == ["machine number 9999 is unknown"]


def test_notes_give_processors_and_vmcoreinfo() -> None:
    """Registers are raw, processors count from 0, pids are signed."""
    opened = source(core(RECIPE, NOTES))
    assert opened.cpus == (Cpu(0, 7, b"\x11" * 216), Cpu(1, -2, b"\x22" * 216))
    assert opened.vmcoreinfo == b"OSRELEASE=6.1\nPAGESIZE=4096\n"
    assert opened.notes == NOTES


def test_several_note_segments_are_joined() -> None:
    """/proc/vmcore has one note segment; other writers one per processor, unpadded at its end."""
    parts = (prstatus(1, b"a" * 8), vmcoreinfo(b"X=1")[:-1], prstatus(2, b"b" * 8))
    opened = source(Core([Load(0, b"x" * PAGE)], parts).build())
    assert [cpu.pid for cpu in opened.cpus] == [1, 2]
    assert opened.vmcoreinfo == b"X=1"
    assert not opened.remarks


def test_zeros_between_notes_are_passed_over() -> None:
    """Unused note space of a processor does not hide the notes after it."""
    notes = prstatus(1, b"a" * 8) + bytes(400) + prstatus(2, b"b" * 8) + bytes(100)
    opened = source(core(RECIPE, notes))
    assert [cpu.pid for cpu in opened.cpus] == [1, 2]
    assert not opened.remarks


def test_kernel_text_that_overlaps_has_no_remark() -> None:
    """Both kexec loaders describe the kernel's text twice: ranges are disjoint, both mappings are kept."""
    whole = b"".join(page.data for page in parse("@0 noise 3 x16"))
    text = Load(0x4000, whole[0x4000:0x8000], vaddr=0xFFFFFFFF81000000)
    for segments in ([text, Load(0, whole)], [Load(0, whole), text]):
        opened = source(Core(segments, (NOTES,)).build())
        assert ranges(opened) == [(0, 0x10000, 0x10000)]
        assert set(opened.virtual) == {
            VirtualRange(0xFFFFFFFF81000000, 0x4000, 0x4000), VirtualRange(DIRECT, 0, 0x10000),
        }  # fmt: skip
        assert not opened.remarks
        assert read(opened, 0, 0x10000) == whole


def test_of_contradicting_segments_the_first_holds() -> None:
    """Of contradicting segments the first is used, as in makedumpfile, with a remark: no known writer makes them."""
    segments = [Load(0x2000, b"a" * 0x2000), Load(0, b"b" * 0x8000), Load(0x1000, b"c" * 0x1000)]
    opened = source(Core(segments, (NOTES,)).build())
    assert read(opened, 0, 0x8000) == b"b" * 0x2000 + b"a" * 0x2000 + b"b" * 0x4000
    assert opened.remarks == ["12288 bytes of memory are described more than once; the first description holds"]


def test_virtual_neighbours_are_joined() -> None:
    """Header order is kept; a virtual address of 0 means unknown."""
    segments = [
        Load(0x9000, b"a" * PAGE, vaddr=0x7000), Load(0x1000, b"a" * PAGE, vaddr=0x5000),
        Load(0x2000, b"a" * PAGE, vaddr=0x6000), Load(0x4000, b"a" * PAGE, vaddr=0),
    ]  # fmt: skip
    opened = source(Core(segments, (NOTES,)).build())
    assert opened.virtual == (VirtualRange(0x7000, 0x9000, PAGE), VirtualRange(0x5000, 0x1000, 2 * PAGE))


def test_program_headers_are_read_from_e_phoff_of_qemu() -> None:
    """QEMU up to 8.0: e_ehsize 8, program headers at 192, meaningless section fields."""
    parts = Core(loads(parse(RECIPE)), (NOTES,), ehsize=8, phoff=192, sections=(64, 2, 1), shoff=64)
    opened = source(parts.build())
    assert ranges(opened) == ranges(source(core(RECIPE, NOTES)))
    assert not opened.remarks


@pytest.mark.parametrize("order", ["little", "big"])
def test_more_segments_than_the_header_can_count(order: str) -> None:
    """PN_XNUM: 70,000 segments, counted in section header 0."""
    segments = [Load(i * 0x2000, bytes([i & 0xFF]) * 16, PAGE) for i in range(70_000)]
    opened = source(Core(segments, order=order, extended=True).build())
    assert sum(1 for _ in opened.ranges()) == 70_000
    assert read(opened, 69_999 * 0x2000, 17) == bytes([69_999 & 0xFF]) * 16 + b"\0"


def test_few_segments_may_be_counted_in_a_section_header_too() -> None:
    """PN_XNUM may be used for few segments too."""
    assert ranges(source(Core([Load(0, b"x" * PAGE)], extended=True).build())) == [(0, PAGE, PAGE)]


def test_larger_program_headers_are_stepped_over() -> None:
    """e_phentsize is the distance between headers, which may exceed the known size."""
    assert ranges(source(Core(loads(parse(RECIPE)), phentsize=72).build())) == ranges(source(core(RECIPE)))


def test_segments_without_a_physical_address_are_passed_over() -> None:
    """p_paddr of all ones: a virtual mapping only."""
    opened = source(Core([Load(NONE, b"v" * PAGE, vaddr=1 << 47), Load(0x1000, b"p" * PAGE)], (NOTES,)).build())
    assert ranges(opened) == [(0x1000, 0x2000, 0x2000)]
    assert opened.virtual == (VirtualRange(DIRECT + 0x1000, 0x1000, PAGE),)
    assert not opened.remarks


def test_pages_held_in_part_are_there_and_read_as_zeros_beyond() -> None:
    """At the start and the end of a segment, and where stored memory ends in the middle of a page."""
    opened = source(Core([Load(0x1C00, b"a" * 0x1000), Load(0x5000, b"b" * 0x1400, 0x2800)], (NOTES,)).build())
    assert page_sets(opened, PAGE, 16) == ({1, 2, 5, 6, 7}, {1, 2, 5, 6})
    assert read(opened, 0x1000, 0x2000) == bytes(0xC00) + b"a" * 0x1000 + bytes(0x400)
    assert read(opened, 0x6000, 0x1000) == b"b" * 0x400 + bytes(0xC00)
    assert read(opened, 0x6800, 8) == bytes(8)
    assert list(opened.ranges())[1] == MemoryRange(0x5000, 0x7800, 0x6400)


def test_the_kernels_page_size_limits_partial_pages() -> None:
    """Of a 64 KiB page the stored part is given; the next 64 KiB are not memory."""
    opened = source(Core([Load(0x11000, b"a" * 0x1000)], (vmcoreinfo(b"PAGESIZE=65536\n"),)).build())
    assert read(opened, 0x10000, 0x10000) == bytes(0x1000) + b"a" * 0x1000 + bytes(0xE000)
    with pytest.raises(ReadError) as caught:
        read(opened, 0x10000, 0x10001)
    assert caught.value.offset == 0x20000


def test_left_out_memory_among_stored_memory_reads_as_zeros() -> None:
    """A reader may request a span that includes unwanted pages."""
    opened = source(core(RECIPE, NOTES))
    pages = memory(parse(RECIPE))
    assert read(opened, 0x8000, 0x5000) == b"".join(pages[pfn] or bytes(PAGE) for pfn in range(8, 13))


@pytest.mark.parametrize(
    ("paddr", "size", "at", "why"),
    [
        (0xA000, 0x2000, 0xA000, "left out"),
        (0xAFF8, 16, 0xAFF8, "left out"),
        (0x0, 8, 0x0, "no such"),
        (0x4000, 0x1001, 0x5000, "no such"),
        (0x4000, 0x5000, 0x5000, "no such"),
        (0xCFFF, 2, 0xD000, "no such"),
        (1 << 60, 8, 1 << 60, "no such"),
        (NONE - 7, 8, NONE - 7, "no such"),
    ],
)
def test_memory_that_is_not_there_is_an_error_with_its_address(paddr: int, size: int, at: int, why: str) -> None:
    """Pages that were left out, and addresses that are not memory."""
    with pytest.raises(ReadError, match=why) as caught:
        read(source(core(RECIPE, NOTES)), paddr, size)
    assert caught.value.offset == at


def test_makedumpfiles_mark_of_an_incomplete_core() -> None:
    """The mark is bit 0 of e_flags."""
    assert source(Core(loads(parse(RECIPE)), (NOTES,), flags=1).build()).incomplete
    assert not source(Core(loads(parse(RECIPE)), (NOTES,), flags=2).build()).incomplete


def test_notes_of_other_kinds_are_kept_but_not_understood() -> None:
    """Floating point registers, QEMU's CPU state, and an NT_PRSTATUS that is too short."""
    notes = note(b"CORE\0", 2, b"f" * 512) + note(b"QEMU\0", 0, b"q" * 40) + note(b"CORE\0", 1, b"s" * 120)
    opened = source(core(RECIPE, notes))
    assert opened.cpus == ()
    assert opened.notes == notes


UNIT = 0x400
SEGMENTS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20), st.integers(0, 12)), min_size=1, max_size=8)


@settings(deadline=None, max_examples=300)
@given(SEGMENTS, st.integers(0, 4))
def test_any_segments_against_a_map_of_bytes(shape: list[tuple[int, int, int]], lacking: int) -> None:
    """Ranges, bitmaps and bytes of overlapping, unaligned and truncated segments equal a slow bytewise model's."""
    segments = [
        Load(first * UNIT, bytes([i + 1]) * (stored * UNIT), (stored + tail) * UNIT, vaddr=0)
        for i, (first, stored, tail) in enumerate(shape)
    ]
    whole = Core(segments, (vmcoreinfo(b"PAGESIZE=4096\n"),)).build()
    offset = len(whole) - sum(len(s.data) for s in segments)
    data = whole[: max(offset, len(whole) - lacking * UNIT)]
    exists: set[int] = set()
    content: dict[int, int] = {}
    for i, segment in enumerate(segments):
        base = segment.paddr // UNIT
        exists |= set(range(base, base + (segment.memsz or 0) // UNIT))
        there = max(0, min(len(segment.data), len(data) - offset)) // UNIT
        offset += len(segment.data)
        for unit in range(base, base + there):
            content.setdefault(unit, i + 1)
    try:
        opened = source(data)
    except FormatError:
        assert not any(s.paddr for s in segments if s.memsz)  # no memory, or a process's
        return
    found = list(opened.ranges())
    assert {u for r in found for u in range(r.start // UNIT, r.end // UNIT)} == exists
    assert {u for r in found for u in range(r.start // UNIT, r.stored_end // UNIT)} == set(content)
    assert all(a.end < b.start or (a.end == b.start and a.stored_end < a.end) for a, b in zip(found, found[1:]))
    assert opened.end() == (max(exists) + 1) * UNIT
    spans = [(r.start, r.end) for r in found]
    stored = [(r.start, r.stored_end) for r in found if r.stored_end > r.start]
    for page_size in (PAGE, 4 * PAGE):
        assert page_sets(opened, page_size, 128) == (pages_in(spans, page_size), pages_in(stored, page_size))
    for pfn in range(28):
        units = range(pfn * 4, pfn * 4 + 4)
        if any(u in content for u in units):
            assert read(opened, pfn * PAGE, PAGE) == b"".join(bytes([content.get(u, 0)]) * UNIT for u in units)
        else:
            with pytest.raises(ReadError) as caught:
                read(opened, pfn * PAGE, PAGE)
            assert caught.value.offset == pfn * PAGE
            assert ("left out" in str(caught.value)) == any(u in exists for u in units)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("aarch64-6.1-live", NONE), ("ppc64le-6.1-kdump", NONE), ("x86_64-6.1-kdump", NONE),
        ("x86_64-7.2-live", 1 << 29),
    ],
)  # fmt: skip
def test_the_memory_of_real_dumps_is_what_makedumpfile_sees(name: str, end: int, scratch: Path) -> None:
    """Bitmap 1 of each real dump, bit for bit; all existing pages are stored.

    makedumpfile leaves out memory without a struct page: firmware above ``end``.
    """
    expected = answers(name)
    opened = open_source(str(dump(f"{name}.elf", scratch)))
    size = expected["page_size"]
    pages = -(-min(opened.end(), end) // size)
    exists, stored = opened.memory_bits(0, -(-pages // 8) * 8, size)
    assert hashlib.sha256(bytes(exists).rstrip(b"\0")).hexdigest() == expected["levels"]["0"]["bitmap1_sha256"]
    assert exists == stored
    assert opened.machine == name.split("-", maxsplit=1)[0]
    assert opened.cpus
    assert opened.vmcoreinfo is not None
    assert opened.vmcoreinfo.startswith(b"OSRELEASE=")
    assert not opened.remarks
    opened.close()
