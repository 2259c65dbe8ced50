"""Numbers in inputs that promise more than there is cost no more than what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.build.kdump_file import Kdump
from tests.build.memory_file import MemoryFile
from tests.build.pages import PAGE, Page
from tests.pipeline.kit import make
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.inputs import open_file
from vmsieve.formats.inputs.kdump import KdumpSource
from vmsieve.pipeline.pages import Pages
from vmsieve.pipeline.plan import EXIT_INCOMPLETE

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def torn(count: int) -> bytes:
    """A kdump file that promises many pages and ends with the descriptor of the third one."""
    pages = [Page(pfn, "stored", b"\xa5" * PAGE) for pfn in range(3)]
    pages += [Page(pfn, "missing", bytes(PAGE)) for pfn in range(3, count)]
    made = Kdump(pages)
    data = made.build()
    return data[: made.places[2][0] + 24]


def test_pages_that_were_never_written_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are unreadable, each of them; a batch of them costs two reads, and no room in the output."""
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
    """What comes before in the same batch is read."""
    made = Kdump([Page(pfn, "stored" if pfn < 3 else "missing", bytes([pfn % 255 + 1]) * PAGE) for pfn in range(300)])
    source = open_file(MemoryFile(made.build()))
    pages, bits = Pages(PAGE), bytearray(b"\xff" * (1 << 15))
    pages.gather(address_of(bits), address_of(bits), 0, 0, 0)
    pages.read(source)
    assert pages.bad == list(range(3, pages.count))
    assert [bytes(pages.raw[k * PAGE : (k + 1) * PAGE]) for k in range(3)] == [bytes([k + 1]) * PAGE for k in range(3)]
