"""Single-volume s390 stand-alone dumps: memory, registers, and incomplete dumps."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.build.memory_file import page_sets, ranges, read, source
from tests.build.s390_file import MIB, PAGE, PREFIXES, VMCOREINFO, Dump, machine, registers
from tests.dumps import answers, dump
from vmsieve.formats.errors import CorruptError, FormatError, ReadError, TruncatedError, UnsupportedError, UsageError
from vmsieve.formats.inputs import open_source
from vmsieve.formats.mapping import Window

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = machine()
DUMP = Dump(MEMORY, real_size=8 * MIB)


def test_memory_and_header_are_as_written() -> None:
    """Every byte, the ranges and bitmaps, and the header values for ``info``."""
    opened = source(DUMP.flat())
    assert (opened.machine, opened.byte_order, opened.page_size) == ("s390x", "big", PAGE)
    assert opened.format == "s390 stand-alone dump, version 5"
    assert not opened.incomplete
    assert opened.remarks == []
    assert ranges(opened) == [(0, len(MEMORY), len(MEMORY))]
    assert read(opened, 0, len(MEMORY)) == MEMORY
    assert read(opened, 12345, 70000) == MEMORY[12345:82345]
    frames = set(range(len(MEMORY) // PAGE))
    assert page_sets(opened, PAGE, 1 << 12) == (frames, frames)
    assert opened.crash_time == 1700000000
    assert opened.header["dump_created"] == "2023-11-14 22:13:20.250000 UTC"
    assert opened.header["dump_ended"] == "2023-11-14 22:13:21.250000 UTC"
    shown = {name: opened.header[name] for name in ("cpu_id", "cpus_online", "cpus_real", "dump_memory", "real_memory")}
    assert shown == {
        "cpu_id": "ff00000012345678", "cpus_online": 2, "cpus_real": 4, "dump_memory": 6 * MIB, "real_memory": 8 * MIB,
    }  # fmt: skip


def test_registers_and_vmcoreinfo_come_from_memory() -> None:
    """The header's prefixes lead to the lowcores, absolute address 0xe0c to VMCOREINFO."""
    opened = source(DUMP.flat())
    assert [cpu.pid for cpu in opened.cpus] == [1, 2]
    for number, cpu in enumerate(opened.cpus):
        area = registers(number)
        assert cpu.registers.startswith(area[0x100:0x110] + area[0x80:0x100])
    assert opened.vmcoreinfo == VMCOREINFO
    assert struct.pack(">I", PREFIXES[1]) in opened.notes


def test_live_dumps_are_marked() -> None:
    """Zgetdump marks dumps of /dev/mem at address 0."""
    assert source(replace(DUMP, memory=b"LIVEDUMP" + MEMORY[8:]).flat()).header["dump_method"] == "live"
    assert "dump_method" not in source(DUMP.flat()).header


def test_no_processors_is_no_fault() -> None:
    """A dump converted from one without registers."""
    opened = source(replace(DUMP, prefixes=()).flat())
    assert opened.cpus == ()
    assert opened.vmcoreinfo == VMCOREINFO
    assert not opened.incomplete


def test_a_tapes_last_record_may_be_padded() -> None:
    """Memory that is not a multiple of 32 KiB: the end marker follows the padding. It may be 8 bytes long."""
    part = replace(DUMP, memory=MEMORY[: 2 * MIB + PAGE])
    opened = source(part.tape())
    assert not opened.incomplete
    assert opened.end() == 2 * MIB + PAGE
    assert not source(part.tape()[:-8]).incomplete


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (DUMP.flat()[:-16], "the dump is not complete: its end marker is missing"),
        (DUMP.flat()[:-16] + b"DUMP_BAD" + bytes(8), "the dump is not complete: its end marker is missing"),
        (replace(DUMP, tod_end=DUMP.tod - 1).flat(), "the dump is not complete: the end marker is an older dump's"),
    ],
)  # fmt: skip
def test_a_dump_with_a_missing_or_old_end_marker_is_torn(data: bytes, why: str) -> None:
    """All its memory is still read."""
    opened = source(data)
    assert opened.incomplete
    assert opened.remarks == [why]
    assert read(opened, 0, len(MEMORY)) == MEMORY


def test_a_marker_of_the_same_moment_is_good() -> None:
    """Headers of zgetdump with one time only, or without."""
    assert not source(replace(DUMP, tod_end=DUMP.tod).flat()).incomplete
    unknown = source(replace(DUMP, tod=0, tod_end=0).flat())
    assert not unknown.incomplete
    assert unknown.crash_time is None


@pytest.mark.parametrize("size", [PAGE, PAGE + 5, 2 * PAGE, MIB + 777, len(MEMORY) + PAGE - 1, len(MEMORY) + PAGE])
def test_a_torn_dump_is_read_as_far_as_it_goes(size: int) -> None:
    """Pages partly in the file are stored, the others existed."""
    opened = source(DUMP.flat()[:size])
    stored = min(size - PAGE, len(MEMORY))
    assert opened.incomplete
    assert ranges(opened) == [(0, stored, len(MEMORY))]
    there = -(-stored // PAGE) * PAGE
    assert page_sets(opened, PAGE, 1 << 12) == (set(range(len(MEMORY) // PAGE)), set(range(there // PAGE)))
    held = MEMORY[:stored].ljust(there, b"\0")
    assert read(opened, 0, there) == held
    if there < len(MEMORY):
        with pytest.raises(ReadError) as caught:
            read(opened, there, PAGE)
        assert caught.value.offset == there
        if there:
            assert read(opened, there - PAGE, 2 * PAGE) == held[there - PAGE : there] + bytes(PAGE)


@pytest.mark.parametrize("size", [8, 100, PAGE - 1])
def test_a_file_that_ends_within_its_header_is_refused(size: int) -> None:
    """The error has the expected length."""
    with pytest.raises(TruncatedError, match="header"):
        source(DUMP.flat()[:size])


@pytest.mark.parametrize(
    ("made", "kind", "why"),
    [
        (replace(DUMP, arch=1), UnsupportedError, "31-bit"),
        (replace(DUMP, build_arch=1), UnsupportedError, "31-bit"),
        (replace(DUMP, multi=1), UnsupportedError, "s390mv"),
        (replace(DUMP, mem_size=0), CorruptError, "size of memory"),
        (replace(DUMP, mem_size=1 << 63), CorruptError, "size of memory"),
    ],
)
def test_unsupported_and_damaged_dumps_give_the_reason(made: Dump, kind: type[FormatError], why: str) -> None:
    """Each in a single sentence."""
    with pytest.raises(kind, match=why):
        source(made.flat())


def test_more_processors_than_the_header_has_room_for() -> None:
    """A wrong count is not followed beyond the header."""
    opened = source(replace(DUMP, cpu_cnt=0xFFFF).flat())
    assert len(opened.cpus) == 2


def test_memory_beyond_the_end_is_an_error() -> None:
    """Pages of another size too."""
    opened = source(DUMP.flat())
    with pytest.raises(ReadError, match="no such physical memory") as caught:
        read(opened, len(MEMORY) - PAGE, 2 * PAGE)
    assert caught.value.offset == len(MEMORY)
    with pytest.raises(UsageError):
        opened.memory_bits(0, 64, 8192)


def test_a_file_is_mapped(tmp_path: Path) -> None:
    """Mapped bytes equal read bytes; memory that is not stored is not mapped."""
    path = tmp_path / "dump"
    path.write_bytes(DUMP.flat()[: 5 * MIB])
    opened = open_source(str(path))
    window = Window(MIB)
    assert window.map(opened, [(2 * MIB, MIB)])
    assert bytes(window.raw) == MEMORY[2 * MIB : 3 * MIB]
    assert not window.map(opened, [(5 * MIB - PAGE, PAGE)])
    opened.close()


def test_a_real_dump(tmp_path: Path) -> None:
    """Debian's 6.1, written by zgetdump: complete, two processors, VMCOREINFO by way of the lowcore."""
    path = dump("s390x-6.1.s390", tmp_path)
    opened = open_source(str(path))
    assert not opened.incomplete
    assert ranges(opened) == [(0, 256 * MIB, 256 * MIB)]
    assert [cpu.pid for cpu in opened.cpus] == [1, 2]
    assert opened.vmcoreinfo is not None
    assert opened.vmcoreinfo.startswith(b"OSRELEASE=6.1.0-50-s390x\n")
    assert answers("s390x-6.1")["page_size"] == PAGE
    opened.close()
