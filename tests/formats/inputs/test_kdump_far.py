"""kdump files of sparse physical memory: holes in their bitmaps are neither read nor walked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.build import frame_files
from tests.build.flattened_file import flattened
from tests.build.kdump_file import Kdump
from tests.build.memory_file import MemoryFile, read
from tests.build.pages import PAGE, Page
from vmsieve.formats.bitmap import BLOCK
from vmsieve.formats.files import PlainFile, next_data
from vmsieve.formats.inputs import Source, framed, open_file
from vmsieve.formats.inputs._kdump_pages import BLOCK as PAGE_MAP
from vmsieve.pipeline.dump.scan import blocks_with_memory

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Callable

    from vmsieve.formats.inputs import MemoryRange

#: Page frames up to 96 TiB, some of them left out.
PFNS = (3, 100, 1 << 22, (1 << 33) + 5, 96 << 28)
PAGES = [Page(pfn, "exclude" if pfn == PFNS[2] else "stored", bytes([i + 1]) * PAGE) for i, pfn in enumerate(PFNS)]
#: Limit of the bytes read of a file of 6 GB.
MOST = 8 << 20


class Counted(PlainFile):
    """A file that counts the bytes read."""

    count = 0

    def read_into(self, offset: int, out: memoryview) -> int:
        got = super().read_into(offset, out)
        self.count += got
        return got


def check(source: Source) -> None:
    """Every query of a whole dump, in as many steps as there are pages."""
    assert source.end() == (PFNS[-1] + 1) * PAGE
    found: list[MemoryRange] = list(source.ranges())
    assert [one.start // PAGE for one in found] == list(PFNS)
    assert [one.stored_end > one.start for one in found] == [pfn != PFNS[2] for pfn in PFNS]
    blocks = list(blocks_with_memory(PFNS[-1] + 1, PAGE, source))
    assert blocks == sorted({pfn // BLOCK * BLOCK for pfn in PFNS})
    for page in PAGES:
        if page.kind == "stored":
            assert read(source, page.pfn * PAGE, PAGE) == page.data
    assert source.next_data(BLOCK * PAGE) // PAGE == PFNS[3] // PAGE_MAP * PAGE_MAP
    assert source.next_memory(BLOCK * PAGE) // PAGE == PFNS[2] // PAGE_MAP * PAGE_MAP
    assert source.next_memory((PFNS[-1] + PAGE_MAP) * PAGE) == source.end()


def test_holes_of_a_file_are_not_read(tmp_path: Path) -> None:
    """A sparse file of 6 GB: each hole in its bitmaps is skipped in one step."""
    file = Counted(str(Kdump(PAGES).write_sparse(tmp_path / "far")))
    assert file.size > 6 << 30
    check(open_file(file))
    assert file.count < MOST


def test_holes_of_a_split_dump_are_not_read(tmp_path: Path) -> None:
    """A single part gives its pages."""
    end = PFNS[-1] + 1
    made = Kdump(PAGES, fields={"split": 1, "start_pfn_64": 50, "end_pfn_64": end}, part=(50, end))
    file = Counted(str(made.write_sparse(tmp_path / "part")))
    source = open_file(file)
    assert source.next_data(0) // PAGE == 0
    blocks = list(blocks_with_memory(end, PAGE, source))
    assert blocks == sorted({pfn // BLOCK * BLOCK for pfn in PFNS})
    assert file.count < MOST


def test_gaps_of_a_flattened_file_are_not_read() -> None:
    """Zeros between the pieces of a flattened file are not generated."""
    data = flattened(Kdump(PAGES).pieces())

    class Bounded(MemoryFile):
        count = 0

        def read_into(self, offset: int, out: memoryview) -> int:
            Bounded.count += 1
            return super().read_into(offset, out)

    check(open_file(Bounded(data)))
    assert Bounded.count < 500


@pytest.mark.parametrize("known", [True, False])
def test_a_short_hole_is_read(tmp_path: Path, known: bool) -> None:
    """Bitmaps of usual size are read even where the file system reports a hole, as it may be wrong."""
    pages = [Page(pfn, "stored", bytes([pfn]) * PAGE) for pfn in (1, 5)]

    class Wrong(PlainFile):
        def next_data(self, offset: int) -> int:
            return self.size if known else offset

    source = open_file(Wrong(str(Kdump(pages).write_sparse(tmp_path / "near"))))
    assert [one.start // PAGE for one in source.ranges()] == [1, 5]


def test_a_device_has_no_holes(tmp_path: Path) -> None:
    """Without SEEK_DATA the whole file is data; with it, data end at the last byte."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert next_data(PlainFile(str(path)), 3) == 3
    assert next_data(PlainFile(str(path)), 100) == 100
    assert next_data(MemoryFile(b"x" * 100), 7) == 7


@pytest.mark.parametrize("make", [frame_files.zstd_seekable, frame_files.lz4_rows, frame_files.gzip_rows])
def test_zeros_of_a_frame_are_known(make: Callable[[bytes], bytes]) -> None:
    """A piece packed like one of zeros is not unpacked; data continue at the next other piece."""
    content = b"x" * (1 << 20) + bytes(64 << 20) + b"y" * (1 << 20)
    file = framed.FORMAT.open(MemoryFile(make(content)))[0]
    assert next_data(file, 2 << 20) == 2 << 20
    out = bytearray(1 << 20)
    file.read_into(32 << 20, memoryview(out))
    assert not any(out)
    there = next_data(file, 34 << 20)
    assert there >= 60 << 20
    assert not any(content[34 << 20 : there])
    assert next_data(file, 100) == 100
