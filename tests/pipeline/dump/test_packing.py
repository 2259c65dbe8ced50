"""Batches of packed pages: batch by batch, all pages come, and none but the input's."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import Core, Load
from tests.formats.codecs import codec_kit as kit
from tests.pipeline.kit import contents, make
from vmsieve.formats.bitmap import BLOCK_BYTES, Bitmap
from vmsieve.formats.codecs import codec
from vmsieve.formats.inputs import open_source
from vmsieve.formats.loops.describe import UNREADABLE
from vmsieve.pipeline.dump import packing
from vmsieve.pipeline.dump.batches import Gatherer
from vmsieve.pipeline.dump.packing import PackedChunk
from vmsieve.pipeline.dump.watch import Through

if TYPE_CHECKING:
    from pathlib import Path

    from vmsieve.formats.inputs import Source

PAGE = mmap.PAGESIZE
COUNT = 3000
ROWS = {*range(700), *range(900, 2100), 2450, *range(2990, COUNT)}
WANTED = [set(range(COUNT)), set(range(0, COUNT, 40)), ROWS, {COUNT - 1}]


def content(pfn: int) -> bytes:
    """A page that differs from others; each seventh can't be packed, each fifth is zeros."""
    if pfn % 7 == 0:
        return b"".join((pfn * 2654435761 * i % (1 << 64)).to_bytes(8, "little") for i in range(1, PAGE // 8 + 1))
    return bytes(PAGE) if pfn % 5 == 0 else pfn.to_bytes(8, "little") * (PAGE // 8)


@pytest.fixture(scope="module", params=[1 << 16, (1 << 16) + 8], ids=["aligned", "odd"])
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A core of pages from physical address 0 on, at an offset that can be mapped and one that can't."""
    path, offset = tmp_path_factory.mktemp("core") / "core", request.param
    memory = b"".join(map(content, range(COUNT)))
    path.write_bytes(Core([Load(0, memory, offset=offset)]).build()[:offset].ljust(offset, b"\0") + memory)
    return path


def packed(source: Source, wanted: set[int], *, threads: int = 1) -> tuple[dict[int, bytes | None], list[int]]:
    """Each page as unpacked, None if it is unreadable; and the bytes of each batch."""
    kept, stored = bytearray(BLOCK_BYTES), bytearray(BLOCK_BYTES)
    for pfn in range(COUNT):
        stored[pfn >> 3] |= 1 << (pfn & 7)
    for pfn in wanted:
        kept[pfn >> 3] |= 1 << (pfn & 7)
    bitmaps = Bitmap(), Bitmap()
    for bitmap, block in zip(bitmaps, (kept, stored)):
        bitmap.put(0, block)
    choose = Gatherer(*bitmaps, source).claim
    pages = PackedChunk(source, codec("lzo"), 1, PAGE, drop_zero=True, threads=threads)
    found: dict[int, bytes | None] = {}
    lengths = []
    while pages.claim(choose):
        pages.work()
        batch = pages.batch()
        assert batch.count == pages.end - pages.first > 0
        lengths.append(len(batch.data))
        at = 0
        for k in range(batch.count):
            size, data = batch.sizes[k], bytes(batch.data[at : at + batch.sizes[k]])
            at += size
            bad = batch.flags[k] == UNREADABLE
            assert bad == (pages.first + k in pages.bad)
            plain = kit.unpack_one("aot", "lzo", codec("lzo").open_decompressor(PAGE), data, PAGE)
            found[int(batch.pfns[k])] = None if bad else data if size == PAGE else plain if size else bytes(PAGE)
        assert at == len(batch.data)
    return found, lengths


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("wanted", WANTED, ids=["all", "scattered", "rows", "one"])
def test_all_pages_come_in_order(core: Path, wanted: set[int], threads: int) -> None:
    """Mapped, read by the loop at an odd offset, and read in Python."""
    source = open_source(str(core))
    for one in (source, Through(source)):
        found, sizes = packed(one, wanted, threads=threads)
        assert list(found) == sorted(wanted)
        assert all(page == content(pfn) for pfn, page in found.items())
        assert all(size < packing._BATCH + PAGE for size in sizes) or threads > 1
    source.close()


def test_the_loop_fetches_pages_by_itself(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If reads in Python fail, all pages still come, at an odd offset too."""
    source = open_source(str(core))
    monkeypatch.setattr(source, "read_into", None)
    assert len(packed(source, ROWS)[0]) == len(ROWS)
    source.close()


@pytest.mark.parametrize("left", [1000 * PAGE, 1000 * PAGE + 100, 0])
def test_pages_that_vanish_are_unreadable(core: Path, left: int, tmp_path: Path) -> None:
    """The file becomes shorter before the pages are packed: the others are the input's."""
    path = tmp_path / "core"
    path.write_bytes(core.read_bytes())
    start = path.stat().st_size - COUNT * PAGE
    source = open_source(str(path))
    os.truncate(path, start + left)
    found, _ = packed(source, set(range(COUNT)))
    assert list(found) == list(range(COUNT))
    assert [pfn for pfn, page in found.items() if page is None] == list(range(left // PAGE, COUNT))
    assert all(page == content(pfn) for pfn, page in found.items() if page is not None)
    source.close()


def test_pages_that_are_forgotten_do_not_come(core: Path) -> None:
    source = open_source(str(core))
    kept = Bitmap()
    kept.put(0, bytearray(b"\xff" * 300 + bytes(BLOCK_BYTES - 300)))
    pages = PackedChunk(source, codec("none"), 0, PAGE, drop_zero=False)
    assert pages.claim(Gatherer(kept, kept, source).claim)
    pages.work()
    assert pages.end < pages.count
    pages.forget()
    assert not pages.claim(lambda _: False)
    source.close()


def test_a_dump_is_the_same_whatever_the_sizes(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows, batches and chunks of other sizes."""
    make(core, tmp_path / "one", 0)
    for window, batch, chunk in ((PAGE, 1, PAGE), (1 << 16, 1 << 20, 1 << 21), (1 << 23, 1, 1 << 16)):
        for name, size in (("_WINDOW", window), ("_BATCH", batch), ("_CHUNK", chunk)):
            monkeypatch.setattr(packing, name, size)
        make(core, tmp_path / "other", 0, force=True)
        assert contents(tmp_path / "other") == contents(tmp_path / "one")
        assert (tmp_path / "other").read_bytes() == (tmp_path / "one").read_bytes()
