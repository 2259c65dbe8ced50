"""makedumpfile's dumps read back as the memory that they were made from."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import core
from tests.build.memory_file import page_sets, read
from tests.build.notes import prstatus
from tests.build.packing import FLAGS
from tests.build.pages import PAGE, memory, parse
from tests.build.tools import tool
from tests.dumps import answers, dump
from vmsieve.formats.files import PlainFile
from vmsieve.formats.inputs import open_source
from vmsieve.formats.inputs.flattened import FlattenedFile, rebuild

if TYPE_CHECKING:
    from pathlib import Path

    from vmsieve.formats.inputs import Source

pytestmark = pytest.mark.oracle

RECIPE = """
    @0x1000 fill 01020304 x300
    @0x12d000 zero x5
    @0x132000 noise 1 x20
    @0x146000 zero
    @0x400000 fill 000102030405060708090a0b0c0d0e0f x700
    @0x6bc000 noise 9 x3
    @0x9000000 fill 77 x9
"""
#: makedumpfile leaves the machine's name empty if it does not know the kernel.
NAMELESS = ["the header names no machine; it is x86_64 by its registers"]
OPTIONS = {"": [], "zlib": ["-c"], "lzo": ["-l"], "snappy": ["-p"], "zstd": ["-z"]}
CODECS = pytest.mark.parametrize("codec", list(OPTIONS))


def makedumpfile(*arguments: str | Path) -> bytes:
    done = subprocess.run([tool("makedumpfile"), *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def made_with(opened: Source, codec: str) -> None:
    if FLAGS[codec] and opened.header["status"] != FLAGS[codec]:
        pytest.skip(f"this makedumpfile was built without {codec}")


@pytest.fixture
def vmcore(tmp_path: Path) -> Path:
    path = tmp_path / "vmcore"
    path.write_bytes(core(RECIPE, prstatus(1, b"r" * 216) + prstatus(2, b"s" * 216)))
    return path


@CODECS
@pytest.mark.parametrize("level", ["0", "1"])
def test_pages_of_every_codec(codec: str, level: str, vmcore: Path, tmp_path: Path) -> None:
    """Real packers, the shared block of zeros, holes of many blocks: all bytes, singly and in runs."""
    makedumpfile(*OPTIONS[codec], "-d", level, vmcore, tmp_path / "out")
    opened = open_source(str(tmp_path / "out"))
    made_with(opened, codec)
    content = memory(parse(RECIPE))
    assert page_sets(opened, PAGE, 0x9100) == (set(content), set(content))
    assert opened.dump_level == int(level)
    assert [cpu.pid for cpu in opened.cpus] == [1, 2]
    assert opened.remarks == NAMELESS
    for found in opened.ranges():
        expected = b"".join(content[pfn] or b"" for pfn in range(found.start // PAGE, found.end // PAGE))
        assert read(opened, found.start, found.end - found.start) == expected
    for pfn, data in content.items():
        assert read(opened, pfn * PAGE, PAGE) == data
    opened.close()


def test_flattened_streams(vmcore: Path, tmp_path: Path) -> None:
    """A stream gives the file that makedumpfile rebuilds, byte for byte."""
    stream = makedumpfile("-F", "-c", "-d", "1", vmcore)
    (tmp_path / "flat").write_bytes(stream)
    with (tmp_path / "flat").open("rb") as pipe:
        subprocess.run([tool("makedumpfile"), "-R", tmp_path / "rebuilt"], stdin=pipe, check=True, capture_output=True)
    expected = (tmp_path / "rebuilt").read_bytes()
    file = FlattenedFile(PlainFile(str(tmp_path / "flat")))
    out = bytearray(file.size)
    assert file.read_into(0, memoryview(out)) == len(expected)
    assert out == expected
    assert (file.torn, file.remarks) == (False, [])
    file.close()
    with (tmp_path / "flat").open("rb") as pipe, (tmp_path / "ours").open("wb") as target:

        def put(offset: int, data: bytes) -> None:
            target.seek(offset)
            target.write(data)

        assert rebuild(pipe.read, put)
    assert (tmp_path / "ours").read_bytes() == expected
    opened = open_source(str(tmp_path / "flat"))
    assert page_sets(opened, PAGE, 0x9100)[1] == set(memory(parse(RECIPE)))
    opened.close()


def test_elf_cores_with_zero_pages_cut_out(vmcore: Path, tmp_path: Path) -> None:
    """Memory beyond p_filesz exists and is not stored; stored memory is right."""
    recipe = "@0x1000 noise 1 x40\n@0x29000 zero x600\n@0x281000 noise 3 x50\n@0x2b3000 zero x300"
    vmcore.write_bytes(core(recipe, prstatus(1, b"r" * 216)))
    makedumpfile("-E", "-d", "1", vmcore, tmp_path / "out")
    opened = open_source(str(tmp_path / "out"))
    content = memory(parse(recipe))
    exists, stored = page_sets(opened, PAGE, 1024)
    assert exists == set(content)
    assert {pfn for pfn, data in content.items() if data != bytes(PAGE)} <= stored
    assert len(stored) < len(exists) - 800
    for pfn in stored:
        assert read(opened, pfn * PAGE, PAGE) == content[pfn]
    opened.close()


def test_files_of_a_split_dump(vmcore: Path, tmp_path: Path) -> None:
    """All files in any order are the dump; each alone has its pages, and each page is in one file."""
    parts = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    makedumpfile("-c", "-d", "1", "--splitblock-size", "64", "--split", vmcore, *parts)
    content = memory(parse(RECIPE))
    found: list[int] = []
    opened = open_source(f"{parts[2]},{parts[0]},{parts[1]}")
    assert page_sets(opened, PAGE, 0x9100) == (set(content), set(content))
    assert (opened.incomplete, opened.remarks) == (False, NAMELESS)
    assert all(read(opened, pfn * PAGE, PAGE) == data for pfn, data in content.items())
    opened.close()
    for part in parts:
        opened = open_source(str(part))
        assert opened.incomplete
        stored = page_sets(opened, PAGE, 0x9100)[1]
        assert all(read(opened, pfn * PAGE, PAGE) == content[pfn] for pfn in stored)
        found += stored
        opened.close()
    assert sorted(found) == sorted(content)


@CODECS
def test_a_real_dump_filtered_and_packed(codec: str, scratch: Path, tmp_path: Path) -> None:
    """Level 31 of a real kernel's dump: makedumpfile's bitmaps, and every page equal to the ELF core's."""
    original = dump("x86_64-6.1-kdump.elf", scratch)
    makedumpfile(*OPTIONS[codec], "-d", "31", original, tmp_path / "out")
    opened, plain = open_source(str(tmp_path / "out")), open_source(str(original))
    made_with(opened, codec)
    expected = answers("x86_64-6.1-kdump")["levels"]["31"]
    pages = opened.end() // PAGE
    for bits, name in zip(opened.memory_bits(0, -(-pages // 8) * 8, PAGE), ("bitmap1", "bitmap2")):
        assert hashlib.sha256(bytes(bits).rstrip(b"\0")).hexdigest() == expected[f"{name}_sha256"]
    assert opened.header["stored pages"] == expected["kept"]
    assert (opened.machine, opened.notes, opened.cpus) == (plain.machine, plain.notes, plain.cpus)
    assert opened.vmcoreinfo == plain.vmcoreinfo
    for found in opened.ranges():
        for start in range(found.start, found.stored_end, 1 << 20):
            size = min(1 << 20, found.stored_end - start)
            assert read(opened, start, size) == read(plain, start, size)
    opened.close()
    plain.close()
