"""The command line with inputs that are truncated, damaged or not dumps, and with invalid words."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import Core, Load
from tests.build.flattened_file import cut, flattened
from tests.build.machine import PAGE, Machine
from tests.formats.output_kit import Kdump
from tests.pipeline.cli_kit import failed, vmsieve
from tests.pipeline.kit import contents, expected, make, readable
from vmsieve.formats.errors import ReadError
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from pathlib import Path


COMMANDS = ("dump", "info", "classes", "dmesg", "verify")


def arguments(command: str, path: object, other: object) -> list[object]:
    return [command, path] if command in ("info", "classes", "dmesg") else [command, path, other]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("path", ["/dev/urandom", "/dev/zero", "/dev/null", "/", "/nonexistent/file", "empty", "fifo"])
def test_inputs_that_are_not_dumps(command: str, path: str, tmp_path: Path) -> None:
    """Endless devices, folders, named pipes, nothing: one line, at once, and no output file."""
    (tmp_path / "empty").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    failed(vmsieve(*arguments(command, tmp_path / path, tmp_path / "out")), path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [1, 4, 16, 63, 64, 100, 119])
def test_an_elf_file_without_headers(size: int, core: Path, tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(core.read_bytes()[:size])
    failed(vmsieve("dump", "-d", 31, tmp_path / "cut", tmp_path / "out"), "cut")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lacking", [1, 4095, 5000, 2 << 20, 12 << 20, 32 << 20])
def test_an_elf_core_shorter_than_its_headers_say(lacking: int, core: Path, built: Machine, tmp_path: Path) -> None:
    """The remaining memory is dumped, the missing bytes are counted, and the dump is marked incomplete.

    The 12 MiB off the end are one of the segments, and part of the kernel's text, which two segments describe.
    """
    data = core.read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) - lacking])
    run = vmsieve("dump", "-d", 31, tmp_path / "cut", tmp_path / "out")
    assert run.status == 4
    number = int(next(line for line in run.lines if "cut off" in line).split("cut off: ")[1].split()[0])
    assert lacking <= number <= lacking + (2 << 20)
    out = open_source(str(tmp_path / "out"))
    assert out.incomplete
    out.close()
    truth = built.contents()
    found = contents(tmp_path / "out")
    assert all(truth[pfn] == content for pfn, content in found.items())
    last = {pfn for pfn in built.frames() if pfn >= 0x10800 - -(-lacking // PAGE)}
    if lacking < 6 << 20:  # the struct pages are complete
        assert set(found) == expected(built, 31) - last
    assert vmsieve("info", tmp_path / "cut").status == 4


def test_no_notes_at_all(built: Machine, tmp_path: Path) -> None:
    """A core without PT_NOTE: every page is kept, with a remark."""
    content = {pfn: page for pfn, page in built.contents().items() if pfn < 0x400}
    data = Core([Load(0, b"".join(content[pfn] for pfn in sorted(content)))]).build()
    (tmp_path / "core").write_bytes(data)
    run = vmsieve("dump", "-d", 31, tmp_path / "core", tmp_path / "out")
    assert run.status == 3
    assert "every page is kept" in run.err
    assert contents(tmp_path / "out") == content


def descriptors(data: bytes | bytearray) -> dict[int, int]:
    """Offset of the page descriptor of each stored page."""
    parts = Kdump(bytes(data))
    return {pfn: parts.descriptors + 24 * i for i, pfn in enumerate(parts.bits(1))}


POINTERS = {
    "beyond the end": (1 << 40, 100, 1), "negative": ((1 << 64) - 4096, 100, 1), "at the start": (0, 0, 0),
    "too long": (20480, 1 << 30, 1), "empty": (20480, 0, 1), "unknown codec": (20480, 100, 0x4000),
    "two codecs": (20480, 100, 3), "not packed": (20480, 100, 1), "wraps": ((1 << 64) - 1, 0xFFFFFFFF, 0),
}  # fmt: skip


@pytest.mark.parametrize("pointer", POINTERS.values(), ids=POINTERS)
def test_descriptors_that_point_anywhere(
    pointer: tuple[int, int, int], zlib_dump: Path, built: Machine, tmp_path: Path
) -> None:
    """These pages are listed as unreadable; all others are copied, and the new dump is marked incomplete."""
    data = bytearray(zlib_dump.read_bytes())
    bad = [0x100, 0x101, 0x17F]
    for pfn in bad:
        struct.pack_into("<QIIQ", data, descriptors(data)[pfn], *pointer, 0)
    (tmp_path / "odd").write_bytes(data)
    run = vmsieve("dump", "-d", 31, tmp_path / "odd", tmp_path / "out")
    assert run.status == 4, run
    assert all(f"{pfn * PAGE:#x} can't be read" in run.err for pfn in bad)
    truth = built.contents()
    source = open_source(str(tmp_path / "out"))
    assert source.incomplete
    for pfn in expected(built, 31):
        out = bytearray(PAGE)
        if pfn in bad:
            with pytest.raises(ReadError):
                source.read_into(pfn * PAGE, memoryview(out))
        else:
            source.read_into(pfn * PAGE, memoryview(out))
            assert out == truth[pfn]
    source.close()


@pytest.mark.parametrize("codec", ["zlib", "lzo", "snappy", "zstd"])
def test_packed_pages_that_are_damaged(codec: str, core: Path, built: Machine, tmp_path: Path) -> None:
    """Bytes of a packed page are overwritten: the page is listed, its neighbours are right."""
    make(core, tmp_path / "small", 31, codec=codec)
    data = bytearray((tmp_path / "small").read_bytes())
    bad = [0x105, 0x110]
    for pfn in bad:
        place, size, flags, _ = struct.unpack_from("<QIIQ", data, descriptors(data)[pfn])
        assert flags
        data[place : place + size] = b"\xff" * size
    (tmp_path / "odd").write_bytes(data)
    run = vmsieve("dump", "-d", 31, "--threads", 2, tmp_path / "odd", tmp_path / "out")
    assert run.status == 4
    assert all(f"{pfn * PAGE:#x} can't be read" in run.err for pfn in bad)
    assert "Unreadable pages" in run.err
    run = vmsieve("verify", core, tmp_path / "out")
    assert run.status == 4
    assert "\n2 pages" in run.out
    assert "DIFFER" not in run.out


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.99, 1.0])
def test_a_flattened_file_that_ends_early(share: float, zlib_dump: Path, built: Machine, tmp_path: Path) -> None:
    """The received part is dumped and marked incomplete, without waiting and without a wrong page."""
    data = zlib_dump.read_bytes()
    whole = flattened([(0, data[: Kdump(data).descriptors]), *cut(data, 5000)[1:]])
    (tmp_path / "flat").write_bytes(whole[: min(int(len(whole) * share), len(whole) - 16)])
    run = vmsieve("dump", "-d", 31, tmp_path / "flat", tmp_path / "out")
    if run.status == 1:
        assert share < 0.5
        return
    assert run.status == 4
    source = open_source(str(tmp_path / "out"))
    source.close()
    assert source.incomplete
    found = readable(tmp_path / "out")
    assert found.items() <= built.contents().items()
    assert found or share < 0.9


def test_wrong_usage_gives_one_line(core: Path, tmp_path: Path) -> None:
    """In the user's terms, and without an output file."""
    out = tmp_path / "out"
    for words, said in (
        (["dump", "-d", "32", core, out], "0 to 31"), (["dump", "-d", "x", core, out], "0 to 31"),
        (["dump", "-d", "-1", core, out], "0 to 31"), (["dump", core], "OUTPUT"), ([], "a command is missing"),
        (["bogus"], "bogus"),
        (["dump", "-l", "-c", core, out], "exclude"), (["dump", "--codec", "brotli", core, out], "brotli"),
        (["dump", "--codec", "zlib:99", core, out], "99"), (["dump", "--codec", "zlib:x", core, out], "number"),
        (["dump", "--threads", "-1", core, out], "threads"), (["dump", "--threads", "9999999", core, out], "threads"),
        (["dump", "-E", "-l", core, out], "-E"), (["dump", "--vmcoreinfo", "/nonexistent", core, out], "/nonexistent"),
        (["dump", "--frame", "zip", "-F", core, out], "zip"),
    ):  # fmt: skip
        run = vmsieve(*words)
        assert run.status == 2, run
        assert said in run.err, run.err
        assert "_level" not in run.err
        assert not out.exists(), words
