"""``classes``: one pass over memory gives the content of a dump of each level."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, MIB, Machine
from tests.filters.classify_kit import opened
from tests.pipeline.cli_kit import vmsieve
from tests.pipeline.kit import Damaged, expected, make
from vmsieve.filters.rules import struct_page_rules
from vmsieve.formats.bitmap import BLOCK
from vmsieve.pipeline.inspect.cells import Cells, MapLayout
from vmsieve.pipeline.inspect.classes import count_classes
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["4.4", "6.6", "7.2"])
def test_the_census_counts_what_each_level_keeps(name: str, tmp_path: Path) -> None:
    """By the pages' made-up struct pages and contents."""
    built = Machine(LAYOUTS[name], EVERYTHING)
    truth = built.contents()
    zero = {pfn for pfn, content in truth.items() if content == bytes(4096)}
    source, knowledge = opened(built, tmp_path)
    class_counts = count_classes(source, knowledge, Silent())
    assert (class_counts.existing, class_counts.stored, class_counts.total) == (len(truth), len(truth), 0x10800)
    assert (class_counts.notes, class_counts.weaker, class_counts.unreadable) == ([], False, 0)
    for level in range(32):
        kept = expected(built, level)
        zeros = len(kept & zero)
        counts = class_counts.pages(level)
        assert class_counts.level(level)["pages"] == len(kept), level
        assert counts["zero"] == (zeros if level & 1 else 0), level
        assert counts["kept"] == len(kept) - counts["zero"], level
        assert sum(counts.values()) == len(truth), level
    source.close()


def test_estimated_sizes_are_near_the_real_ones(tmp_path: Path) -> None:
    """Every page of this small machine is sampled, so the estimate's error is the spread within a class."""
    built = Machine(LAYOUTS["6.12"], EVERYTHING)
    source, knowledge = opened(built, tmp_path)
    class_counts = count_classes(source, knowledge, Silent())
    for level in (1, 17, 31):
        make(tmp_path / "machine.elf", tmp_path / f"out{level}", level)
        real, told = (tmp_path / f"out{level}").stat().st_size, class_counts.level(level)["bytes"]
        assert 0.9 * real < told < 1.1 * real, level
    source.close()


def test_unreadable_pages_are_counted_separately(tmp_path: Path) -> None:
    built = Machine(LAYOUTS["6.12"], EVERYTHING)
    source, knowledge = opened(built, tmp_path)
    class_counts = count_classes(Damaged(source, {0x100, 0x300, 0x10300}), knowledge, Silent())
    assert class_counts.unreadable == 3
    assert sum(class_counts.pages(31).values()) == class_counts.stored - 3
    assert class_counts.notes
    source.close()


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_count_what_one_counts(threads: int, tmp_path: Path) -> None:
    """All counts, estimates and notes, and the cells of a map; memory lies in two blocks of page frames."""
    built = Machine(LAYOUTS["6.12"], EVERYTHING, ram=((0, 24 * MIB), (256 * MIB, 264 * MIB), (2048 * MIB, 2056 * MIB)))
    source, knowledge = opened(built, tmp_path)
    found, maps = [], []
    for number in (1, threads):
        cells = Cells(MapLayout.fit(source.ranges(), 4096), struct_page_rules())
        damaged = Damaged(source, {0x100, 0x300, 0x10300})
        found.append(count_classes(damaged, knowledge, Silent(), cells, number))
        maps.append((cells._blocks, bytes(cells._counters)))
    assert found[0].unreadable == 3
    assert found[0].total > BLOCK
    assert vars(found[0]) == vars(found[1])
    assert maps[0] == maps[1]
    source.close()
    one, several = (vmsieve("classes", "--threads", n, tmp_path / "machine.elf") for n in (1, threads))
    assert (one.status, one.out, one.err) == (several.status, several.out, several.err)


def test_nothing_known_means_no_classes(tmp_path: Path) -> None:
    built = Machine(LAYOUTS["6.12"], EVERYTHING)
    source, knowledge = opened(built, tmp_path, b"")
    class_counts = count_classes(source, knowledge, Silent())
    counts = class_counts.pages(31)
    assert class_counts.weaker
    assert counts["kept"] + counts["zero"] == len(built.frames())
    source.close()
