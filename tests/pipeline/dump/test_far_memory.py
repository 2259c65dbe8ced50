"""Sparse physical memory: beyond the first block of page frames, and beyond thousands of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import Core, Load
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.dump.make import dump
from vmsieve.pipeline.dump.plan import Plan
from vmsieve.pipeline.inspect.classes import count_classes
from vmsieve.pipeline.inspect.verify import verify
from vmsieve.pipeline.process.exits import EXIT_OK
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
# The kernel is unknown; the last address is as high as memory gets on a current machine.
PLACES = (0x1000, 3 << 30, (5 << 30) - PAGE, (1 << 42) - PAGE)


@pytest.fixture
def core(tmp_path: Path) -> str:
    path = tmp_path / "core"
    loads = [Load(paddr, bytes([i + 1]) * PAGE) for i, paddr in enumerate(PLACES)]
    path.write_bytes(Core([*loads, Load(7 << 30, bytes(PAGE))], ()).build())
    return str(path)


@pytest.mark.parametrize("form", ["kdump", "elf"])
def test_far_pages_arrive(core: str, tmp_path: Path, form: str) -> None:
    """Holes of thousands of GiB take no time, memory or file space."""
    out = tmp_path / "out"
    report = dump(Plan(core, str(out), level=1, format=form), Silent())
    assert (report.kept, report.dropped["zero"], report.exit_status()) == (len(PLACES), 1, EXIT_OK)
    assert out.stat().st_blocks * 512 < 1 << 20
    written = open_source(str(out))
    for i, paddr in enumerate(PLACES):
        page = bytearray(PAGE)
        written.read_into(paddr, memoryview(page))
        assert page == bytes([i + 1]) * PAGE
    source = open_source(core)
    comparison = verify(source, gather_knowledge(source), written, Silent())
    assert (comparison.equal, comparison.right) == (len(PLACES) + 1, True)


def test_far_pages_are_counted(core: str) -> None:
    """Each block's pages are counted at their own place."""
    source = open_source(core)
    class_counts = count_classes(source, gather_knowledge(source), Silent())
    assert class_counts.stored == len(PLACES) + 1
    assert (class_counts.nonzero, class_counts.zero) == ({0: len(PLACES)}, {0: 1})
    assert class_counts.level(1)["pages"] == len(PLACES) + 1
