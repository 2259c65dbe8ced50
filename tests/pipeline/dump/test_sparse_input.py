"""A sparse input: its holes are zero pages that are not read, and everything is as with the same file without holes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.formats.holes_kit import sparse_copy
from tests.pipeline.dump.shrinking_kit import vmsieve_shrinking
from tests.pipeline.kit import compared, make, readable
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats import files
from vmsieve.formats.codecs import _pack
from vmsieve.formats.files import PlainFile
from vmsieve.formats.inputs import open_source
from vmsieve.formats.inputs.elf import ElfSource
from vmsieve.pipeline.dump import packing
from vmsieve.pipeline.inspect.classes import count_classes
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

    from vmsieve.formats.mapping import FilePiece

_MIB = 1 << 20


@pytest.fixture(scope="module")
def dense(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A core with zeros among the pages and at the end, and in the struct pages."""
    source = open_source(str(core))
    kernel = gather_knowledge(source)
    assert kernel.memory is not None
    assert kernel.memmap is not None
    run = max(kernel.memmap.runs(), key=lambda one: one.count)
    paddr = kernel.memory.translate(run.vaddr)[0]
    (struct_pages,) = (
        offset
        for start, end, offset in source._data.pieces(paddr, paddr + 1)  # type: ignore[attr-defined]
    )
    source.close()
    data = bytearray(core.read_bytes())
    middle = struct_pages + run.count * kernel.memmap.struct_page_size // 2
    for start, size in ((middle, 96 << 10), (20 * _MIB, 3 * _MIB + 100), (25 * _MIB + 1, 70 << 10), (30 * _MIB, _MIB)):
        data[start : start + size] = bytes(size)
    data[-2 * _MIB :] = bytes(2 * _MIB)
    path = tmp_path_factory.mktemp("dense") / "core"
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def sparse(dense: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sparse") / "core"
    sparse_copy(dense.read_bytes(), path)
    return path


@pytest.mark.parametrize(
    "more",
    [
        {"level": 31}, {"level": 1}, {"level": 0}, {"level": 16}, {"level": 1, "format": "elf"},
        {"level": 1, "threads": 2}, {"level": 31, "codec": "lzo"},
        {"level": 1, "order": "importance"}, {"level": 1, "mapped": False},
    ],
    ids=str,
)  # fmt: skip
def test_dumps_are_the_same(more: dict[str, Any], dense: Path, sparse: Path, tmp_path: Path) -> None:
    """Bit for bit, and so are the counts of pages."""
    made = []
    for source in (dense, sparse):
        report = make(source, tmp_path / source.parent.name, **more)
        made.append(((tmp_path / source.parent.name).read_bytes(), report.kept, report.dropped, report.exit_status()))
    assert made[0][1:] == made[1][1:]
    assert made[0][0] == made[1][0]


def test_split_dumps_are_the_same(dense: Path, sparse: Path, tmp_path: Path) -> None:
    for source in (dense, sparse):
        parts = tuple(str(tmp_path / f"{source.parent.name}{i}") for i in range(2))
        make(source, tmp_path / "unused", level=1, split=parts)
    for i in range(2):
        assert (tmp_path / f"{dense.parent.name}{i}").read_bytes() == (
            tmp_path / f"{sparse.parent.name}{i}"
        ).read_bytes()


def test_counts_are_the_same(dense: Path, sparse: Path) -> None:
    found = []
    for path in (dense, sparse):
        source = open_source(str(path))
        counts = count_classes(source, gather_knowledge(source), Silent())
        found.append((counts.nonzero, counts.zero, counts.packed, counts.stored, counts.unreadable, counts.notes))
        source.close()
    assert found[0] == found[1]


@pytest.mark.parametrize("form", ["kdump", "elf"])
def test_comparisons_are_the_same(form: str, dense: Path, sparse: Path, tmp_path: Path) -> None:
    """Holes compare as zeros, and a page that is zeros in one file alone is found."""
    make(dense, tmp_path / "small", level=1, format=form)
    found = [compared(source, tmp_path / "small") for source in (dense, sparse)]
    assert found[0] == found[1]
    assert found[1].right
    data = bytearray(dense.read_bytes())
    data[21 * _MIB] = 1
    (tmp_path / "other").write_bytes(data)
    make(tmp_path / "other", tmp_path / "other small", level=1, format=form)
    assert compared(sparse, tmp_path / "other small").different == 1


def test_pages_in_holes_are_not_read(sparse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for a dump nor for counts: only edges of holes are."""
    read, real_pieces, real_read = [0], PlainFile.pieces, files.read_at

    def pieces(self: PlainFile, offset: int, size: int) -> list[FilePiece] | None:
        found = real_pieces(self, offset, size)
        read[0] += sum(size for fd, _, size in found or [] if fd >= 0)
        return found

    def reading(fd: int, offset: int, out: memoryview, *more: str) -> int:
        read[0] += len(out)
        return real_read(fd, offset, out, *more)

    monkeypatch.setattr(PlainFile, "pieces", pieces)
    monkeypatch.setattr(files, "read_at", reading)
    make(sparse, tmp_path / "with", level=1)
    known, read[0] = read[0], 0
    monkeypatch.setattr(files, "_SPARSE", 1 << 40)
    make(sparse, tmp_path / "without", level=1)
    assert (tmp_path / "with").read_bytes() == (tmp_path / "without").read_bytes()
    assert read[0] - known > 5 * _MIB


def test_many_zero_pages_are_one_batch(sparse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work per batch is not done per half megabyte of a hole."""
    batches = []
    monkeypatch.setattr(packing, "_CHUNK", 1 << 19)
    for known in (True, False):
        count, real = [0], _pack.pack_pages

        def counting(*arguments: int, real: Any = real, count: list[int] = count) -> int:
            count[0] += 1
            return int(real(*arguments))

        monkeypatch.setattr("vmsieve.pipeline.dump.packing.pack_pages", counting)
        if not known:
            monkeypatch.setattr(ElfSource, "zero_bits", lambda *_: None)
        make(sparse, tmp_path / str(known), level=1)
        monkeypatch.setattr("vmsieve.pipeline.dump.packing.pack_pages", real)
        batches.append(count[0])
    assert batches[0] < batches[1] - 8


@pytest.mark.parametrize("left", [30 * _MIB + 1000, 21 * _MIB])
def test_a_truncated_sparse_input(left: int, sparse: Path, dense: Path, tmp_path: Path) -> None:
    """What is behind the new end is missing, also where a hole was; what is there is as without holes."""
    victim, out = tmp_path / "victim", tmp_path / "out"
    sparse_copy(sparse.read_bytes(), victim)
    os.truncate(victim, left)
    short = tmp_path / "short"
    short.write_bytes(dense.read_bytes()[:left])
    reports = [make(source, out, 1, force=True) for source in (victim, short)]
    assert reports[0].incomplete
    assert len({(one.kept, one.chosen, one.unreadable, one.dropped["zero"], str(one.survey)) for one in reports}) == 1


@pytest.mark.parametrize("moment", ["pack_pages:0", "gather_pages:0"])
@pytest.mark.parametrize("left", [30 * _MIB + 1000, 21 * _MIB, 0])
def test_a_sparse_input_that_shrinks(left: int, moment: str, sparse: Path, dense: Path, tmp_path: Path) -> None:
    """No page of the dump is zeros that is not so in the input, and the dump is incomplete."""
    victim, out = tmp_path / "victim", tmp_path / "out"
    sparse_copy(sparse.read_bytes(), victim)
    run = vmsieve_shrinking(victim, moment, left, "dump", "-d", 1, victim, out)
    assert run.status == 4
    assert "the file has become shorter while it was read" in run.err
    truth = readable(dense)
    assert all(truth[pfn] == content for pfn, content in readable(out).items())
