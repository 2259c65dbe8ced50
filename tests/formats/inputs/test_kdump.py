"""kdump-compressed files: every header version, byte order and codec."""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.kdump_file import Kdump, kdump
from tests.build.memory_file import MemoryFile, page_sets, read, source
from tests.build.notes import note, prstatus, vmcoreinfo
from tests.build.pages import PAGE, Page, memory, parse, repeat
from vmsieve.formats.errors import ReadError
from vmsieve.formats.inputs import MemoryRange, open_file
from vmsieve.formats.inputs.kdump import FORMAT

if TYPE_CHECKING:
    from vmsieve.formats.inputs import Source

CODECS = ("", "zlib", "lzo", "snappy", "zstd")
RECIPE = """
    @0x1000 fill 01020304 {codec}
    @0x2000 fill 0506 {codec} x3
    @0x5000 exclude x2
    @0x7000 zero
    @0x8000 noise 1 x2
    @0xa000 fill 0708090a {codec}
    @0x10000 zero {packed}
    @0x11000 fill ff {codec} x40
    @0x39000 exclude
"""


def recipe(codec: str) -> str:
    # zlib and zstd pack zeros too; the packers made by hand need other bytes.
    return RECIPE.format(codec=codec, packed=codec if codec in ("zlib", "zstd") else "")


def check_pages(opened: Source, pages: list[Page], size: int = PAGE) -> None:
    """Every stored page singly, then each run of existing pages at once."""
    content = memory(pages)
    for pfn, data in content.items():
        if data is not None:
            assert read(opened, pfn * size, size) == data
    for found in opened.ranges():
        if found.stored_end > found.start:
            expected = b"".join(content[pfn] or bytes(size) for pfn in range(found.start // size, found.end // size))
            assert read(opened, found.start, found.end - found.start) == expected


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_every_version_order_and_codec_gives_the_same_memory(version: int, order: str, codec: str) -> None:
    """Packed, plain, zero and left out pages with each header."""
    pages = parse(recipe(codec))
    opened = source(Kdump(pages, version, order, dump_level=17).build())
    assert opened.format == f"kdump-compressed, version {version}"
    assert (opened.byte_order, opened.page_size, opened.dump_level) == (order, PAGE, 17)
    assert opened.compressed
    assert not opened.incomplete
    assert not opened.remarks
    stored = {page.pfn for page in pages if page.kind == "stored"}
    assert page_sets(opened, PAGE, 64) == (set(memory(pages)), stored)
    assert list(opened.ranges()) == [
        MemoryRange(0x1000, 0x7000, 0x5000), MemoryRange(0x7000, 0xB000, 0xB000),
        MemoryRange(0x10000, 0x3A000, 0x39000),
    ]  # fmt: skip
    assert opened.end() == 0x3A000
    check_pages(opened, pages)
    opened.close()


@pytest.mark.parametrize("size", [4096, 8192, 16384, 65536, 1 << 20])
def test_pages_of_every_size(size: int) -> None:
    """Pages up to the size of a batch; spans that begin and end within pages."""
    pages = [Page(pfn, "stored", repeat(bytes([pfn, 1, 2, 3]), size), "snappy") for pfn in range(2, 7)]
    opened = source(Kdump(pages, page_size=size).build())
    whole = b"".join(page.data for page in pages)
    check_pages(opened, pages, size)
    for start, length in ((5, 8), (size - 4, 8), (size // 2, 3 * size), (size, 2 * size - 1), (0, 5 * size)):
        assert read(opened, 2 * size + start, length) == whole[start : start + length]


def test_facts_of_the_headers() -> None:
    """Names, time, processors and notes equal the written ones."""
    notes = prstatus(5, b"r" * 216) + vmcoreinfo(b"OSRELEASE=6.1\n")
    opened = source(kdump(recipe("zlib"), notes=notes, vmcoreinfo=b"OSRELEASE=6.1\nX=1\n"))
    assert opened.utsname == ("Linux", "node", "6.1.0", "#1 SMP", "x86_64", "(none)")
    assert (opened.machine, opened.crash_time) == ("x86_64", 1_700_000_000)
    assert opened.notes == vmcoreinfo(b"OSRELEASE=6.1\nX=1\n") + notes  # the sub-header's text is preferred
    assert opened.vmcoreinfo == b"OSRELEASE=6.1\nX=1\n"
    assert [cpu.pid for cpu in opened.cpus] == [5]
    assert opened.header["processors"] == 2
    assert opened.header["phys_base"] == 0x1000000
    assert opened.header["status"] == 1


@pytest.mark.parametrize("order", ["little", "big"])
def test_qemus_vmcoreinfo_is_found_among_the_notes(order: str) -> None:
    """QEMU stores the note and leaves the text's offset and size 0."""
    notes = prstatus(1, b"r" * 216, order) + note(b"QEMU\0", 0, b"q" * 40, order) + vmcoreinfo(b"X=1\n", order)
    assert source(kdump(recipe(""), notes=notes, order=order)).vmcoreinfo == b"X=1\n"


def test_old_versions_have_no_notes_and_their_fields_are_not_looked_at() -> None:
    """Fields of later versions are all ones in these files."""
    for version in (1, 2):
        opened = source(kdump(recipe(""), version=version, notes=prstatus(1, b"r"), vmcoreinfo=b"X=1\n"))
        assert (opened.notes, opened.vmcoreinfo) == (b"", None)
        assert not opened.remarks
    third = source(kdump(recipe(""), version=3, notes=prstatus(1, b"r"), vmcoreinfo=b"X=1\n"))
    assert (third.notes, third.vmcoreinfo) == (vmcoreinfo(b"X=1\n"), b"X=1\n")


def test_empty_names_and_time_are_unknown() -> None:
    """QEMU fills in the machine only."""
    data = bytearray(kdump(recipe("")))
    data[12:402] = bytes(390)
    struct.pack_into("<q", data, 408, 0)
    opened = source(bytes(data))
    assert (opened.machine, opened.utsname, opened.crash_time) == (None, (), None)


def test_names_that_are_no_text_do_no_harm() -> None:
    """Non-ASCII bytes are escaped, and 65 bytes without NUL are a name."""
    data = bytearray(kdump(recipe("")))
    data[12 : 12 + 65] = b"\xff" * 65
    assert source(bytes(data)).utsname[0] == "\\xff" * 65


def test_many_pages_across_blocks_and_batches() -> None:
    """Ranks stay right beyond the first 32768 page frames, at block borders and across holes of many blocks."""
    rows = [(0, 700), (32_760, 32_780), (65_535, 65_537), (98_304, 98_310), (400_000, 400_600)]
    pages = [
        Page(pfn, "exclude" if pfn % 7 == 3 else "stored", repeat(pfn.to_bytes(4, "big"), PAGE), "snappy")
        for first, end in rows
        for pfn in range(first, end)
    ]
    opened = source(Kdump(pages, max_mapnr=400_601).build())
    content = memory(pages)
    for first, end in rows:
        expected = b"".join(content[pfn] or bytes(PAGE) for pfn in range(first, end))
        assert read(opened, first * PAGE, len(expected)) == expected
        for pfn in range(first, end, 37):
            data = content[pfn]
            if data is not None:
                assert read(opened, pfn * PAGE + 5, 6) == data[5:11]
    exists, stored = opened.memory_bits(0, 400_608, PAGE)
    assert sum(bin(byte).count("1") for byte in exists) == len(content)
    assert sum(bin(byte).count("1") for byte in stored) == sum(data is not None for data in content.values())
    found = [pfn for r in opened.ranges() for pfn in range(r.start // PAGE, r.stored_end // PAGE)]
    assert found == [pfn for pfn, data in content.items() if data is not None]
    assert opened.end() == 400_600 * PAGE


def test_zero_pages_share_one_block_wherever_it_is() -> None:
    """Thousands of descriptors point to one block; the pages between them are still read in order."""
    pages = parse("@0 fill 0102030405 x600")
    pages = [Page(p.pfn, "stored", bytes(PAGE) if p.pfn % 3 else p.data) for p in pages]
    file = Kdump(pages)
    data = file.build()

    class Counting(MemoryFile):
        reads = 0

        def read_into(self, offset: int, out: memoryview) -> int:
            self.reads += offset >= len(data) - 201 * PAGE
            return super().read_into(offset, out)

    counting = Counting(data)
    opened = open_file(counting)
    assert read(opened, 0, 600 * PAGE) == b"".join(page.data for page in pages)
    # Three batches: one run of data each, and the shared block at most twice.
    assert counting.reads <= 6
    check_pages(opened, pages)


def test_bits_beyond_the_last_page_frame_mean_nothing() -> None:
    """max_mapnr ends within a byte of the bitmaps."""
    file = Kdump(parse("@0x1000 fill 01020304 x8"), max_mapnr=7)
    opened = source(file.build())
    assert page_sets(opened, PAGE, 64) == (set(range(1, 7)), set(range(1, 7)))
    assert opened.end() == 7 * PAGE
    assert opened.header["stored pages"] == 6
    with pytest.raises(ReadError, match="no such"):
        read(opened, 7 * PAGE, 8)


def test_a_stored_page_exists_whatever_the_first_bitmap_says() -> None:
    """A stored page that bitmap 1 lacks is read."""
    data = bytearray(kdump("@0x1000 fill 01020304 x3"))
    data[2 * PAGE] = 0b0000_0100
    opened = source(bytes(data))
    assert page_sets(opened, PAGE, 8) == ({1, 2, 3}, {1, 2, 3})
    assert read(opened, 0x3000, 4) == (3).to_bytes(8, "little")[:4]


def test_a_single_bitmap_serves_as_both() -> None:
    """Files of the oldest writers: excluded pages look like holes."""
    opened = source(kdump(recipe("lzo"), single_bitmap=True, version=1))
    exists, stored = page_sets(opened, PAGE, 64)
    assert exists == stored == {p.pfn for p in parse(recipe("lzo")) if p.kind == "stored"}
    assert opened.remarks == ["there is only one bitmap: excluded pages look like holes"]
    assert read(opened, 0x1000, 4) == b"\1\2\3\4"


def test_page_frames_beyond_32_bits_of_the_header() -> None:
    """Since version 6 the wide field is used, or the narrow one if it is 0."""
    pages = parse(recipe(""))
    assert source(Kdump(pages, main={"max_mapnr": 1}).build()).end() == 0x3A000
    assert source(Kdump(pages, fields={"max_mapnr_64": 0}).build()).end() == 0x3A000


@pytest.mark.parametrize(
    ("paddr", "size", "at", "why"),
    [
        (0x5000, 0x2000, 0x5000, "left out"),
        (0x6FF8, 8, 0x6000, "left out"),
        (0x0, 8, 0x0, "no such"),
        (0xA000, 0x2000, 0xB000, "no such"),
        (0xAFFF, 2, 0xB000, "no such"),
        (0x39000, 0x1001, 0x3A000, "no such"),
        ((1 << 64) - 16, 8, (1 << 64) - 4096, "no such"),
    ],
)
def test_memory_that_is_not_there_is_an_error_with_its_address(paddr: int, size: int, at: int, why: str) -> None:
    """Left-out pages, a hole within a span, beyond the end."""
    with pytest.raises(ReadError, match=why) as caught:
        read(source(kdump(recipe("zlib"))), paddr, size)
    assert caught.value.offset == at


def test_nothing_asked_is_nothing_read() -> None:
    """An empty span is not an error, even where no memory is."""
    assert read(source(kdump(recipe(""))), 0, 0) == b""


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("block", [16384, 65536, 1 << 20])
def test_blocks_of_several_pages(block: int, order: str) -> None:
    """As QEMU writes them for a kernel with small pages: each page's offset follows from its block's."""
    pages = [Page(pfn, "exclude" if pfn == 5 else "stored", repeat(bytes([pfn, 1]), block), "") for pfn in (2, 3, 5, 9)]
    opened = source(Kdump(pages, page_size=block, order=order).build())
    ratio = block // PAGE
    exists, stored = page_sets(opened, PAGE, 16 * ratio)
    assert exists == {pfn * ratio + i for pfn in (2, 3, 5, 9) for i in range(ratio)}
    assert stored == exists - {5 * ratio + i for i in range(ratio)}
    # From the middle of a block.
    assert opened.memory_bits(8, 16 * ratio, PAGE)[0] == opened.memory_bits(0, 16 * ratio + 8, PAGE)[0][1:]
    assert read(opened, 2 * block + PAGE, PAGE) == repeat(bytes([2, 1]), PAGE)


@pytest.mark.parametrize("parts", [False, True], ids=["one", "split"])
def test_pages_of_several_blocks(parts: bool) -> None:
    """A page exists if one of its blocks does; the others read as zeros, as do left-out pages."""
    made = parse("@0x11000 fill 01 x3\n@0x1e000 fill 02 x4\n@0x30000 exclude x16\n@0x5f000 fill 03")
    if parts:
        whole = [(0, 0x13), (0x13, 0x60)]
        fields = [{"split": 1, "start_pfn": a, "end_pfn": b, "start_pfn_64": a, "end_pfn_64": b} for a, b in whole]
        files = [MemoryFile(Kdump(made, fields=one, part=two).build()) for one, two in zip(fields, whole)]
        opened: Source = FORMAT.open_set(files)  # type: ignore[misc, arg-type]
    else:
        opened = source(Kdump(made).build())
    assert page_sets(opened, 65536, 8) == ({1, 2, 3, 5}, {1, 2, 5})
    content = {page.pfn: page.data for page in made if page.kind == "stored"}
    for start, size in ((0x10000, 65536), (0x10000, 2 * 65536), (0x50000, 65536), (0x12800, 0x1000), (0x1F800, 0xC00)):
        first, last = start // PAGE, -(-(start + size) // PAGE)
        whole_pages = b"".join(content.get(pfn, bytes(PAGE)) for pfn in range(first, last))
        assert read(opened, start, size) == whole_pages[start % PAGE :][:size]
    for start, size, at, why in (
        (0x30000, 65536, 0x30000, "left out"), (0x40000, 65536, 0x40000, "no such"), (0x20000, 0x30000, 0x40000, "no")
    ):  # fmt: skip
        with pytest.raises(ReadError, match=why) as caught:
            read(opened, start, size)
        assert caught.value.offset == at


def test_a_newer_version_is_read_as_the_newest_known() -> None:
    """A later version's extra fields are ignored, with a remark."""
    opened = source(kdump(recipe("zlib"), version=7))
    assert opened.remarks == ["header version 7 is unknown: read as version 6"]
    check_pages(opened, parse(recipe("zlib")))


def test_several_threads_read_at_once() -> None:
    """Buffers and codec states are not shared: every thread gets its own pages, byte for byte."""
    pages = [Page(pfn, "stored", repeat(pfn.to_bytes(4, "big"), PAGE), CODECS[pfn % 5]) for pfn in range(1, 900)]
    opened = source(Kdump(pages).build())
    wrong: list[int] = []

    def work(first: int) -> None:
        for pfn in range(first, 890, 4):
            right = b"".join(page.data for page in pages[pfn - 1 : pfn + 2])
            wrong.extend([pfn] if read(opened, pfn * PAGE, 3 * PAGE) != right else [])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    opened.close()


def test_small_reads_of_one_page_unpack_it_once() -> None:
    """Page tables and lists are read eight bytes at a time."""
    data = kdump("@0x1000 fill 01020304 zlib x3")
    reads = []

    class Counting(MemoryFile):
        def read_into(self, offset: int, out: memoryview) -> int:
            reads.append(offset)
            return super().read_into(offset, out)

    opened = open_file(Counting(data))
    read(opened, 0x2000, 8)
    done = len(reads)
    for at in range(8, PAGE, 8):
        assert read(opened, 0x2000 + at, 4) != b"\xa5" * 4
    assert len(reads) == done


KINDS = st.sampled_from(["hole", "exclude", "zero", "", "zlib", "lzo", "snappy", "zstd", "noise"])


@settings(deadline=None, max_examples=120)
@given(
    st.lists(st.tuples(KINDS, st.integers(1, 40)), min_size=1, max_size=30),
    st.sampled_from(["little", "big"]),
    st.integers(0, 3),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 1 << 17)), max_size=6),
)
def test_any_pages_against_a_dictionary(
    rows: list[tuple[str, int]], order: str, base: int, spans: list[tuple[int, int]]
) -> None:
    """Bitmaps, ranges, pages and unaligned spans equal those of a dictionary of pages."""
    pages: list[Page] = []
    pfn = base * 32_760
    for kind, count in rows:
        for i in range(count):
            data = repeat(bytes([i + 1, *pfn.to_bytes(4, "big")]), PAGE)
            if kind == "exclude":
                pages.append(Page(pfn, "exclude", bytes(PAGE)))
            elif kind == "zero":
                pages.append(Page(pfn, "stored", bytes(PAGE)))
            elif kind != "hole":
                pages.append(Page(pfn, "stored", data, "" if kind == "noise" else kind))
            pfn += 1
    opened = source(Kdump(pages, order=order, max_mapnr=pfn).build())
    content = memory(pages)
    limit = -(-pfn // 8) * 8
    stored = {n for n, data in content.items() if data is not None}
    assert page_sets(opened, PAGE, limit) == (set(content), stored)
    ranges = list(opened.ranges())
    assert [n for r in ranges for n in range(r.start // PAGE, r.end // PAGE)] == sorted(content)
    assert [n for r in ranges for n in range(r.start // PAGE, r.stored_end // PAGE)] == sorted(stored)
    assert all(a.end < b.start or (a.end == b.start and a.stored_end < a.end) for a, b in zip(ranges, ranges[1:]))
    assert opened.end() == max(content, default=-1) * PAGE + PAGE
    check_pages(opened, pages)
    for start, size in spans:
        start += base * 32_760 * PAGE
        wanted = range(start // PAGE, (start + size - 1) // PAGE + 1)
        hole = next((n for n in wanted if n not in content), None)
        if hole is None and any(n in stored for n in wanted):
            expected = b"".join(content[n] or bytes(PAGE) for n in wanted)[start % PAGE :][:size]
            assert read(opened, start, size) == expected
        else:
            with pytest.raises(ReadError) as caught:
                read(opened, start, size)
            assert caught.value.offset == (wanted[0] if hole is None else hole) * PAGE
    opened.close()
