"""Multi-volume dumps: any order, disks or partitions, and errors for missing and foreign volumes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.build.memory_file import ranges, read
from tests.build.s390_file import MAGIC_EXT, MIB, PAGE, PREFIXES, VMCOREINFO, Dump, disks, machine, volumes
from vmsieve.formats.errors import CorruptError, FormatError, UnsupportedError, UsageError
from vmsieve.formats.inputs import input_paths, open_source

if TYPE_CHECKING:
    from pathlib import Path

    from vmsieve.formats.inputs import Source

MEMORY = machine(12)
DUMP = Dump(MEMORY)
#: Three volumes hold it; the fourth is not reached.
SIZES = [4 * MIB + 40960, 3 * MIB + 8 * PAGE, 6 * MIB, 2 * MIB]
PARTS = volumes(DUMP, SIZES)


def opened(folder: Path, parts: list[bytes], order: list[int] | None = None) -> Source:
    """The parts as files, opened in an order."""
    names = []
    for number in order if order is not None else range(len(parts)):
        path = folder / f"vol{number}"
        path.write_bytes(parts[number])
        names.append(str(path))
    return open_source(",".join(names))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 1], [1, 2, 0, 3]])
@pytest.mark.parametrize("whole", [False, True])
def test_memory_comes_together_in_any_order(tmp_path: Path, order: list[int], whole: bool) -> None:
    """Disks or partitions; a volume beyond the dump's end may be missing."""
    source = opened(tmp_path, disks(PARTS) if whole else PARTS, order)
    assert not source.incomplete
    assert source.format == "s390 extended multi-volume dump, version 2"
    assert ranges(source) == [(0, 12 * MIB, 12 * MIB)]
    assert read(source, 0, len(MEMORY)) == MEMORY
    assert read(source, 3 * MIB - 5, 6 * MIB) == MEMORY[3 * MIB - 5 : 9 * MIB - 5]
    assert source.vmcoreinfo == VMCOREINFO
    assert len(source.cpus) == len(PREFIXES)
    assert source.header["dump_ended"] == "2023-11-14 22:13:21.250000 UTC"
    named = ["volume 0 (0.0.5000)", "volume 1 (0.1.5001)"] if whole else ["volume 0", "volume 1"]
    for name in named:
        assert f"{name}: " in str(source.header["volumes"])
    source.close()


@pytest.mark.parametrize(("block", "version"), [(4096, 1), (2048, 2), (1024, 2), (512, 1)])
def test_disks_of_other_blocks_and_tools(tmp_path: Path, block: int, version: int) -> None:
    """The dump tool is in block 3, its table follows: its offset depends on both."""
    source = opened(tmp_path, disks(PARTS, block, version), [1, 0, 2])
    assert read(source, 0, len(MEMORY)) == MEMORY
    assert not source.incomplete


def test_disks_and_partitions_together(tmp_path: Path) -> None:
    """One disk is enough to name the missing ones."""
    mixed = [PARTS[0], disks(PARTS)[1], PARTS[2]]
    assert read(opened(tmp_path, mixed, [2, 1, 0]), 0, len(MEMORY)) == MEMORY


def test_a_dump_that_one_volume_holds(tmp_path: Path) -> None:
    """The other volumes need not be given."""
    source = opened(tmp_path, disks(volumes(DUMP, [14 * MIB, MIB])), [0])
    assert not source.incomplete
    assert read(source, 0, len(MEMORY)) == MEMORY


@pytest.mark.parametrize(
    ("order", "whole", "why"),
    [
        ([0], False, "volume 1 is missing"),
        ([1], False, "volume 0 is missing"),
        ([1, 2], False, "volume 0 is missing"),
        ([0, 2], False, "volume 1 is missing"),
        ([0], True, r"volume 1 \(0.1.5001\), volume 2 \(0.0.5002\), volume 3 \(0.1.5003\) are missing"),
        ([2, 0], True, r"volume 1 \(0.1.5001\), volume 3 \(0.1.5003\) are missing"),
        ([2], True, r"volume 0 \(0.0.5000\), volume 1 \(0.1.5001\), volume 3 \(0.1.5003\) are missing"),
    ],
)
def test_missing_volumes_are_named(tmp_path: Path, order: list[int], whole: bool, why: str) -> None:
    """Volumes are named by number, and by bus ID if a disk has it; the hint says how to give them all."""
    with pytest.raises(FormatError, match=why) as caught:
        opened(tmp_path, disks(PARTS) if whole else PARTS, order)
    assert "VOLUME0,VOLUME1" in str(caught.value)


def test_a_volume_given_twice(tmp_path: Path) -> None:
    """The error names both files."""
    path = tmp_path / "again"
    path.write_bytes(PARTS[1])
    (tmp_path / "vol0").write_bytes(PARTS[0])
    (tmp_path / "vol1").write_bytes(PARTS[1])
    with pytest.raises(CorruptError, match=r"again: volume 1 is given twice .*vol1 is that volume too"):
        open_source(f"{tmp_path}/vol0,{tmp_path}/vol1,{path}")


def test_volumes_of_two_sets(tmp_path: Path) -> None:
    """Volumes with different tables."""
    mixed = [disks(PARTS)[0], disks(PARTS, timestamp=8)[1], disks(PARTS)[2]]
    with pytest.raises(CorruptError, match="vol1: the volume is of another set"):
        opened(tmp_path, mixed)


def test_segments_of_an_older_dump_are_not_used(tmp_path: Path) -> None:
    """The dumper died before volume 1: memory ends with volume 0."""
    older = volumes(replace(DUMP, tod=DUMP.tod - (1 << 40), memory=machine(12, 9)), SIZES)
    source = opened(tmp_path, [PARTS[0], older[1], older[2]])
    assert source.incomplete
    assert "the dump is not complete: volume 1 holds another dump" in source.remarks
    ((_, stored, end),) = ranges(source)
    assert (stored, end) == (5 * MIB, 12 * MIB)  # MiBs 0 to 4, of which one is zero
    assert read(source, 0, stored) == MEMORY[:stored]


def test_a_torn_volume_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """Truncated within a segment, or an invalid segment header; later volumes are not read."""
    for size in (MIB + 5 * PAGE, MIB + 2 * PAGE, 2 * MIB + 777, PAGE + 10):
        source = opened(tmp_path, [PARTS[0], PARTS[1][:size], PARTS[2]])
        assert source.incomplete
        ((_, stored, _),) = ranges(source)
        assert 5 * MIB <= stored < 8 * MIB
        assert read(source, 0, stored) == MEMORY[:stored]
    blank = PARTS[0][: PAGE + MIB + PAGE] + bytes(len(PARTS[0]) - MIB - 2 * PAGE)
    source = opened(tmp_path, [blank, PARTS[1], PARTS[2]])
    assert "the dump is not complete: volume 0 ends without a stop marker" in source.remarks


def test_volumes_that_were_too_small(tmp_path: Path) -> None:
    """All volumes are present and full: their content is read."""
    small = volumes(DUMP, [4 * MIB + 40960, 2 * MIB + 40960])
    source = opened(tmp_path, disks(small))
    assert source.incomplete
    assert "the dump is not complete: the volumes are full, and there is no stop marker" in source.remarks
    ((_, stored, _),) = ranges(source)
    assert stored > 5 * MIB
    assert read(source, 0, stored) == MEMORY[:stored]


def test_an_old_end_marker(tmp_path: Path) -> None:
    """Handled as on a single volume."""
    source = opened(tmp_path, volumes(replace(DUMP, tod_end=5), SIZES)[:3])
    assert source.incomplete
    assert read(source, 0, len(MEMORY)) == MEMORY


def test_disks_without_a_dump(tmp_path: Path) -> None:
    """Prepared and never used; an unknown tool; an invalid table; a disk with a single-volume tool."""
    with pytest.raises(CorruptError, match="holds no dump"):
        opened(tmp_path, disks([bytes(MIB)]))
    with pytest.raises(UnsupportedError, match="unknown version"):
        opened(tmp_path, disks(PARTS, version=9))
    none = bytearray(disks(PARTS)[0])
    none[0x3000 + 0x4000 + 8 : 0x3000 + 0x4000 + 10] = b"\xff\xff"
    with pytest.raises(CorruptError, match="table of volumes is damaged"):
        opened(tmp_path, [bytes(none)])
    with pytest.raises(UnsupportedError, match="whole disk") as caught:
        opened(tmp_path, [bytes(3 * 4096) + b"XECKD64\2" + bytes(MIB)])
    assert "partition" in str(caught.value)
    unused = replace(DUMP, magic=MAGIC_EXT, signed=MAGIC_EXT, mem_size=0).header()
    with pytest.raises(CorruptError, match="size of memory"):
        opened(tmp_path, [unused])


def test_several_files_of_formats_that_lie_in_one(tmp_path: Path) -> None:
    """They are refused, as is a mixture of formats."""
    (tmp_path / "a").write_bytes(DUMP.flat())
    (tmp_path / "b").write_bytes(PARTS[0])
    with pytest.raises(UsageError, match="is one file"):
        open_source(f"{tmp_path}/a,{tmp_path}/a")
    with pytest.raises(UsageError, match="different formats"):
        open_source(f"{tmp_path}/b,{tmp_path}/a")
    with pytest.raises(FormatError, match="No such file"):
        open_source(f"{tmp_path}/b,{tmp_path}/c")


def test_a_name_with_a_comma_is_one_file(tmp_path: Path) -> None:
    """If such a file exists. An empty name between commas is an error."""
    path = tmp_path / "a,b"
    assert input_paths(str(path)) == [str(tmp_path / "a"), "b"]
    path.write_bytes(DUMP.flat())
    assert input_paths(str(path)) == [str(path)]
    assert not open_source(str(path)).incomplete
    assert input_paths("a,,b") == ["a,,b"]
    assert input_paths("/proc/vmcore") == ["/proc/vmcore"]
