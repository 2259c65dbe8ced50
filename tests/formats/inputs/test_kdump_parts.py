"""Files of a split dump: together they are the dump; files of different dumps are refused."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.kdump_file import Kdump
from tests.build.memory_file import page_sets, read, source
from tests.build.notes import prstatus
from tests.build.pages import PAGE, memory, parse
from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, Bitmap, count_between, cut_bits
from vmsieve.formats.errors import CorruptError, ReadError, UsageError, VmsieveError
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.dump.split import cut_evenly

if TYPE_CHECKING:
    from pathlib import Path

    from vmsieve.formats.inputs import Source

RECIPE = """
    @0x1000 fill 01020304 zlib x3
    @0x4000 fill 05060708 lzo x2
    @0x6000 exclude x3
    @0x9000 noise 1
    @0xa000 zero x2
    @0x20000 fill 090a0b0c zlib x20
    @0x34000 fill 01020304
"""
PAGES = parse(RECIPE)
CONTENT = memory(PAGES)
LIMIT = 0x35
CUTS = [0, 5, 0xB, 0x22, LIMIT]


def part(start: int, end: int, *, version: int = 6, order: str = "little", **more: int) -> Kdump:
    wide = {"start_pfn_64": start, "end_pfn_64": end} if version >= 6 else {}
    fields = {"split": 1, "start_pfn": start, "end_pfn": end, **wide, **more}
    return Kdump(
        PAGES, version, order, notes=prstatus(7, b"r" * 216, order), dump_level=1, fields=fields, part=(start, end)
    )


def saved(folder: Path, parts: list[Kdump]) -> list[Path]:
    paths = [folder / f"part{number}" for number in range(len(parts))]
    for path, one in zip(paths, parts):
        path.write_bytes(one.build())
    return paths


def together(paths: list[Path]) -> Source:
    return open_source(",".join(map(str, paths)))


def parts(**more: int | str) -> list[Kdump]:
    return [part(start, end, **more) for start, end in zip(CUTS, CUTS[1:])]  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("version", [2, 4, 6])
def test_together_they_are_the_dump(version: int, order: str, tmp_path: Path) -> None:
    """Files in any order: single pages, and spans across files."""
    paths = saved(tmp_path, parts(version=version, order=order))
    random.Random(version).shuffle(paths)
    opened = together(paths)
    stored = {pfn for pfn, data in CONTENT.items() if data is not None}
    assert page_sets(opened, PAGE, 64) == (set(CONTENT), stored)
    assert (opened.incomplete, opened.remarks, opened.dump_level) == (False, [], 1)
    assert "4 files" in opened.format
    for found in opened.ranges():
        expected = b"".join(CONTENT[pfn] or bytes(PAGE) for pfn in range(found.start // PAGE, found.end // PAGE))
        assert read(opened, found.start, found.end - found.start) == expected
    for pfn in CONTENT.keys() - stored:
        with pytest.raises(ReadError, match="left out"):
            read(opened, pfn * PAGE, PAGE)
    with pytest.raises(ReadError, match="no such physical memory"):
        read(opened, 0xC * PAGE, PAGE)
    opened.close()


def test_a_missing_file_loses_only_its_pages(tmp_path: Path) -> None:
    """The other files, or a single one, are read, with a remark on the missing pages."""
    paths = saved(tmp_path, parts())
    for lost in range(4):
        opened = together(paths[:lost] + paths[lost + 1 :])
        kept = {p for p, data in CONTENT.items() if data is not None and not CUTS[lost] <= p < CUTS[lost + 1]}
        assert page_sets(opened, PAGE, 64) == (set(CONTENT), kept)
        assert all(read(opened, pfn * PAGE, PAGE) == CONTENT[pfn] for pfn in kept)
        assert opened.incomplete
        assert opened.remarks == [
            f"no file is given that holds page frames {CUTS[lost]:#x} to {CUTS[lost + 1]:#x} of the split dump"
        ]
        opened.close()
    opened = open_source(str(paths[1]))
    assert page_sets(opened, PAGE, 64)[1] == {5, 9, 10}
    assert len(opened.remarks) == 2
    opened.close()


def test_a_part_without_pages_is_a_part(tmp_path: Path) -> None:
    """As makedumpfile splits small dumps: everything is in the first file."""
    paths = saved(tmp_path, [part(0, LIMIT), part(LIMIT, LIMIT), part(0, 0)])
    opened = together(paths)
    assert (opened.incomplete, opened.remarks) == (False, [])
    assert read(opened, 0x34000, PAGE) == CONTENT[0x34]
    opened.close()


def test_foreign_and_repeated_files_are_refused(tmp_path: Path) -> None:
    """A whole dump, another dump's file, the same pages twice, the same file twice."""
    good = parts()
    wrong: list[tuple[list[Kdump], type[VmsieveError], str]] = [
        ([*good, Kdump(PAGES)], UsageError, "a whole dump"),
        ([good[0], part(5, LIMIT, dump_level=3)], CorruptError, "of another dump"),
        ([good[0], part(4, LIMIT)], CorruptError, "the same pages"),
        ([good[0], *good], CorruptError, "the same pages"),
    ]
    for given_, error, words in wrong:
        with pytest.raises(error, match=words):
            together(saved(tmp_path, given_))
    with pytest.raises(UsageError, match="a whole dump"):
        together(saved(tmp_path, [Kdump(PAGES), Kdump(PAGES)]))


def test_errors_name_the_damaged_part(tmp_path: Path) -> None:
    """A truncated file makes the dump incomplete; its other pages and those of the other files are read."""
    paths = saved(tmp_path, parts())
    paths[2].write_bytes(paths[2].read_bytes()[:-10])
    opened = together(paths)
    assert opened.incomplete
    assert any(odd.startswith(f"{paths[2]}: the file is cut off") for odd in opened.remarks)
    assert read(opened, 0x20 * PAGE, PAGE) == CONTENT[0x20]
    opened.close()


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_any_page_frame_range(start: int, end: int) -> None:
    """Any page frame range, possible or not: the pages within it are stored, and the rest makes the dump incomplete."""
    opened = source(part(0, LIMIT, start_pfn_64=start, end_pfn_64=end).build())
    first, last = start or 0, end or LIMIT
    inside = {pfn for pfn, data in CONTENT.items() if data is not None and first <= pfn < last}
    assert page_sets(opened, PAGE, 64)[1] == inside
    assert opened.incomplete == (bool(first) or last < LIMIT)


@given(st.binary(min_size=1, max_size=9), st.integers(-20, 100), st.integers(-20, 100))
def test_bits_are_cut_as_bits(data: bytes, start: int, end: int) -> None:
    bits = bytearray(data)
    cut_bits(bits, end, start)
    kept = sum(1 << at for at in range(8 * len(data)) if start <= at < end)
    assert int.from_bytes(bits, "little") == int.from_bytes(data, "little") & kept


@given(st.sets(st.integers(0, 3 * BLOCK - 1), max_size=40), st.integers(1, 7), st.data())
def test_dumps_are_cut_into_equal_parts(pages: set[int], count: int, data: st.DataObject) -> None:
    """Every page is in one part, and parts differ by at most one page."""
    bitmap = Bitmap()
    for block in range(3):
        bits = bytearray(BLOCK_BYTES)
        for pfn in pages:
            if pfn // BLOCK == block:
                bits[pfn % BLOCK >> 3] |= 1 << (pfn & 7)
        bitmap.put(block, bits)
    cuts = cut_evenly(bitmap, count, 3 * BLOCK)
    assert (len(cuts), cuts[0], cuts[-1], cuts) == (count + 1, 0, 3 * BLOCK, sorted(cuts))
    sizes = [count_between(bitmap, start, end) for start, end in zip(cuts, cuts[1:])]
    assert sizes == [sum(start <= pfn < end for pfn in pages) for start, end in zip(cuts, cuts[1:])]
    assert max(sizes) - min(sizes) <= 1
