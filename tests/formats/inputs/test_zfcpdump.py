"""zfcpdump disks: the core on their partition, and faults."""

from __future__ import annotations

import struct

import pytest

from tests.build.elf_core import core
from tests.build.memory_file import ranges, read, source
from tests.build.zfcpdump_disk import PART, disk
from vmsieve.formats.errors import CorruptError, TruncatedError, UnsupportedError

CORE = core("@0x1000 fill 01020304 x5\n@0x9000 noise 3 x2", order="big", machine=22)


def test_a_disk_and_its_partition_hold_the_same() -> None:
    """The core is found via boot block and superblock; data after it on the partition are ignored."""
    whole = source(disk(CORE))
    part = source(disk(CORE)[PART:])
    alone = source(CORE)
    assert ranges(whole) == ranges(part) == ranges(alone)
    assert read(whole, 0x1000, 0x5000) == read(alone, 0x1000, 0x5000)
    assert whole.header["within"] == "SCSI disk of zfcpdump"
    assert whole.machine == "s390x"
    assert not whole.incomplete
    assert not any("checksum" in remark for remark in whole.remarks)


def test_a_partition_that_was_written_to() -> None:
    """The checksum over its start detects it."""
    data = bytearray(disk(CORE))
    data[PART + 4000] ^= 1
    assert any("its checksum differs" in remark for remark in source(bytes(data)).remarks)
    data = bytearray(disk(CORE))
    struct.pack_into(">Q", data, 0x3000 + 48, 1 << 40)
    assert any("its checksum differs" in remark for remark in source(bytes(data)).remarks)


def test_an_unfinished_dump() -> None:
    """The start of the core is written last: disk and partition are reported as unfinished."""
    for data in (disk(b"zfcpdump busy\0"), disk(b"zfcpdump busy\0")[PART:]):
        with pytest.raises(UnsupportedError, match="did not finish"):
            source(data)


def test_a_cut_off_disk() -> None:
    """Within the dump it is a torn dump; before it, an error."""
    assert source(disk(CORE)[: PART + len(CORE) - 100]).incomplete
    for size in (PART, 0x3040, 0x200):
        with pytest.raises((CorruptError, TruncatedError)):
            source(disk(CORE)[:size])


@pytest.mark.parametrize("at", [8, 16, 24, 32, 40, 56])
@pytest.mark.parametrize("value", [0, (1 << 64) - 1, 1 << 63])
def test_impossible_superblock_fields(at: int, value: int) -> None:
    """Superblock fields: an error or a dump, never an exception."""
    data = bytearray(disk(CORE))
    struct.pack_into(">Q", data, 0x3000 + at, value)
    try:
        source(bytes(data))
    except (CorruptError, UnsupportedError, TruncatedError) as error:
        assert str(error)  # noqa: PT017
    with pytest.raises(CorruptError, match="no superblock"):
        source(disk(CORE, magic=value))
