"""Extended s390 stand-alone dumps, raw and packed with zlib: every byte, any block size, any damage."""

from __future__ import annotations

import random
import struct
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.build.memory_file import MemoryFile, page_sets, ranges, read, source
from tests.build.s390_file import MAGIC_EXT, MIB, PAGE, VMCOREINFO, Dump, compressed, extended, machine, segment
from vmsieve.formats.errors import CorruptError, ReadError, TruncatedError, UnsupportedError
from vmsieve.formats.inputs import open_file, open_source
from vmsieve.formats.mapping import Window

if TYPE_CHECKING:
    from pathlib import Path

    from vmsieve.formats.inputs import Source

#: MiBs 2, 6, and all from 8 on are zero.
MEMORY = machine(8) + bytes(2 * MIB)
DUMP = Dump(MEMORY)
MADE = {
    "raw": extended(DUMP),
    "zlib": compressed(DUMP),
    "zlib, FBA": compressed(DUMP, 512),
    "zlib, 1024": compressed(DUMP, 1024),
    "zlib, 2048": compressed(DUMP, 2048),
    "zlib, small units": compressed(DUMP, 4096, 128 << 10),
}


@pytest.mark.parametrize("name", sorted(MADE))
def test_memory_without_a_segment_is_zero(name: str) -> None:
    """Every byte, at any alignment; ranges, bitmaps, registers and VMCOREINFO."""
    opened = source(MADE[name])
    assert opened.remarks == []
    assert not opened.incomplete
    assert opened.compressed == ("zlib" in name)
    assert ranges(opened) == [(0, 10 * MIB, 10 * MIB)]
    assert read(opened, 0, len(MEMORY)) == MEMORY
    for at, size in ((1, 7), (MIB - 3, 6), (3 * MIB - 5000, 5 * MIB), (8 * MIB - 1, 2), (9 * MIB, MIB)):
        assert read(opened, at, size) == MEMORY[at : at + size]
    frames = set(range(10 * MIB // PAGE))
    assert page_sets(opened, PAGE, 1 << 12) == (frames, frames)
    assert opened.vmcoreinfo == VMCOREINFO
    assert len(opened.cpus) == 2
    opened.close()


def test_header_values_are_shown() -> None:
    """Version, times, method, units, and the detected block size."""
    opened = source(MADE["zlib, FBA"])
    assert opened.format == "s390 extended stand-alone dump, version 2"
    shown = {name: opened.header[name] for name in ("method", "zlib_version", "zlib_unit", "block_size", "segments")}
    assert shown == {"method": "zlib", "zlib_version": 1, "zlib_unit": MIB, "block_size": 512, "segments": 4}
    assert opened.header["dump_ended"] == "2023-11-14 22:13:21.250000 UTC"
    assert source(MADE["raw"]).header["method"] == "none"


@pytest.mark.parametrize("make", [extended, compressed])
def test_memory_that_is_all_zero(make: type) -> None:
    """The stop marker is in a segment of size 0; no processor is known."""
    opened = source(make(Dump(bytes(3 * MIB), prefixes=())))
    assert not opened.incomplete
    assert ranges(opened) == [(0, 3 * MIB, 3 * MIB)]
    assert read(opened, 0, 3 * MIB) == bytes(3 * MIB)
    assert opened.cpus == ()


def test_a_dump_larger_than_its_memory() -> None:
    """Incompressible memory: segment headers make the file longer than memory, and it is read to the stop marker."""
    noise = machine(9).replace(b"\0\0\0\0\0\0\0\0", b"\1\2\3\4\5\6\7\x08")
    rows = [(start, start + MIB) for start in range(0, len(noise), MIB)]
    head = replace(DUMP, memory=noise, magic=MAGIC_EXT, version=1)
    body = b"".join(segment(a, b - a, b == len(noise)) + noise[a:b] for a, b in rows)
    opened = source(head.header() + body + head.end())
    assert not opened.incomplete
    assert read(opened, 0, len(noise)) == noise


@pytest.mark.parametrize("tod_end", [0, DUMP.tod - 1])
def test_a_dump_with_an_old_or_missing_end_marker_is_torn(tod_end: int) -> None:
    """All segments are present: all memory is read."""
    opened = source(extended(replace(DUMP, tod_end=tod_end)))
    assert opened.incomplete
    assert opened.remarks == ["the dump is not complete: the end marker is an older dump's"]
    assert read(opened, 0, len(MEMORY)) == MEMORY
    opened = source(MADE["zlib"][:-PAGE])
    assert opened.incomplete
    assert read(opened, 0, len(MEMORY)) == MEMORY


@pytest.mark.parametrize("name", ["raw", "zlib", "zlib, FBA", "zlib, small units"])
def test_a_torn_dump_is_read_as_far_as_it_goes(name: str) -> None:
    """Cut anywhere: memory before the cut is right, memory after it is missing, never invented."""
    whole = MADE[name]
    last = -1
    for size in [*range(3 * PAGE, whole.rindex(b"DUMP_END"), 97 * 1021), whole.rindex(b"DUMP_END") + 15]:
        opened = source(whole[:size])
        assert opened.incomplete
        ((_, stored, end),) = ranges(opened)
        assert last <= stored <= end == 10 * MIB
        assert read(opened, 0, stored) == MEMORY[:stored]
        missing = -(-stored // PAGE) * PAGE
        assert read(opened, stored, missing - stored) == bytes(missing - stored)
        if missing < end:
            with pytest.raises(ReadError) as caught:
                read(opened, missing, PAGE)
            assert caught.value.offset == missing
        last = stored
    assert last > 7 * MIB


def test_a_file_without_a_segment_is_refused() -> None:
    """The file has a header only."""
    for size in (PAGE, PAGE + 100):
        with pytest.raises(TruncatedError, match="no segment"):
            source(MADE["raw"][:size])
    with pytest.raises(TruncatedError, match="header"):
        source(MADE["raw"][:500])
    with pytest.raises(UnsupportedError, match="31-bit"):
        source(extended(replace(DUMP, arch=1)))
    with pytest.raises(CorruptError, match="size of memory"):
        source(extended(replace(DUMP, mem_size=1 << 60)))


BAD = {
    "not whole pages": segment(4 * MIB + 1, MIB, False),
    "no bytes": segment(4 * MIB, 0, False),
    "before the last one": segment(0, MIB, False),
    "beyond memory": segment(9 * MIB, 2 * MIB, False),
    "far beyond memory": segment(1 << 63, MIB, False),
    "too many units": segment(4 * MIB, MIB, False, 4, tuple(range(1, 3))),
    "no units": segment(4 * MIB, MIB, False, 4),
    "units not in order": segment(4 * MIB, 3 * MIB, False, 400, (0, 200, 100)),
    "units beyond the segment": segment(4 * MIB, 2 * MIB, False, 400, (0, 400)),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_an_impossible_segment_ends_the_dump(name: str) -> None:
    """Memory before the damage is read."""
    first = segment(0, MIB, False) + MEMORY[:MIB]
    head = replace(DUMP, magic=MAGIC_EXT, version=2, zlib_version=1, unit=MIB).header()
    opened = source(head + first + BAD[name] + bytes(4 * MIB))
    assert opened.incomplete
    assert "the dump is not complete: its segments end without a stop marker" in opened.remarks
    assert ranges(opened) == [(0, MIB, 10 * MIB)]
    assert read(opened, 0, MIB) == MEMORY[:MIB]


def test_a_damaged_unit_loses_only_its_memory() -> None:
    """The error has the address; its neighbours are read."""
    data = bytearray(MADE["zlib, small units"])
    # After the header, the first segment, and the second one's header: the first unit of MiB 1.
    at = 2 * PAGE + MIB + PAGE
    data[at + 100 : at + 110] = bytes(10)
    opened = source(bytes(data))
    assert not opened.incomplete
    for start in (MIB, MIB + 3 * PAGE):
        with pytest.raises(ReadError, match="damaged") as caught:
            read(opened, start, PAGE)
        assert caught.value.offset == start
    second = MIB + (128 << 10)
    assert read(opened, second, MIB) == MEMORY[second : second + MIB]
    assert read(opened, 0, MIB) == MEMORY[:MIB]


def test_streams_that_give_more_than_their_unit_are_read() -> None:
    """Memory ends within a MiB, and the dump tool packed all of it."""
    memory = machine(4)[: 3 * MIB + 5 * PAGE]
    made = compressed(Dump(memory + machine(4)[3 * MIB + 5 * PAGE :]))
    short = bytearray(made)
    struct.pack_into(">Q", short, 0x18, len(memory))
    opened = source(bytes(short))
    assert not opened.incomplete
    assert opened.end() == len(memory)
    assert read(opened, 0, len(memory)) == memory


def test_a_tape_with_the_extended_magic_number() -> None:
    """Its memory is contiguous; the end marker follows it."""
    tape = replace(DUMP, magic=MAGIC_EXT, memory=MEMORY[: 2 * MIB + PAGE])
    for made in (tape.tape(), replace(tape, memory=MEMORY).flat()):
        opened = source(made)
        assert not opened.incomplete
        assert read(opened, 0, 2 * MIB) == MEMORY[: 2 * MIB]


def test_units_are_unpacked_once_for_reads_in_order() -> None:
    """Sequential page reads read the file about once, not once per page."""

    class Counting(MemoryFile):
        taken = 0

        def read_into(self, offset: int, out: memoryview) -> int:
            self.taken += len(out)
            return super().read_into(offset, out)

    file = Counting(MADE["zlib"])
    opened = open_file(file)
    before = file.taken
    for at in range(0, len(MEMORY), PAGE):
        assert read(opened, at, PAGE) == MEMORY[at : at + PAGE]
    assert file.taken - before < 2 * len(file.data)


def test_many_threads_read_the_same_as_one() -> None:
    """More threads than cached units, on overlapping ranges."""
    opened = source(MADE["zlib, small units"])
    wrong: list[int] = []

    def work(number: int) -> None:
        for turn in range(60):
            at = (number * 77 + turn * 131) * PAGE % (9 * MIB)
            if read(opened, at, 5 * PAGE) != MEMORY[at : at + 5 * PAGE]:
                wrong.append(at)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    opened.close()


def test_a_file_is_mapped_zeros_and_all(tmp_path: Path) -> None:
    """A span across the end of a segment; packed dumps are never mapped."""

    def opened(name: str) -> Source:
        path = tmp_path / name
        path.write_bytes(MADE[name])
        return open_source(str(path))

    window = Window(3 * MIB)
    assert window.map(opened("raw"), [(MIB, 3 * MIB)])
    assert bytes(window.raw) == MEMORY[MIB : 4 * MIB]
    assert not window.map(opened("zlib"), [(MIB, 3 * MIB)])


@pytest.mark.parametrize("block", [512, 1024, 2048, 4096])
@pytest.mark.parametrize("part", [0.4, 0.7, 0.9])
def test_a_file_cut_off_within_a_segment_has_the_right_blocks(block: int, part: float) -> None:
    """Smaller blocks would make it look more complete: the first bytes of units are better evidence."""
    noise = random.Random(1).randbytes(64 << 10)
    memory = machine(1) + b"".join(bytes([i]) * (MIB - len(noise)) + noise for i in range(1, 16))
    data = compressed(Dump(memory), block)
    opened = source(data[: MIB + int((len(data) - MIB) * part)])
    assert opened.header["block_size"] == block
    assert opened.incomplete
    there = max(row.stored_end for row in opened.ranges())
    assert there > 16 * MIB * (part - 0.2)
    assert read(opened, 0, there) == memory[:there]
    opened.close()
