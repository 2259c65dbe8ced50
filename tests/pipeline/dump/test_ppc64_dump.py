"""ppc64le machines with either MMU and pages of 4 and 64 KiB, through the whole pipeline."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, PAGE
from tests.build.memory_file import bits
from tests.build.ppc64 import OFFSET, ROOT
from tests.build.ppc64_machine import PpcMachine
from tests.pipeline.kit import compared, contents, expected, make
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.inspect.classes import count_classes
from vmsieve.pipeline.process.exits import EXIT_WEAKER
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

CODECS = ["none", "zlib", "lzo", "snappy", "zstd"]


@pytest.fixture(scope="module", params=[("radix", 4), ("radix", 64), ("hash", 4), ("hash", 64)], ids=str)
def built(request: pytest.FixtureRequest) -> PpcMachine:
    return PpcMachine(LAYOUTS["6.12"], EVERYTHING, *request.param)


@pytest.fixture(scope="module")
def path(built: PpcMachine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built.write(tmp_path_factory.mktemp("machine") / "dump")


@pytest.mark.parametrize("level", [1, 2, 8, 16, 31])
def test_each_level_keeps_the_right_pages(level: int, path: Path, built: PpcMachine, tmp_path: Path) -> None:
    """The page frames that a twin of the rules keeps, with their bytes."""
    report = make(path, tmp_path / "out", level)
    assert (report.exit_status(), report.notes) == (0, [])
    found, truth = contents(tmp_path / "out", built.page), built.contents()
    assert set(found) == expected(built, level)
    assert all(found[pfn] == truth[pfn] for pfn in found)


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_packs_pages_of_this_size(codec: str, path: Path, built: PpcMachine, tmp_path: Path) -> None:
    make(path, tmp_path / "out", 31, codec=codec)
    comparison = compared(path, tmp_path / "out")
    assert (comparison.right, comparison.extra) == (True, 0)
    assert set(contents(tmp_path / "out", built.page)) == expected(built, 31)


def test_a_kdump_file_counts_in_the_kernels_pages(path: Path, built: PpcMachine, tmp_path: Path) -> None:
    """Block size, bitmaps, and all offsets are in pages of the kernel's size."""
    make(path, tmp_path / "out", 31)
    data = (tmp_path / "out").read_bytes()
    fields = struct.unpack_from("<8si390s6xqqIiiIIIIIIi", data)
    sub = struct.unpack_from("<QiiQQqQqQqQQQQ", data, built.page)
    assert fields[2][4 * 65 :].startswith(b"ppc64le\0")
    assert (fields[3], fields[6]) == (1700000000, built.page)
    assert fields[8] == 2 * -(-0x10800 // (8 * built.page))
    assert sub[13] == 0x10800
    assert data[sub[5] : sub[5] + sub[6]] == built.vmcoreinfo()


@pytest.mark.parametrize("form", ["kdump", "elf"])
def test_a_dump_can_be_filtered_again(form: str, path: Path, built: PpcMachine, tmp_path: Path) -> None:
    """Filtered in one step or in two: the same pages."""
    make(path, tmp_path / "first", 1, format=form)
    make(tmp_path / "first", tmp_path / "out", 31)
    assert set(contents(tmp_path / "out", built.page)) == expected(built, 31)


def test_the_census_agrees(path: Path, built: PpcMachine) -> None:
    source = open_source(str(path))
    class_counts = count_classes(source, gather_knowledge(source), Silent())
    assert class_counts.page_size == built.page
    for level in (0, 2, 8, 31):
        assert class_counts.level(level)["pages"] == len(expected(built, level))
    source.close()


@pytest.mark.parametrize("what", ["tables", "sections", "VMCOREINFO"])
def test_pages_of_an_unknown_kernel_are_kept(what: str, built: PpcMachine, tmp_path: Path) -> None:
    """Every page is in the dump, and the exit status says so."""
    mmu = "hash" if built.keys["NUMBER(RADIX_MMU)"] == "0" else "radix"
    machine = PpcMachine(built.layout, EVERYTHING, mmu, built.page >> 10)
    if what == "sections":
        machine.keys["SYMBOL(mem_section)"] = f"{OFFSET + (1 << 40):x}"
    elif what == "tables" and mmu == "radix":
        machine._kernel.source.write(ROOT, bytes(65536))
    elif what == "tables":
        machine._kernel.add_pieces([])
    path = machine.write(tmp_path / "dump", b"" if what == "VMCOREINFO" else None)
    report = make(path, tmp_path / "out", 30)
    assert report.exit_status() == EXIT_WEAKER
    size = built.page if what != "VMCOREINFO" else PAGE
    source = open_source(str(tmp_path / "out"))
    count = 16 * built.page // size // 16 << 17
    assert len(bits(source.memory_bits(0, count, size)[1])) * size == len(built.frames()) * built.page
    source.close()
