"""Reading ahead: the source is told what will be read, no more, and in time; a file asks for what is not cached."""

from __future__ import annotations

import errno
import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from tests.build.elf_core import Core, Load
from tests.pipeline.kit import make
from vmsieve.filters.gather import gather_knowledge
from vmsieve.filters.linux.memmap import MemMap
from vmsieve.formats import files
from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, Bitmap, set_bits
from vmsieve.formats.errors import KernelError
from vmsieve.formats.files import PlainFile
from vmsieve.formats.inputs import open_source
from vmsieve.formats.inputs.elf import ElfSource
from vmsieve.pipeline.dump import ahead, copy
from vmsieve.pipeline.dump.ahead import announcing, announcing_struct_pages
from vmsieve.pipeline.dump.batches import BRIDGE, Gatherer, PageBatch

if TYPE_CHECKING:
    from pathlib import Path


PAGE = 4096


class Told:
    """What a source is told."""

    compressed = False

    def __init__(self, most: int = 1 << 30) -> None:
        self.spans: list[tuple[int, int]] = []
        self.calls, self._most = 0, most

    def zero_bits(self, *_: int) -> None:
        return None

    def will_read(self, spans: list[tuple[int, int]]) -> bool:
        self.calls += 1
        self.spans += spans
        return self.calls < self._most

    def pages(self) -> list[int]:
        return [pfn for paddr, size in self.spans for pfn in range(paddr // PAGE, (paddr + size) // PAGE)]


def bitmaps(seed: int) -> tuple[Bitmap, Bitmap, set[int]]:
    """Wanted and stored pages in two distant blocks, in runs of all lengths; and the wanted page frames."""
    dice, found, made = random.Random(seed), set(), (Bitmap(), Bitmap())
    for number in (0, 7):
        wanted, stored = bytearray(BLOCK_BYTES), bytearray(b"\xff" * BLOCK_BYTES)
        at = dice.randrange(100)
        while at < BLOCK - 3000:
            length = dice.choice([1, 2, 30, 2000])
            set_bits(wanted, at, at + length)
            found |= set(range(number * BLOCK + at, number * BLOCK + at + length))
            at += length + dice.choice([1, BRIDGE, BRIDGE + 1, 500, 3000])
        made[0].put(number, wanted)
        made[1].put(number, stored)
    return *made, found


@pytest.mark.parametrize("seed", range(3))
def test_what_is_announced(seed: int) -> None:
    """All wanted pages once and in order, with short gaps between them, a bounded number of MiB ahead."""
    wanted, stored, pfns = bitmaps(seed)
    told: Any = Told()
    claim = announcing(Gatherer(wanted, stored, told).claim, wanted, stored, told, PAGE)
    batch, claimed, announced, looked_at = PageBatch(PAGE), 0, 0, 0
    least, most = ahead._AHEAD // PAGE, (ahead._AHEAD + ahead._STEP) // PAGE
    while claim(batch):
        claimed += batch.count
        for paddr, size in told.spans[looked_at:]:
            announced += sum(pfn in pfns for pfn in range(paddr // PAGE, (paddr + size) // PAGE))
        looked_at = len(told.spans)
        assert min(claimed + least, len(pfns)) <= announced <= claimed + most
    assert claimed == len(pfns)
    pages = told.pages()
    assert pages == sorted(set(pages))
    assert pfns <= set(pages)
    for sign in (1, -1):
        assert all(any(pfn + sign * k in pfns for k in range(1, BRIDGE + 1)) for pfn in set(pages) - pfns)


def test_a_source_without_use_for_it_is_left_alone() -> None:
    wanted, stored, pfns = bitmaps(1)
    told: Any = Told(3)
    claim = announcing(Gatherer(wanted, stored, told).claim, wanted, stored, told, PAGE)
    batch, claimed = PageBatch(PAGE), 0
    while claim(batch):
        claimed += batch.count
    assert (told.calls, claimed) == (3, len(pfns))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    loads = [Load(1 << 30, os.urandom(1 << 20), offset=PAGE), Load(3 << 30, os.urandom(1 << 20))]
    head = Core(loads).build()
    (tmp_path / "core").write_bytes(head[: len(head) - (2 << 20)].ljust(PAGE, b"\0") + head[-2 << 20 :])
    return tmp_path / "core"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Offset and size of each piece that is read ahead."""
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _fd, offset, size, _how: found.append((offset, size)))
    return found


def _answer(monkeypatch: pytest.MonkeyPatch, error: OSError | None) -> None:
    """Reads of cached data alone succeed, or fail."""

    def preadv(_fd: int, buffers: list[bytearray], _offset: int, flags: int = 0) -> int:
        assert flags == os.RWF_NOWAIT
        if error is not None:
            raise error
        return len(buffers[0])

    monkeypatch.setattr(os, "preadv", preadv)


def test_what_is_not_cached_is_asked_for(path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of the file in order, in steps that the kernel reads as a whole; memory that is not stored is left out."""
    source = open_source(str(path))
    offset = source._data.offsets[1]  # type: ignore[attr-defined]
    _answer(monkeypatch, BlockingIOError(errno.EAGAIN, "not there"))
    assert source.will_read([((1 << 30) + PAGE, 2 * PAGE), ((1 << 30) + (512 << 10), 1 << 20), (3 << 30, PAGE)])
    step = 128 << 10
    assert asked == [(2 * PAGE, 2 * PAGE), *((PAGE + (512 << 10) + i * step, step) for i in range(4)), (offset, PAGE)]
    source.close()


def test_what_is_cached_is_not_asked_for(path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(str(path))
    _answer(monkeypatch, None)
    assert source.will_read([(1 << 30, 1 << 20)])
    assert not asked
    source.close()


def test_few_pieces_are_tried(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def preadv(_fd: int, _buffers: Any, offset: int, _flags: int = 0) -> int:
        tried.append(offset)
        return 1

    file = PlainFile(str(path))
    monkeypatch.setattr(os, "preadv", preadv)
    assert file.will_read([(PAGE * i, PAGE) for i in range(500)])
    assert 8 <= len(tried) <= 16
    file.close()


@pytest.mark.parametrize("missing", [False, True], ids=["not supported", "no preadv2"])
def test_file_systems_that_do_not_tell(
    missing: bool, path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces are asked for if the process has read from a medium since the last time: on NFS, not on tmpfs."""
    file = PlainFile(str(path))
    if missing:
        monkeypatch.delattr(os, "RWF_NOWAIT")
    else:
        _answer(monkeypatch, OSError(errno.EOPNOTSUPP, "not supported"))
    steps = []
    for read in (0, 0, 4096, 4096, 9000):
        monkeypatch.setattr(files, "bytes_read", lambda read=read: read)
        assert file.will_read([(0, PAGE)])
        steps.append(len(asked))
    assert steps == [0, 0, 1, 1, 2]
    file.close()


def test_kernels_that_do_not_tell(path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked for, now or later."""
    file = PlainFile(str(path))
    _answer(monkeypatch, OSError(errno.EOPNOTSUPP, "not supported"))

    def fail() -> int:
        raise FileNotFoundError("/proc/self/io")

    monkeypatch.setattr(files, "bytes_read", fail)
    assert not file.will_read([(0, PAGE)])
    monkeypatch.undo()
    assert not file.will_read([(0, PAGE)])
    assert not asked
    file.close()


def test_bytes_read(path: Path) -> None:
    """They are counted when a file that is not cached is read, unless it is on tmpfs."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        before = files.bytes_read()
        size = len(file.read())
    counted = files.bytes_read() - before
    assert counted == 0 or size <= counted


def test_the_crashed_machines_memory_is_not_read_ahead(path: Path) -> None:
    source = open_source(str(path))
    assert source.will_read([])
    source.file.vmcore = True  # type: ignore[attr-defined]
    assert not source.will_read([])
    source.close()


@pytest.mark.parametrize("more", [{}, {"threads": 2}, {"order": "importance"}, {"mapped": False}], ids=str)
def test_a_dump_announces_what_it_reads(
    more: dict[str, Any], core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    monkeypatch.setattr(ElfSource, "will_read", lambda _self, spans: told.will_read(spans))
    report = make(core, tmp_path / "with", level=31, **more)
    announced = set(told.pages())
    source = open_source(str(core))
    kernel = gather_knowledge(source)
    assert kernel.memory is not None
    assert kernel.memmap is not None
    for run in kernel.memmap.runs():
        pieces = kernel.memory.pieces(run.vaddr, run.count * kernel.memmap.struct_page_size) or []
        assert announced >= {pfn for paddr, size in pieces for pfn in range(paddr // PAGE, (paddr + size) // PAGE)}
    source.close()
    assert len(announced) >= report.chosen - report.dropped["zero"] > 0
    monkeypatch.setattr(copy, "announcing", None, raising=False)
    monkeypatch.setattr(ElfSource, "will_read", lambda *_: False)
    make(core, tmp_path / "without", level=31, **more)
    assert (tmp_path / "with").read_bytes() == (tmp_path / "without").read_bytes()


def test_struct_pages_are_announced_a_block_ahead() -> None:
    """Each once, as physical ranges; what page tables do not map is left to the scan."""

    class Memory:
        physical: Any = type("Physical", (), {"source": Told()})

        def translate(self, vaddr: int) -> tuple[int, int]:
            if vaddr >> 21 == 3:
                raise KernelError("not mapped")
            return vaddr + (1 << 30), (2 << 20) - vaddr % (2 << 20)

    memory, memmap = Memory(), MemMap("flatmem", 64)
    memmap.add(0, 4 * BLOCK, 1 << 20)
    firsts = announcing_struct_pages(iter([0, BLOCK, 3 * BLOCK]), memory, memmap)  # type: ignore[arg-type]
    told, size = memory.physical.source, BLOCK * 64
    for end in (2, 3, 4):
        next(firsts)
        assert max(paddr + length for paddr, length in told.spans) == (1 << 30) + (1 << 20) + end * size
    pages = told.pages()
    assert pages == sorted(set(pages))
    assert len(pages) * PAGE >= 2 * size
    assert next(firsts, None) is None
