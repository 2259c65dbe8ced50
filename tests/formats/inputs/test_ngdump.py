"""ngdump partitions: the dump within its file system, and errors without one."""

from __future__ import annotations

import random
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import core
from tests.build.ext4_image import TYPICAL, Image, leaf, node
from tests.build.memory_file import MemoryFile, ranges, read, source
from tests.build.tools import tool
from vmsieve.formats.errors import CorruptError, FormatError, UnsupportedError, VmsieveError
from vmsieve.formats.inputs import open_source
from vmsieve.formats.inputs.ngdump import Ext4
from vmsieve.formats.layouts.ext4 import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CORE = core("@0x1000 fill 01020304 x5\n@0x9000 zero x40\n@0x40000 noise 3 x80", order="big", machine=22)
META = b"# made by ngdump\nversion=1\nfile=dump.elf\nsha256sum=0123\n"
FILES = {b"lost+found": b"", b"ngdump.meta": META, b"dump.elf": CORE}


@pytest.mark.parametrize("block", [1024, 4096])
@pytest.mark.parametrize("features", [TYPICAL, TYPICAL | 0x80])
@pytest.mark.parametrize("piece", [1, 2, 1000])
def test_the_dump_is_found_in_the_file_system(block: int, features: int, piece: int) -> None:
    """For any block size, group size and fragmentation of the file; holes are zeros."""
    opened = source(Image(FILES, block, features, piece=piece).build())
    alone = source(CORE)
    assert opened.machine == "s390x"
    assert opened.header["within"] == "file system of ngdump"
    assert ranges(opened) == ranges(alone)
    for start, stored, _ in ranges(alone):
        assert read(opened, start, stored - start) == read(alone, start, stored - start)
    assert not opened.incomplete


def test_bytes_of_a_file_at_any_place() -> None:
    """Across extents and holes, up to the end of the file and not beyond."""
    dice = random.Random(4)
    content = dice.randbytes(5000) + bytes(9000) + dice.randbytes(4321)
    system = Ext4(MemoryFile(Image({b"x": content}, piece=1).build()))
    inode = system.find(ROOT, b"x")
    assert inode is not None
    file = system.open(inode)
    assert file.size == len(content)
    for _ in range(300):
        at, size = dice.randrange(len(content)), dice.randrange(1, 7000)
        out = bytearray(size)
        got = file.read_into(at, memoryview(out))
        assert bytes(out[:got]) == content[at : at + size]
    assert system.find(ROOT, b"y") is None


def test_a_tree_of_more_entries_than_a_file_has() -> None:
    """Nodes with many parents and empty leaves: an error after a bounded number of entries."""
    data = bytearray(Image({b"x": b"a" * 1024}, piece=1).build())
    data += bytes(100 * 1024)
    first = len(data) // 1024 - 10
    rows = [leaf(0, 0, 0)] * 84
    for depth in range(5):
        made = node(depth, rows)
        data[(first + depth) * 1024 : (first + depth) * 1024 + len(made)] = made
        rows = [struct.pack("<IIHH", 0, first + depth, 0, 0)] * 84
    tree = node(5, rows[:4])
    at = data.index(node(0, [b""])[:2], 10 * 1024 + 11 * 256)
    data[at : at + len(tree)] = tree

    class Counted(MemoryFile):
        reads = 0

        def read_into(self, offset: int, out: memoryview) -> int:
            Counted.reads += 1
            return super().read_into(offset, out)

    with pytest.raises(CorruptError, match="the extent tree of a file"):
        Ext4(Counted(bytes(data))).open(12)
    assert Counted.reads < 1 << 15


def test_a_reserved_extent_reads_as_zeros() -> None:
    """Reserved blocks that were never written hold old data."""
    data = bytearray(Image({b"x": b"a" * 1024 + b"b" * 1024}, piece=1).build())
    row = struct.pack("<IHH", 1, 1, 0)
    assert data.count(row) == 1
    at = data.index(row)
    struct.pack_into("<H", data, at + 4, 32769)
    system = Ext4(MemoryFile(bytes(data)))
    out = bytearray(2048)
    assert system.open(12).read_into(0, memoryview(out)) == 2048
    assert bytes(out) == b"a" * 1024 + bytes(1024)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({b"dump.elf": CORE}, "a file system"),
        ({b"ngdump.meta": b"version=1\n"}, "holds no dump yet"),
        ({b"ngdump.meta": b"version=2\nfile=dump.elf\n", b"dump.elf": CORE}, "unknown version"),
        ({b"ngdump.meta": b"file=dump.elf\n", b"dump.elf": CORE}, "unknown version"),
        ({b"ngdump.meta": META}, "is missing"),
        ({b"ngdump.meta": META, b"dump.elf": b"something else"}, "file system of ngdump holds text"),
    ],
)
def test_file_systems_without_a_dump_give_the_reason(files: dict[bytes, bytes], why: str) -> None:
    """Each in a single sentence; another file system's error says how to extract a dump from it."""
    with pytest.raises(UnsupportedError, match=why):
        source(Image(files).build())


def test_file_systems_that_are_not_read() -> None:
    """Unknown features, old-style files, invalid superblocks."""
    with pytest.raises(UnsupportedError, match="features"):
        source(Image(FILES, features=TYPICAL | 0x10000).build())
    with pytest.raises(UnsupportedError, match="extents"):
        source(Image(FILES, flags=0).build())
    for at, value in ((0x18, 7), (0x28, 0), (0x58, 5)):
        data = bytearray(Image(FILES).build())
        struct.pack_into("<I" if at != 0x58 else "<H", data, 1024 + at, value)
        with pytest.raises(CorruptError, match="superblock"):
            source(bytes(data))


def test_a_journal_that_was_not_replayed_has_a_remark() -> None:
    """The machine stopped while the file system was mounted."""
    opened = source(Image(FILES, features=TYPICAL | 4).build())
    assert any("journal" in remark for remark in opened.remarks)


def test_a_cut_off_partition() -> None:
    """Cut anywhere: the dump up to the cut, or a typed error."""
    whole = Image(FILES, 4096).build()
    for size in range(1100, len(whole), 7777):
        try:
            opened = source(whole[:size])
            for start, stored, _ in ranges(opened):
                read(opened, start, stored - start)
        except VmsieveError as error:
            assert str(error)  # noqa: PT017


@pytest.mark.fuzz
def test_damage_gives_results_or_typed_errors() -> None:
    """Cyclic trees, invalid inodes, impossible sizes."""
    whole = Image(FILES, 1024).build()
    dice = random.Random()
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 5)):
            at = dice.choice((dice.randrange(1024, 3072), dice.randrange(10240, 26000), dice.randrange(len(data) - 8)))
            value = dice.choice((0, 1, 0xFFFF, 0xFFFFFFFF, dice.getrandbits(32)))
            struct.pack_into("<I", data, at, value)
        try:
            opened = source(bytes(data))
            read(opened, 0x1000, 4096)
        except VmsieveError as error:
            assert len(str(error)) < 500  # noqa: PT017


@pytest.mark.oracle
@pytest.mark.parametrize("options", [[], ["-b", "1024", "-O", "^64bit"], ["-O", "^metadata_csum"]])
def test_file_systems_of_mke2fs(options: list[str], tmp_path: Path) -> None:
    """File systems made by mke2fs."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name, content in FILES.items():
        if content:
            (folder / name.decode()).write_bytes(content)
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run([tool("mke2fs"), "-q", "-t", "ext4", *options, "-d", folder, image], check=True, timeout=60)
    opened = open_source(str(image))
    assert read(opened, 0x40000, 80 << 12) == read(source(CORE), 0x40000, 80 << 12)
    opened.close()
    with pytest.raises(FormatError, match="No such file"):
        open_source(str(tmp_path / "none"))
