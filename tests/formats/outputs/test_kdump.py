"""kdump-compressed files: every field, every page, both byte orders, and torn ones."""

from __future__ import annotations

import pytest

from tests.formats.output_kit import NOTES, PAGE, VMCOREINFO, ZLIB, ZLIB_FLAG, Kdump, Medium, Memory, page, write
from vmsieve.formats.errors import OutputError
from vmsieve.formats.outputs import output_format
from vmsieve.formats.outputs.kdump import KdumpWriter

INCOMPLETE = 8
ORDERS = pytest.mark.parametrize(("byte_order", "order"), [("little", "<"), ("big", ">")])


def _memory(**more: object) -> Memory:
    """Memory with a hole, dropped pages, pages of zeros, pages that pack and one that does not."""
    exists = set(range(3, 700)) | set(range(5000, 5100))
    pages: dict[int, bytes | None] = {pfn: page(pfn) for pfn in exists if pfn % 3}
    pages |= {pfn: bytes(PAGE) for pfn in pages if pfn % 5 == 0}
    pages[5099] = bytes(range(256)) * 16
    return Memory(exists, pages, more=dict(more))


def _written(memory: Memory, medium: Medium | None = None, **more: object) -> Medium:
    medium = medium or Medium()
    write(KdumpWriter(memory.description(codec=ZLIB, **more), medium), memory, packed=True)
    return medium


@ORDERS
def test_reads_back_page_by_page_in_both_byte_orders(byte_order: str, order: str) -> None:
    memory = _memory()
    dump = Kdump(bytes(_written(memory, byte_order=byte_order).data), order)
    assert dump.pages() == memory.pages
    assert set(dump.bits(0)) == memory.exists
    assert dump.status == ZLIB_FLAG


@ORDERS
def test_every_header_field_is_what_the_description_says(byte_order: str, order: str) -> None:
    memory = _memory()
    medium = _written(
        memory, byte_order=byte_order, utsname=("Linux", "host", "6.0", "#1", "s390x", "x" * 99), crash_time=1234567890,
        phys_base=-0x1000, dump_level=31, cpus=3, vmcoreinfo=VMCOREINFO,
    )  # fmt: skip
    dump = Kdump(bytes(medium.data), order)
    notes = PAGE + 104
    assert (dump.signature, dump.version, dump.block, dump.cpus, dump.seconds) == (b"KDUMP   ", 6, PAGE, 3, 1234567890)
    assert dump.utsname == ["Linux", "host", "6.0", "#1", "s390x", "x" * 64]
    assert (dump.sub_blocks, dump.bitmap_blocks, dump.max_mapnr) == (1, 2, 5100)
    assert dump.sub == (
        2**64 - 0x1000, 31, 0, 0, 0, notes + VMCOREINFO[0], VMCOREINFO[1], notes, len(NOTES), 0, 0, 0, 0, 5100
    )  # fmt: skip
    assert medium.data[notes : notes + len(NOTES)] == NOTES
    assert medium.data[dump.sub[5] :][:20].startswith(b"OSRELEASE=")


@pytest.mark.parametrize("known", ["Unknown", "", "toaster"])
def test_the_machine_is_named_though_the_kernels_name_does_not(known: str) -> None:
    """In QEMU's labels, the detected machine replaces the unknown one; unknown fields keep the input's text."""
    names = ("Linux", "host", "6.0", "#1", known, "(none)")
    dump = Kdump(bytes(_written(_memory(), utsname=names, machine="s390x").data))
    assert dump.utsname == [*names[:4], "s390x", "(none)"]


def test_zero_pages_share_one_block_in_front_of_the_data() -> None:
    memory = Memory({0, 1, 2}, {0: bytes(PAGE), 1: bytes(PAGE), 2: page(2)})
    medium = _written(memory)
    data = Kdump(bytes(medium.data)).descriptors + 3 * 24
    assert medium.data[data : data + PAGE] == bytes(PAGE)
    assert len(medium.data) < data + 2 * PAGE
    assert Kdump(bytes(medium.data)).pages() == memory.pages


def test_there_is_no_shared_block_when_zero_pages_are_stored() -> None:
    memory = Memory({0}, {0: page(1)}, skip_zero=False)
    medium = Medium()
    write(KdumpWriter(memory.description(), medium), memory, packed=False)
    assert len(medium.data) == Kdump(bytes(medium.data)).descriptors + 24 + PAGE
    assert Kdump(bytes(medium.data)).status == 0


def test_a_zero_page_without_a_shared_block_is_refused_and_not_lost() -> None:
    memory = Memory({0}, {0: bytes(PAGE)})
    with pytest.raises(AssertionError, match="zero pages"):
        _written(memory, dump_level=30)


def test_big_pages_and_notes_longer_than_one_block() -> None:
    size = 65536
    memory = Memory({7, 9}, {9: page(9, size)}, page_size=size)
    notes = NOTES + bytes(70000)
    dump = Kdump(bytes(_written(memory, notes=notes).data))
    assert (dump.block, dump.sub_blocks, dump.bitmap_blocks) == (size, 2, 2)
    assert dump.pages() == memory.pages
    assert dump.data[dump.sub[7] :][: len(notes)] == notes


def test_memory_that_lies_far_apart_leaves_holes_in_the_bitmaps() -> None:
    far = 1 << 24
    memory = Memory({0, far}, {0: page(0), far: page(far)})
    medium = _written(memory, block=1 << 18)
    dump = Kdump(bytes(medium.data))
    assert dump.pages() == memory.pages
    assert set(dump.bits(0)) == memory.exists
    assert medium.total() < far // 8


def test_a_machine_without_kept_pages_is_a_whole_dump() -> None:
    dump = Kdump(bytes(_written(Memory({5}, {})).data))
    assert (dump.pages(), dump.status) == ({}, ZLIB_FLAG)


def test_a_page_that_could_not_be_read_is_missing_and_the_dump_incomplete() -> None:
    memory = _memory()
    memory.pages = {**memory.pages, 100: None, 5098: None}
    dump = Kdump(bytes(_written(memory).data))
    assert dump.pages() == memory.pages
    assert dump.status == ZLIB_FLAG | INCOMPLETE


def test_no_byte_is_put_twice() -> None:
    _written(_memory()).check_puts()


def test_more_pages_than_announced_are_refused_before_they_overwrite_data() -> None:
    memory = _memory()
    writer = KdumpWriter(memory.description(codec=ZLIB), Medium())
    writer.begin()
    for batch in memory.batches(packed=True):
        writer.pages(batch)
    with pytest.raises(AssertionError, match="announced"):
        writer.pages(batch)


def test_fewer_pages_than_announced_are_no_complete_dump() -> None:
    medium = Medium()
    writer = KdumpWriter(_memory().description(codec=ZLIB), medium)
    writer.begin()
    with pytest.raises(AssertionError, match="announced"):
        writer.end(complete=True)
    writer.end(complete=False)
    assert Kdump(bytes(medium.data)).status & INCOMPLETE


@pytest.mark.parametrize("settled", [True, False], ids=["disk full", "killed"])
def test_torn_anywhere_it_reads_as_incomplete_and_points_at_nothing_that_is_not_there(settled: bool) -> None:
    memory = Memory(set(range(40)), {pfn: bytes(PAGE) if pfn % 4 == 0 else page(pfn) for pfn in range(40)})
    whole = _written(memory)
    stops = set(range(0, whole.total(), 97)) | {whole.total() - 1}
    found = set()
    for room in sorted(stops):
        medium = Medium(room)
        writer = KdumpWriter(memory.description(codec=ZLIB), medium)
        try:
            writer.begin()
            for batch in memory.batches(packed=True):
                writer.pages(batch)
            raise AssertionError("there was room")
        except OutputError:
            if settled:
                writer.end(complete=False)
        if len(medium.data) < 464:
            continue
        dump = Kdump(bytes(medium.data).ljust(2 * PAGE, b"\0"))
        assert dump.status == ZLIB_FLAG | INCOMPLETE
        if len(medium.data) < dump.descriptors:
            continue
        pages = dump.pages()
        assert all(content in (None, memory.pages[pfn]) for pfn, content in pages.items())
        found.add(sum(content is not None for content in pages.values()))
    assert {0, 7, 35} <= found


def test_the_format_is_found_by_its_name() -> None:
    kdump = output_format("kdump")
    assert (kdump.packed, kdump.sequential) == (True, False)
