"""LKCD dumps: every method, any order of pages, known writers' faults, damage."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import replace

import pytest

from tests.build.lkcd_file import END, PAGE, Lkcd, record, rle
from tests.build.memory_file import page_sets, ranges, read, source
from tests.build.s390_file import MIB, PREFIXES, VMCOREINFO, machine
from tests.formats.loops.test_bits import call, for_each_backend
from vmsieve.formats.errors import CorruptError, FormatError, ReadError, TruncatedError, UnsupportedError
from vmsieve.formats.loops import page_records
from vmsieve.formats.loops.page_records import expand_rle, plan_records, walk_records

MEMORY = machine(4)
ALL = list(range(0, len(MEMORY), PAGE))
#: Memory with short holes and a long one.
SOME = [at for at in ALL if at % (5 * PAGE) and not 2 * MIB <= at < 3 * MIB]


def with_zeros(pages: list[int]) -> bytes:
    """Memory where pages without a record are zero."""
    there = set(pages)
    return b"".join(MEMORY[at : at + PAGE] if at in there else bytes(PAGE) for at in ALL)


@pytest.mark.parametrize("method", [0, 1, 2])
@pytest.mark.parametrize("pages", [None, SOME, SOME[::-1], random.Random(3).sample(SOME, len(SOME))])
def test_memory_is_as_written(method: int, pages: list[int] | None) -> None:
    """Pages in any order; pages without a record are zeros; reads of any alignment."""
    dump = Lkcd(MEMORY, method, pages, PREFIXES)
    # A machine of this size always has its last page's header: the highest page is there.
    opened = source(dump.build())
    assert (opened.machine, opened.byte_order, opened.page_size, opened.format) == (
        "s390x",
        "big",
        PAGE,
        "LKCD, version 8",
    )
    assert not opened.incomplete
    assert ranges(opened) == [(0, 4 * MIB, 4 * MIB)]
    expected = with_zeros(ALL if pages is None else pages)
    assert read(opened, 0, len(expected)) == expected
    for at, size in ((5, 3), (PAGE - 2, 4), (31 * PAGE - 7, 3 * PAGE), (2 * MIB - 100, MIB + 200)):
        assert read(opened, at, size) == expected[at : at + size]
    frames = set(range(4 * MIB // PAGE))
    assert page_sets(opened, PAGE, 1 << 11) == (frames, frames)
    count = len(ALL if pages is None else pages)
    assert (opened.header["pages"], opened.header["pages_taken_as_zeros"]) == (count, len(ALL) - count)
    assert opened.compressed
    opened.close()


def test_header_registers_and_vmcoreinfo() -> None:
    """Time, names and processors from the machine's header."""
    opened = source(Lkcd(MEMORY, 2, None, PREFIXES).build())
    assert opened.crash_time == 1300000000
    assert opened.utsname == ("Linux", "box", "2.6.32", "#1 SMP", "s390x", "(none)")
    assert opened.vmcoreinfo == VMCOREINFO
    assert len(opened.cpus) == 2
    assert (opened.header["method"], opened.header["cpus_real"]) == ("gzip (zlib)", 7)
    assert source(Lkcd(MEMORY, prefixes=PREFIXES, asm_magic=5).build()).cpus == ()


@pytest.mark.parametrize(
    "end",
    [
        END,
        struct.pack(">QII", 0, 4, 0),  # zfcpdump
        record(len(MEMORY) - PAGE, MEMORY[-PAGE:], 2),  # vmconvert: the last page again
    ],
)
def test_the_ends_that_writers_made(end: bytes) -> None:
    """All are ends of whole dumps, with and without left-out pages."""
    for pages in (None, SOME):
        pages = None if pages is None else [*pages, len(MEMORY) - PAGE][: len(SOME) + 1]
        dump = Lkcd(MEMORY, 2, sorted(set(pages)) if pages else None, end=end)
        opened = source(dump.build() + b"rubbish behind it")
        assert not opened.incomplete
        assert read(opened, 0, len(MEMORY)) == with_zeros(pages or ALL)


def test_a_full_dump_is_not_looked_through() -> None:
    """The file size shows that the dump is full; reading a misplaced page is an error."""
    data = bytearray(Lkcd(MEMORY).build())
    row = PAGE + 16
    data[0x10000 + 50 * row : 0x10000 + 50 * row + 8] = struct.pack(">Q", 77 * PAGE)
    opened = source(bytes(data))
    assert not opened.incomplete
    assert read(opened, 0, 50 * PAGE) == MEMORY[: 50 * PAGE]
    with pytest.raises(ReadError, match="damaged") as caught:
        read(opened, 49 * PAGE, 3 * PAGE)
    assert caught.value.offset == 50 * PAGE
    assert read(opened, 51 * PAGE, PAGE) == MEMORY[51 * PAGE : 52 * PAGE]


def test_of_pages_stored_twice_the_first_holds() -> None:
    """Not consecutive ones, which are vmconvert's end."""
    other = record(3 * PAGE, b"other" + bytes(PAGE - 5), 2)
    opened = source(Lkcd(MEMORY, 2, extra=[other]).build())
    assert "1 pages are stored more than once; the first ones hold" in opened.remarks
    assert read(opened, 0, len(MEMORY)) == MEMORY


@pytest.mark.parametrize("method", [0, 1, 2])
def test_a_torn_dump_is_read_as_far_as_it_goes(method: int) -> None:
    """Cut anywhere: whole pages before the cut are right, the rest is missing."""
    whole = Lkcd(MEMORY, method, SOME).build()
    last = 0
    for size in range(0x10000 + 5000, len(whole), (len(whole) - 0x10000) // 37):
        opened = source(whole[:size])
        assert opened.incomplete
        ((_, stored, end),) = ranges(opened)
        assert last <= stored <= end == 4 * MIB
        assert read(opened, 0, stored) == with_zeros(SOME)[:stored]
        last = stored
    assert last > 3 * MIB
    assert source(whole[:-1]).incomplete


@pytest.mark.parametrize("size", [8, 0x2DE, 0xFFFF, 0x10000, 0x10010])
def test_a_file_without_a_page_is_refused(size: int) -> None:
    """The file ends within the header or the first page."""
    with pytest.raises(TruncatedError):
        source(Lkcd(MEMORY, 2).build()[:size])


@pytest.mark.parametrize(
    ("dump", "kind", "why"),
    [
        (Lkcd(MEMORY, machine=b"s390"), UnsupportedError, "unknown machine"),
        (Lkcd(MEMORY, machine=b""), UnsupportedError, "unknown machine"),
        (Lkcd(MEMORY, machine=b"s390x\n"), UnsupportedError, r"found s390x\\x0a$"),
        (Lkcd(MEMORY, page_size=8192), UnsupportedError, "one size"),
        (Lkcd(MEMORY, mem_end=1 << 50), CorruptError, "size of memory"),
    ],
)
def test_unsupported_and_damaged_dumps_give_the_reason(dump: Lkcd, kind: type[FormatError], why: str) -> None:
    """Each in a single sentence."""
    with pytest.raises(kind, match=why):
        source(dump.build())
    data = bytearray(Lkcd(MEMORY).build())
    struct.pack_into(">I", data, 0x2D2, 3)
    with pytest.raises(UnsupportedError, match="method"):
        source(bytes(data))


@pytest.mark.parametrize(
    "bad",
    [struct.pack(">QII", 5, 100, 1), struct.pack(">QII", 1 << 60, 100, 1), struct.pack(">QII", PAGE, 1 << 30, 1)],
)
def test_an_impossible_record_ends_the_dump(bad: bytes) -> None:
    """Memory before the damage is read."""
    opened = source(Lkcd(MEMORY, 2, ALL[:100], extra=[bad]).build())
    assert opened.incomplete
    assert any("damaged at 0x" in remark for remark in opened.remarks)
    assert ranges(opened) == [(0, 100 * PAGE, 4 * MIB)]
    assert read(opened, 0, 100 * PAGE) == MEMORY[: 100 * PAGE]


@pytest.mark.parametrize("method", [1, 2])
def test_a_damaged_page_loses_only_itself(method: int) -> None:
    """Too short, too long, not a stream: the error has the page's address."""

    def packed(page: bytes) -> bytes:
        return rle(page) if method == 1 else zlib.compress(page, 1)

    for content in (packed(bytes(PAGE - 1)), packed(bytes(PAGE + 1)), b"\x99" * 50, b"\0"):
        bad = struct.pack(">QII", 40 * PAGE, len(content), 2) + content
        rest = [record(at, MEMORY[at : at + PAGE], method) for at in ALL[41:]]
        opened = source(Lkcd(MEMORY, method, ALL[:40], extra=[bad, *rest]).build())
        with pytest.raises(ReadError, match="damaged") as caught:
            read(opened, 39 * PAGE, 3 * PAGE)
        assert caught.value.offset == 40 * PAGE
        assert read(opened, 0, 40 * PAGE) == MEMORY[: 40 * PAGE]
        assert read(opened, 41 * PAGE, MIB) == MEMORY[41 * PAGE : 41 * PAGE + MIB]


def test_a_dump_without_a_size_ends_with_its_last_page() -> None:
    """The highest page is used if the header's size is smaller."""
    opened = source(replace(Lkcd(MEMORY, 2), mem_end=0).build())
    assert opened.end() == len(MEMORY)


def runs_twin(pages: list[int]) -> list[tuple[int, int, int]]:
    """First address, pages and number of the first record of each run."""
    found: list[list[int]] = []
    for number, at in enumerate(pages):
        if found and found[-1][0] + found[-1][1] * PAGE == at and found[-1][1] < page_records.RUN_PAGES:
            found[-1][1] += 1
        else:
            found.append([at, 1, number])
    return [(a, b, c) for a, b, c in found]


@for_each_backend
def test_records_are_gathered_to_runs(backend: str) -> None:
    """Equal to the slow twin's, in pieces of any size, with a small table, and with each stop reason."""
    dice = random.Random(5)
    pages = [at for at in range(0, 200 * PAGE, PAGE) if dice.random() < 0.9]
    pages[50:60] = reversed(pages[50:60])
    sizes = [dice.choice((16, 100, PAGE)) for _ in pages]
    places = [sum(sizes[:i]) + 16 * i for i in range(len(sizes) + 1)]
    data = b"".join(struct.pack(">QII", at, size, 1) + bytes(size) for at, size in zip(pages, sizes)) + END
    found: list[tuple[int, int, int]] = []
    state = bytearray(page_records.WALK_WORDS * 8)
    why = page_records.MORE
    base = got = 0
    while why in (page_records.MORE, page_records.FULL):
        if why == page_records.MORE:
            base = struct.unpack("=Q", state[:8])[0]
            got = min(9000, len(data) - base)
        rows = bytearray(3 * 24)
        arguments = (data[base : base + got], got, base, len(data), 1 << 40, state, rows, 3)
        count = call(walk_records, backend, *arguments)
        found += [struct.unpack_from("=QQQ", rows, i * 24) for i in range(count)]
        why = struct.unpack_from("=Q", state, 56)[0]
    last = struct.unpack_from("=QQQ", state, 8)
    twin = [(a, b, places[c]) for a, b, c in runs_twin(pages)]
    assert [*found, last] == twin
    assert why == page_records.END
    assert struct.unpack_from("=QQ", state, 40) == (max(pages) + PAGE, len(pages))
    for tail, reason in (
        (struct.pack(">QII", 1, 5, 1), page_records.BAD),
        (struct.pack(">QII", 1 << 41, 5, 1), page_records.BAD),
        (b"", page_records.MORE),
    ):
        state = bytearray(page_records.WALK_WORDS * 8)
        data = record(0, bytes(PAGE)) + tail
        assert call(walk_records, backend, data, len(data), 0, len(data), 1 << 40, state, bytearray(240), 10) == 0
        assert struct.unpack_from("=Q", state, 56)[0] == reason
    state = bytearray(page_records.WALK_WORDS * 8)
    data = record(0, bytes(PAGE))[:-1]
    assert call(walk_records, backend, data, len(data), 0, len(data), 1 << 40, state, bytearray(240), 10) == 0
    assert struct.unpack_from("=Q", state, 56)[0] == page_records.CUT


@for_each_backend
def test_pages_of_a_run_are_found(backend: str) -> None:
    """Offset, size, and whether packed; an absent or truncated page ends the plan."""
    data = b"".join(
        struct.pack(">QII", at, 20 + at // PAGE, 1 + at // PAGE % 2) + bytes(20 + at // PAGE) for at in ALL[:9]
    )
    places = [16 * (i + 1) + sum(20 + k for k in range(i)) for i in range(9)]
    table = bytearray(16 * 9)
    assert call(plan_records, backend, data, len(data), 2, 5, 2 * PAGE, table) == 5
    assert [struct.unpack_from("=QII", table, i * 16) for i in range(5)] == [
        (places[i], 20 + i, i % 2) for i in range(2, 7)
    ]
    assert call(plan_records, backend, data, len(data), 2, 9, 2 * PAGE, table) == 7
    assert call(plan_records, backend, data, len(data), 2, 5, 3 * PAGE, table) == 0
    assert call(plan_records, backend, data, len(data) - 1, 0, 9, 0, table) == 8
    assert call(plan_records, backend, data, len(data), 50, 1, 50 * PAGE, table) == 0


@for_each_backend
def test_run_lengths_are_expanded(backend: str) -> None:
    """Any page unpacks; input that is truncated or of the wrong length is damaged."""
    dice = random.Random(7)
    size = 512
    pages = [bytes(size), b"\1" * size, bytes(dice.choice((0, 0, 1, 255)) for _ in range(size)), dice.randbytes(size)]
    packed = [rle(page) for page in pages]
    table = b"".join(
        struct.pack("=QII", sum(map(len, packed[:i])), len(one), 1) for i, one in enumerate(packed)
    ) + struct.pack("=QII", sum(map(len, packed)), size, 0)  # fmt: skip
    out = bytearray(size * 5)
    assert call(expand_rle, backend, 5, table, b"".join([*packed, pages[3]]), size, out) == 5
    assert bytes(out) == b"".join([*pages, pages[3]])
    for bad in (rle(bytes(size - 1)), rle(bytes(size + 1)), packed[0][:-1], packed[0][:-2], b"\0", b""):
        one = struct.pack("=QII", 0, len(bad), 1)
        assert call(expand_rle, backend, 1, one, bad, size, bytearray(size)) == 0
    assert call(expand_rle, backend, 1, struct.pack("=QII", 0, 5, 0), bytes(5), size, bytearray(size)) == 0
