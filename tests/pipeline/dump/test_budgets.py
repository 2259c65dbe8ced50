"""Inputs that claim more than they contain take no more time, memory and disk space than their content."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Callable

import pytest

from tests.build import s390_file
from tests.build.kdump_file import Kdump
from tests.build.lkcd_file import Lkcd, record
from tests.build.memory_file import MemoryFile
from tests.build.pages import PAGE, Page
from tests.build.vmdump_file import Vmdump
from tests.pipeline.kit import make
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.inputs import open_file, open_source
from vmsieve.formats.inputs._kdump_source import KdumpSource
from vmsieve.pipeline.dump.batches import PageBatch
from vmsieve.pipeline.dump.scan import blocks_with_memory
from vmsieve.pipeline.inspect.verify import verify
from vmsieve.pipeline.process.exits import EXIT_INCOMPLETE
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path


def torn(count: int) -> bytes:
    """A kdump file that claims many pages and ends with the third descriptor."""
    pages = [Page(pfn, "stored", b"\xa5" * PAGE) for pfn in range(3)]
    pages += [Page(pfn, "missing", bytes(PAGE)) for pfn in range(3, count)]
    made = Kdump(pages)
    data = made.build()
    return data[: made.places[2][0] + 24]


def test_pages_that_were_never_written_are_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page is unreadable; a batch of them takes two reads, and no space in the output."""
    path, out, count = tmp_path / "torn", tmp_path / "out", 50_000
    path.write_bytes(torn(count))
    reads, plain = 0, KdumpSource.read_into

    def counted(self: KdumpSource, paddr: int, out: memoryview) -> None:
        nonlocal reads
        reads += 1
        plain(self, paddr, out)

    monkeypatch.setattr(KdumpSource, "read_into", counted)
    report = make(path, out, 0, codec="none")
    assert report.exit_status() == EXIT_INCOMPLETE
    assert reads < count // 20
    assert out.stat().st_blocks * 512 < 16 * path.stat().st_size
    assert out.stat().st_blocks * 512 < count * 24 // 2
    assert open_file(MemoryFile(out.read_bytes())).incomplete


def test_readable_pages_before_such_pages_are_kept() -> None:
    """Earlier pages of the same batch are read."""
    made = Kdump([Page(pfn, "stored" if pfn < 3 else "missing", bytes([pfn % 255 + 1]) * PAGE) for pfn in range(300)])
    source = open_file(MemoryFile(made.build()))
    pages, bits = PageBatch(PAGE), bytearray(b"\xff" * (1 << 15))
    pages.gather(address_of(bits), address_of(bits), 0, 0, 0)
    pages.read(source)
    assert pages.bad == list(range(3, pages.count))
    assert [bytes(pages.raw[k * PAGE : (k + 1) * PAGE]) for k in range(3)] == [bytes([k + 1]) * PAGE for k in range(3)]


def _lkcd(claimed: int) -> bytes:
    return Lkcd(b"p" * PAGE, pages=[0], mem_end=claimed).build()


def _lkcd_far(claimed: int) -> bytes:
    """Its last page is at the header's end of memory."""
    return Lkcd(b"p" * PAGE, pages=[0], extra=[record(claimed - PAGE, b"q" * PAGE)]).build()


def _vmdump(claimed: int) -> bytes:
    return Vmdump({0: b"p" * PAGE, claimed // PAGE - 1: b"q" * PAGE}, claimed).build()


def _segments(claimed: int) -> bytes:
    dump = s390_file.Dump(s390_file.machine(2))
    data = bytearray(s390_file.extended(dump))
    at = data.index(struct.pack(">Q", len(dump.memory)))
    data[at : at + 8] = struct.pack(">Q", claimed)
    return bytes(data)


def _flat(claimed: int) -> bytes:
    dump = s390_file.Dump(s390_file.machine(2))
    data = bytearray(dump.flat())
    at = data.index(struct.pack(">Q", len(dump.memory)))
    data[at : at + 8] = struct.pack(">Q", claimed)
    return bytes(data)


@pytest.mark.parametrize("claimed", [1 << 36, 1 << 43, 1 << 46])
@pytest.mark.parametrize("build", [_lkcd, _lkcd_far, _vmdump, _segments, _flat])
def test_memory_that_a_small_file_claims_is_not_written(
    build: Callable[[int], bytes], claimed: int, tmp_path: Path
) -> None:
    """Terabytes of zeros are implausible: all stored pages are kept, and the dump is incomplete."""
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(build(claimed))
    source = open_source(str(path))
    if claimed > (1 << 30) + 1536 * path.stat().st_size:
        assert source.incomplete
        assert any("memory it does not store is ignored" in remark for remark in source.remarks)
        blocks = sum(1 for _ in blocks_with_memory(source.end() // PAGE, PAGE, source))
        assert blocks <= 2 + path.stat().st_size // (1 << 20)
        for form in ("kdump", "elf"):
            report = make(path, out, 0, format=form, force=True)
            assert report.exit_status() == EXIT_INCOMPLETE
            assert out.stat().st_blocks * 512 < 16 * path.stat().st_size + (1 << 20)
            comparison = verify(source, gather_knowledge(source), open_source(str(out)), Silent())
            assert (comparison.right, comparison.equal) == (True, report.kept + report.dropped["zero"])
    else:
        assert [one.end for one in source.ranges()] == [claimed]


def test_a_machine_of_zeros_is_plausible() -> None:
    """A GiB of zeros with one other page."""
    source = open_file(MemoryFile(Vmdump({3: b"p" * PAGE}, 1 << 30).build()))
    assert [(one.start, one.end, one.stored_end) for one in source.ranges()] == [(0, 1 << 30, 1 << 30)]
    assert not source.incomplete


def test_zeros_that_a_sparse_dump_does_not_store_are_shared(tmp_path: Path) -> None:
    """At level 0, uncompressed, a quarter of a GiB of zeros takes only page descriptors."""
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(Vmdump({3: b"p" * PAGE}, 1 << 28).build())
    report = make(path, out, 0, codec="none")
    assert (report.kept, report.dropped["zero"]) == (1, (1 << 28) // PAGE - 1)
    assert out.stat().st_blocks * 512 < (1 << 28) // PAGE * 24 + (1 << 20)
    source = open_source(str(path))
    assert verify(source, gather_knowledge(source), open_source(str(out)), Silent()).right
