"""Batches of pages: mapped and copied ones have the same bytes, and unmappable ones are read."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import Core, Load
from vmsieve.formats.bitmap import BLOCK_BYTES, Bitmap
from vmsieve.formats.inputs import open_source
from vmsieve.formats.mapping import Window
from vmsieve.pipeline.dump.batches import Gatherer, PageBatch
from vmsieve.pipeline.dump.packing import chunk_size

if TYPE_CHECKING:
    from pathlib import Path

    from vmsieve.formats.inputs import Source

PAGE = mmap.PAGESIZE
COUNT = 600
OFFSET = 1 << 16


@pytest.fixture
def core(tmp_path: Path) -> Path:
    """A core of pages that differ, from physical address 0 on, at an offset that can be mapped."""
    path = tmp_path / "core"
    content = b"".join(number.to_bytes(8, "little") * (PAGE // 8) for number in range(COUNT))
    path.write_bytes(Core([Load(0, content, offset=OFFSET)]).build()[:OFFSET].ljust(OFFSET, b"\0") + content)
    return path


def batches(source: Source, wanted: set[int], *, mapped: bool) -> list[tuple[int, bytes, bool]]:
    """Page frame, content, and whether it is unreadable, of each wanted page."""
    kept, stored = bytearray(BLOCK_BYTES), bytearray(BLOCK_BYTES)
    for pfn in range(COUNT):
        stored[pfn >> 3] |= 1 << (pfn & 7)
    for pfn in wanted:
        kept[pfn >> 3] |= 1 << (pfn & 7)
    bitmaps = Bitmap(), Bitmap()
    for bitmap, block in zip(bitmaps, (kept, stored)):
        bitmap.put(0, block)
    gatherer = Gatherer(*bitmaps, source)
    pages = PageBatch(PAGE, mapped=mapped)
    found = []
    while gatherer.claim(pages):
        contents: list[bytes] = []
        pages.use(source, lambda into=contents: _contents(pages, into))  # type: ignore[misc]
        for k in range(pages.count):
            bad = k in pages.bad
            found.append((int(pages.pfns[k]), b"" if bad else contents[k], bad))
    return found


def _contents(pages: PageBatch, into: list[bytes]) -> None:
    into[:] = [ctypes.string_at(pages.address + pages.index[k] * PAGE, PAGE) for k in range(pages.count)]


@pytest.mark.parametrize(
    "wanted",
    [
        set(range(COUNT)),
        set(range(0, COUNT, 40)),
        {*range(100), *range(200, 300), 450, 599},
        {*range(128), *range(150, 400, 20), *range(400, 560)},
    ],
    ids=["all", "scattered", "rows", "rows, scattered, rows"],
)
def test_mapped_pages_are_the_pages_read(core: Path, wanted: set[int]) -> None:
    """Long runs, which are mapped, and scattered pages, which are not."""
    source = open_source(str(core))
    found = batches(source, wanted, mapped=True)
    assert [pfn for pfn, _, _ in found] == sorted(wanted)
    assert all(content == pfn.to_bytes(8, "little") * (PAGE // 8) for pfn, content, _ in found)
    assert found == batches(source, wanted, mapped=False)
    source.close()


def test_rows_are_mapped(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mapping really avoids reads: if reads fail, long runs still arrive."""
    source = open_source(str(core))
    if not Window(PAGE).map(source, [(0, PAGE)]):
        pytest.skip("there is no machine code")
    monkeypatch.setattr(source, "read_into", None)
    assert len(batches(source, set(range(COUNT)), mapped=True)) == COUNT
    source.close()


def test_a_file_that_shrinks_costs_pages_not_the_process(core: Path) -> None:
    """Pages lost after the dump was opened are reported as unreadable, without a SIGBUS."""
    source = open_source(str(core))
    os.truncate(core, OFFSET + 300 * PAGE)
    found = batches(source, set(range(COUNT)), mapped=True)
    assert [pfn for pfn, _, bad in found if bad] == list(range(300, COUNT))
    assert all(content == pfn.to_bytes(8, "little") * (PAGE // 8) for pfn, content, bad in found if not bad)
    source.close()


def test_many_threads_share_little_memory() -> None:
    """Buffers are larger with a few threads than with very many."""
    assert chunk_size(2) == chunk_size(8) > chunk_size(1000)
    assert all(chunk_size(threads) * threads <= 16 << 20 for threads in range(2, 33))
