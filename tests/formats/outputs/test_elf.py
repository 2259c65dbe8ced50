"""ELF files: every page is described, kept ones are stored, addresses are preserved, and a torn file is marked."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.output_kit import NOTES, PAGE, Bits, Elf, Load, Medium, Memory, page, write
from vmsieve.formats.errors import OutputError
from vmsieve.formats.inputs import VirtualRange
from vmsieve.formats.outputs import output_format
from vmsieve.formats.outputs._segments import ALIASES, GAP, segments
from vmsieve.formats.outputs._unread import MARK
from vmsieve.formats.outputs.elf import ElfWriter

ORDERS = pytest.mark.parametrize(("byte_order", "order"), [("little", "<"), ("big", ">")])
DIRECT = 0xFFFF888000000000
TEXT = 0xFFFFFFFF81000000


def _memory(**more: object) -> Memory:
    """Memory with a hole, a long and a short run of dropped pages, and pages of zeros."""
    exists = set(range(3, 2000)) | set(range(5000, 5100))
    kept = set(range(3, 40)) | set(range(60, 300)) | set(range(900, 1000)) | set(range(5000, 5050))
    pages = {pfn: bytes(PAGE) if pfn % 5 == 0 else page(pfn) for pfn in kept}
    return Memory(exists, pages, more=dict(more))


def _written(memory: Memory, medium: Medium | None = None, **more: object) -> Medium:
    medium = medium or Medium()
    write(ElfWriter(memory.description(**more), medium), memory, packed=False)
    return medium


@ORDERS
def test_reads_back_page_by_page_in_both_byte_orders(byte_order: str, order: str) -> None:
    memory = _memory()
    dump = Elf(bytes(_written(memory, byte_order=byte_order).data), order)
    for pfn in memory.exists:
        content = dump.page(pfn)
        if pfn in memory.pages:
            assert content == memory.pages[pfn]
        else:
            assert content is None
    for pfn in (0, 2, 2000, 4999, 5100):
        with pytest.raises(KeyError):
            dump.page(pfn)
    assert (dump.type, dump.flags, dump.notes) == (4, 0, NOTES)


def test_segments_end_where_dropped_pages_begin() -> None:
    medium = _written(_memory())
    dump = Elf(bytes(medium.data))
    seen = [(x.paddr // PAGE, x.stored // PAGE, x.size // PAGE) for x in dump.loads]
    assert seen == [(3, 37, 57), (60, 240, 840), (900, 100, 1100), (5000, 50, 100)]
    assert dump.page(50) is None
    assert dump.page(500) is None
    holes = [pfn for pfn in range(3, 300) if pfn in (50, 55) or pfn % 5 == 0]
    stored_at = dump.loads[0].offset
    for pfn in holes:
        at = stored_at + (pfn - 3) * PAGE
        assert not any(start < at + PAGE and at < end for start, end in medium.puts), f"page {pfn} was put"


def test_stored_pages_lie_on_page_boundaries_so_that_holes_take_no_room() -> None:
    dump = Elf(bytes(_written(_memory()).data))
    assert all(load.offset % PAGE == 0 for load in dump.loads)


def test_zeros_at_the_end_need_no_bytes_but_belong_to_the_file() -> None:
    memory = Memory({0, 1}, {0: page(1), 1: bytes(PAGE)})
    medium = _written(memory)
    assert max(end for _, end in medium.puts) == len(medium.data) - PAGE
    assert Elf(bytes(medium.data)).page(1) == bytes(PAGE)


def test_memory_that_was_dropped_whole_is_told_without_bytes() -> None:
    dump = Elf(bytes(_written(Memory(set(range(400)), {399: page(399)})).data))
    assert [(x.paddr, x.stored, x.size) for x in dump.loads] == [(0, 0, 399 * PAGE), (399 * PAGE, PAGE, PAGE)]


def test_every_page_has_the_address_of_the_mapping_it_lies_in_and_segments_split_where_addresses_jump() -> None:
    virtual = (
        VirtualRange(DIRECT + 3 * PAGE, 3 * PAGE, 97 * PAGE),
        VirtualRange(0xC000000000000000 + 100 * PAGE, 100 * PAGE, 200 * PAGE),
    )
    memory = Memory(set(range(400)), {pfn: page(pfn) for pfn in range(400)})
    dump = Elf(bytes(_written(memory, virtual=virtual).data))
    assert [(x.paddr // PAGE, x.vaddr - x.paddr, x.stored // PAGE) for x in dump.loads] == [
        (0, 0, 3), (3, DIRECT, 97), (100, 0xC000000000000000, 200), (300, 0, 100),
    ]  # fmt: skip
    assert all(dump.page(pfn) == page(pfn) for pfn in range(400))


def _text_dump(kept: set[int]) -> Elf:
    virtual = (
        VirtualRange(TEXT, 1024 * PAGE, 1000 * PAGE),
        VirtualRange(DIRECT + PAGE, PAGE, 3999 * PAGE),
    )
    memory = Memory(set(range(1, 4000)), {pfn: page(pfn) for pfn in kept})
    return Elf(bytes(_written(memory, virtual=virtual).data))


def test_kernel_text_is_a_second_mapping_of_the_same_bytes() -> None:
    dump = _text_dump(set(range(1, 4000)))
    direct, text = dump.loads
    assert (direct.vaddr, direct.paddr, direct.stored) == (DIRECT + PAGE, PAGE, 3999 * PAGE)
    assert text == Load(direct.offset + 1023 * PAGE, TEXT, 1024 * PAGE, 1000 * PAGE, 1000 * PAGE)
    assert dump.at(text, 1500 * PAGE, PAGE) == page(1500)


def test_kernel_text_with_dropped_pages_is_one_mapping() -> None:
    kept = set(range(1, 4000)) - set(range(1300, 1700)) - set(range(1900, 3000))
    dump = _text_dump(kept)
    text = [x for x in dump.loads if x.vaddr >= TEXT]
    assert sum(x.size for x in text) == 1000 * PAGE
    for x in text:
        assert x.vaddr - TEXT == x.paddr - 1024 * PAGE
        for pfn in range(x.paddr // PAGE, (x.paddr + x.size) // PAGE):
            assert dump.at(x, pfn * PAGE, PAGE) == (page(pfn) if pfn in kept else None)


def test_many_second_mappings_do_not_multiply_the_headers_without_bound() -> None:
    virtual = [VirtualRange(DIRECT, 0, 100 * PAGE)]
    virtual += [VirtualRange(0x1000000 * i, 0, 10 * PAGE) for i in range(1, 200)]
    memory = Memory(set(range(100)), {0: page(1)})
    dump = Elf(bytes(_written(memory, virtual=tuple(virtual)).data))
    assert len(dump.loads) == 1 + ALIASES
    assert dump.loads[1].vaddr == 0x1000000 * 199


def test_mappings_that_do_not_begin_on_a_page_keep_the_page_and_the_address() -> None:
    virtual = (VirtualRange(DIRECT + 0x1000, 0x1000, 0x9EC00), VirtualRange(DIRECT + 0x9FC00, 0x9FC00, 0x400))
    memory = Memory(set(range(1, 160)), {pfn: page(pfn) for pfn in range(1, 160)})
    dump = Elf(bytes(_written(memory, virtual=virtual).data))
    assert [(x.vaddr, x.paddr, x.size) for x in dump.loads] == [(DIRECT + PAGE, PAGE, 159 * PAGE)]


def test_more_program_headers_than_the_elf_header_can_count() -> None:
    pfns = range(0, 2 * 66000, 2)
    memory = Memory(set(pfns), {pfn: bytes(PAGE) for pfn in pfns})
    medium = Medium()
    # Everything is zeros, so only headers are put.
    memory.pages = {**memory.pages, 2 * 65999: page(5)}
    write(ElfWriter(memory.description(block=1 << 12), medium), memory, packed=False, batch=5000)
    dump = Elf(bytes(medium.data))
    assert len(dump.loads) == 66000
    assert dump.shnum == 1
    assert struct.unpack_from("<H", medium.data, 56) == (0xFFFF,)
    assert dump.page(2 * 65999) == page(5)
    assert dump.notes == NOTES
    medium.check_puts()


def test_everything_is_put_in_ascending_order() -> None:
    medium = _written(_memory())
    assert medium.puts == sorted(medium.puts)
    medium.check_puts()
    assert output_format("elf").sequential


def test_an_unreadable_page_makes_the_dump_incomplete() -> None:
    """If headers can't be rewritten, the page is filled with words."""
    memory = _memory()
    memory.pages = {**memory.pages, 61: None}
    dump = Elf(bytes(_written(memory).data))
    assert (dump.flags, dump.page(61), dump.page(62)) == (1, MARK * (PAGE // len(MARK)), page(62))


def test_pages_that_were_not_announced_are_refused() -> None:
    memory = _memory()
    for stranger in (2500, 700, 2, 6000):
        writer = ElfWriter(memory.description(), Medium())
        writer.begin()
        (batch,) = Memory(memory.exists, {stranger: page(1)}).batches()
        with pytest.raises(AssertionError, match="not announced"):
            writer.pages(batch)


def test_fewer_pages_than_announced_are_no_complete_dump() -> None:
    medium = Medium()
    writer = ElfWriter(_memory().description(), medium)
    writer.begin()
    with pytest.raises(AssertionError, match="announced"):
        writer.end(complete=True)
    writer.end(complete=False)
    assert Elf(bytes(medium.data)).flags == 1


def test_torn_anywhere_it_says_so_and_never_reads_as_another_page() -> None:
    memory = Memory(set(range(600)), {pfn: page(pfn) for pfn in [*range(1, 21), *range(500, 520)]})
    total = _written(memory).total()
    pages_seen = set()
    for room in range(0, total, 1021):
        medium = Medium(room)
        writer = ElfWriter(memory.description(), medium)
        with pytest.raises(OutputError):
            write(writer, memory, packed=False)
        writer.end(complete=False)
        if len(medium.data) < 64 + 3 * 56:
            continue
        dump = Elf(bytes(medium.data))
        assert dump.flags == 1
        whole = [pfn for pfn in memory.pages if dump.page(pfn) == page(pfn)]
        assert all((dump.page(pfn) or b"") == page(pfn)[: len(dump.page(pfn) or b"")] for pfn in memory.pages)
        pages_seen.add(len(whole))
    assert pages_seen == set(range(40))


def _naive(exists: set[int], kept: set[int], breaks: set[int], last: int) -> list[tuple[int, int, int]]:
    """The segments, found page by page."""
    found: list[list[int]] = []
    for pfn in range(last):
        if pfn not in exists:
            continue
        fresh = pfn - 1 not in exists or pfn in breaks
        if not fresh:
            first, stored, pages = found[-1]
            fresh = pfn in kept and first + pages - (first + stored) >= GAP
        if fresh:
            found.append([pfn, 0, 0])
        found[-1][2] += 1
        if pfn in kept:
            found[-1][1] = found[-1][2]
    return [(a, b, c) for a, b, c in found]


_runs = st.lists(st.tuples(st.integers(1, 700), st.sampled_from(["hole", "dropped", "kept", "mixed"])), max_size=12)


@settings(deadline=None, max_examples=150)
@given(_runs, st.sets(st.integers(0, 3000), max_size=5), st.sampled_from([64, 72, 512, 4096]))
def test_segments_are_those_of_the_page_by_page_rule(runs: list[tuple[int, str]], breaks: set[int], block: int) -> None:
    exists, kept, pfn = set(), set(), 0
    for length, kind in runs:
        for i in range(pfn, pfn + length):
            if kind != "hole":
                exists.add(i)
            if kind == "kept" or (kind == "mixed" and i % 3):
                kept.add(i)
        pfn += length
    kept &= exists
    found = segments(Bits(exists, pfn, block), Bits(kept, pfn, block), sorted(breaks))
    assert [(s.first, s.stored, s.pages) for s in found] == _naive(exists, kept, breaks, pfn)
