"""The command line and inputs that are not as they should be: cut, damaged, contradictory, or no dumps at all."""

from __future__ import annotations

import os
import random
import struct
from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import Core, Load
from tests.build.flattened_file import cut, flattened
from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, IMAGE, KERNEL, PAGE, SECTION, Machine
from tests.formats.output_kit import Kdump
from tests.pipeline.cli_kit import failed, vmsieve
from tests.pipeline.kit import contents, expected, machine, make, pages
from vmsieve.formats.errors import ReadError
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.cli import main

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = ("dump", "info", "classes", "dmesg", "verify")


def kept(path: Path) -> set[int]:
    source = open_source(str(path))
    try:
        return pages(source)[1]
    finally:
        source.close()


def arguments(command: str, path: object, other: object) -> list[object]:
    return [command, path] if command in ("info", "classes", "dmesg") else [command, path, other]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("path", ["/dev/urandom", "/dev/zero", "/dev/null", "/", "/nonexistent/file", "empty", "fifo"])
def test_what_is_no_dump_at_all(command: str, path: str, tmp_path: Path) -> None:
    """Devices without an end, folders, named pipes, nothing: one line, at once, and no output left behind."""
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
    """What is there is dumped, how much is missing is said in bytes, and the dump is marked incomplete.

    12 MiB off the end is one of the segments, and of the kernel's text, which two segments describe.
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
    if lacking < 6 << 20:  # the struct pages are all there
        assert set(found) == expected(built, 31) - last
    assert vmsieve("info", tmp_path / "cut").status == 4


def test_no_notes_at_all(built: Machine, tmp_path: Path) -> None:
    """A core without PT_NOTE: every page is kept, which is said."""
    content = {pfn: page for pfn, page in built.contents().items() if pfn < 0x400}
    data = Core([Load(0, b"".join(content[pfn] for pfn in sorted(content)))]).build()
    (tmp_path / "core").write_bytes(data)
    run = vmsieve("dump", "-d", 31, tmp_path / "core", tmp_path / "out")
    assert run.status == 3
    assert "every page is kept" in run.err
    assert contents(tmp_path / "out") == content


GARBLED = {
    "none": b"",
    "noise": random.Random(3).randbytes(4096),
    "zeros": bytes(4096),
    "no release": b"PAGESIZE=4096\nSYMBOL(init_top_pgt)=ffffffff81000000\n",
    "half a key": b"OSRELEASE=6.12.0\nPAGESI",
    "only the release": b"OSRELEASE=6.12.0\nPAGESIZE=4096\n",
    "not numbers": b"OSRELEASE=6.12.0\nPAGESIZE=many\nSYMBOL(init_top_pgt)=here\nSIZE(page)=0x\n",
    "one line": b"OSRELEASE=" + b"6" * 100000,
}


@pytest.mark.parametrize("text", GARBLED.values(), ids=GARBLED)
def test_vmcoreinfo_missing_or_garbled(text: bytes, built: Machine, tmp_path: Path) -> None:
    """Nothing is known of the kernel, so every page is kept and the exit status tells."""
    core = built.write(tmp_path / "core", b"")
    if text:
        notes, data = built.notes(text), bytearray(core.read_bytes())
        place = len(data)
        data += notes
        struct.pack_into("<Q", data, 64 + 8, place)
        struct.pack_into("<QQ", data, 64 + 32, len(notes), len(notes))
        core.write_bytes(data)
    run = vmsieve("dump", "-d", 31, core, tmp_path / "out")
    assert run.status == 3, run
    assert "every page is kept" in run.err
    assert kept(tmp_path / "out") == set(built.frames())
    if text in (b"", GARBLED["noise"]):
        assert vmsieve("info", core).status == 0
        assert vmsieve("classes", core).status == 3
        failed(vmsieve("dmesg", core), "log")


def entries(*values: int) -> bytes:
    return b"".join(struct.pack("<Q", value) for value in values).ljust(PAGE, b"\0")


#: Pages of the kernel (0: the root of the page tables, 6: sections, 7: roots of sections) that are not as they were.
DAMAGE = {
    "root is zeros": {0: entries()},
    "root is noise": {0: random.Random(5).randbytes(PAGE)},
    "root points at itself": {0: entries(*[KERNEL | 0x63] * 512)},
    "root points nowhere": {0: entries(*[1 << 51 | 0x63] * 512)},
    "root of large pages": {0: entries(*[KERNEL | 0xE3] * 512)},
    "tables of the kernel map": {2: random.Random(6).randbytes(PAGE)},
    "direct map is gone": {1: entries()},
    "direct map is elsewhere": {1: entries(1 << 40 | 0xE3)},
    "vmemmap is gone": {4: entries()},
    "vmemmap points at itself": {4: entries(*[KERNEL + 4 * PAGE | 0x63] * 512)},
    "sections are zeros": {6: entries()},
    "sections are noise": {6: random.Random(7).randbytes(PAGE)},
    "sections point at user space": {6: entries(*[0x1000 | 7] * 512)},
    "roots are noise": {7: random.Random(8).randbytes(PAGE)},
    "roots point at themselves": {7: entries(*[0xFFFF888000000000 + KERNEL + 7 * PAGE] * 512)},
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_kernel_that_leads_astray(damage: dict[int, bytes], tmp_path: Path) -> None:
    """Page tables and sections that loop, point outside, or are noise: the pages are kept, and that is said."""
    built = machine()
    built.edits = {KERNEL // PAGE + number: page for number, page in damage.items()}
    run = vmsieve("dump", "-d", 31, built.write(tmp_path / "core"), tmp_path / "out")
    assert run.status == 3, run
    assert kept(tmp_path / "out") == set(built.frames())
    assert vmsieve("info", tmp_path / "core").status == 0


def test_struct_pages_that_are_not_mapped(tmp_path: Path) -> None:
    """The section whose struct pages can't be reached is kept; the other one is filtered."""
    built = machine()
    maps = struct.unpack("<512Q", built._tables()[5])
    built.edits = {KERNEL // PAGE + 5: entries(maps[0])}
    run = vmsieve("dump", "-d", 31, built.write(tmp_path / "core"), tmp_path / "out")
    assert run.status == 3
    assert "struct pages can't be read" in run.err
    second = {pfn for pfn in built.frames() if pfn >= SECTION}
    assert kept(tmp_path / "out") == expected(built, 31) | second


@pytest.mark.parametrize("seed", range(4))
def test_struct_pages_that_are_noise(seed: int, tmp_path: Path) -> None:
    """Overwritten by whatever brought the machine down: what can't be believed drops no page."""
    built = machine()
    for section in built.sections:
        built.maps[section][:] = random.Random(seed).randbytes(len(built.maps[section]))
    run = vmsieve("dump", "-d", 31, built.write(tmp_path / "core"), tmp_path / "out")
    assert run.status == 3
    assert kept(tmp_path / "out") == set(built.frames())


def test_struct_pages_beyond_memory(tmp_path: Path) -> None:
    """Struct pages whose page table points at physical memory that does not exist."""
    built = machine()
    maps = list(struct.unpack("<512Q", built._tables()[5]))
    maps[2] = 1 << 45 | 0xE3
    built.edits = {KERNEL // PAGE + 5: entries(*maps)}
    run = vmsieve("dump", "-d", 31, built.write(tmp_path / "core"), tmp_path / "out")
    assert run.status == 3
    assert kept(tmp_path / "out") == expected(built, 31) | {pfn for pfn in built.frames() if pfn >= SECTION}


def quietly(*words: object, capsys: pytest.CaptureFixture[str]) -> int:
    """The exit status of a run within this process: an exception that escapes it fails the test by itself."""
    status = main([str(word) for word in words])
    err = capsys.readouterr().err
    assert status in range(5)
    if status == 1:
        assert err.count("\n") == 1, err
    return status


ODD = [0, 1, 7, 4096, 0xFFFF, 1 << 31, 1 << 32, 1 << 40, 1 << 52, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1]


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(8))
def test_random_elf_headers(seed: int, built: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fields of the header and of the segments that are anything: outside the file, wrapping, overlapping, huge.

    Whatever is written can be opened, and never holds another content for a page than the core that it was made from.
    """
    dice = random.Random(seed)
    path, out = built.write(tmp_path / "core"), tmp_path / "out"
    head = path.read_bytes()[: 64 + 4 * 56]
    for _ in range(30):
        odd = bytearray(head)
        for _ in range(dice.choice([1, 1, 2, 5])):
            segment = 64 + 56 * dice.randrange(4)
            place, code = dice.choice([
                (segment + dice.choice([8, 16, 24, 32, 40, 48]), "<Q"), (segment, "<I"),
                (dice.choice([24, 32, 40]), "<Q"), (dice.choice([16, 18, 52, 54, 56, 58, 60, 62]), "<H"),
            ])  # fmt: skip
            value = dice.choice([*ODD, dice.getrandbits(64), struct.unpack_from("<Q", odd, 64 + 56 + 24)[0] + PAGE])
            struct.pack_into(code, odd, place, value % (1 << 8 * struct.calcsize(code)))
        with path.open("r+b") as file:
            file.write(odd)
        status = quietly("dump", "-f", "-q", "-d", dice.choice([0, 1, 31]), path, out, capsys=capsys)
        if status != 1:
            assert quietly("verify", path, out, capsys=capsys) in (0, 4)
        assert quietly("info", path, capsys=capsys) in (0, 1, 4)


@pytest.fixture(scope="module")
def small(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kdump-compressed file of level 31, packed with zlib."""
    out = tmp_path_factory.mktemp("small") / "small"
    make(core, out, 31, codec="zlib")
    return out


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(6))
def test_random_kdump_headers(
    seed: int, small: Path, built: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Likewise the main and the sub-header of a kdump-compressed file."""
    dice = random.Random(seed)
    whole = small.read_bytes()
    path, out = tmp_path / "odd", tmp_path / "out"
    for _ in range(25):
        odd = bytearray(whole)
        for _ in range(dice.choice([1, 1, 2, 5])):
            place, code = dice.choice([
                (dice.choice([8, 424, 428, 432, 436, 440, 460]), "<I"), (PAGE + 8 * dice.randrange(13), "<Q"),
                (dice.choice([8, 416, 424, 428, 432]), "<Q"),
            ])  # fmt: skip
            struct.pack_into(
                code, odd, place, dice.choice([*ODD, dice.getrandbits(64)]) % (1 << 8 * struct.calcsize(code))
            )
        path.write_bytes(odd)
        quietly("dump", "-f", "-q", "-d", 31, path, out, capsys=capsys)
        quietly("info", path, capsys=capsys)
        quietly("dmesg", path, capsys=capsys)


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(4))
def test_random_vmcoreinfo(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys of a kernel with values that are anything, or gone: less may be known, nothing escapes and nothing hangs."""
    dice = random.Random(seed)
    odd = ["", "-1", "0x10", "abc", "1e9", "9" * 23, "-9223372036854775808", "ffff888001407000", "ffffea0000000000"]
    for _ in range(12):
        built = Machine(LAYOUTS[dice.choice(sorted(LAYOUTS))], EVERYTHING)
        for key in dice.sample(sorted(built.keys), dice.choice([1, 1, 2, 6])):
            built.keys[key] = dice.choice([*odd, *map(str, ODD), str(dice.getrandbits(dice.choice([4, 8, 16, 32])))])
        core = built.write(tmp_path / "core")
        level = dice.randrange(32)
        assert quietly("dump", "-f", "-q", "-d", level, core, tmp_path / "out", capsys=capsys) in (0, 3)
        assert quietly("classes", core, capsys=capsys) in (0, 3)
        assert quietly("info", core, capsys=capsys) == 0
        assert quietly("dmesg", core, tmp_path / "log", capsys=capsys) == 1


def descriptors(data: bytes | bytearray) -> dict[int, int]:
    """Where the descriptor of each stored page is."""
    parts = Kdump(bytes(data))
    return {pfn: parts.descriptors + 24 * i for i, pfn in enumerate(parts.bits(1))}


POINTERS = {
    "beyond the end": (1 << 40, 100, 1), "negative": ((1 << 64) - 4096, 100, 1), "at the start": (0, 0, 0),
    "too long": (20480, 1 << 30, 1), "empty": (20480, 0, 1), "unknown codec": (20480, 100, 0x4000),
    "two codecs": (20480, 100, 3), "not packed": (20480, 100, 1), "wraps": ((1 << 64) - 1, 0xFFFFFFFF, 0),
}  # fmt: skip


@pytest.mark.parametrize("pointer", POINTERS.values(), ids=POINTERS)
def test_descriptors_that_point_anywhere(
    pointer: tuple[int, int, int], small: Path, built: Machine, tmp_path: Path
) -> None:
    """These pages are listed as unreadable; all others are copied, and the new dump is marked incomplete."""
    data = bytearray(small.read_bytes())
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
    """Bytes of a packed page overwritten: the page is listed, its neighbours are fine."""
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
def test_a_flattened_file_that_ends_early(share: float, small: Path, built: Machine, tmp_path: Path) -> None:
    """What came through is salvaged, and dumped as incomplete: no wait, no wrong page."""
    data = small.read_bytes()
    whole = flattened([(0, data[: Kdump(data).descriptors]), *cut(data, 5000)[1:]])
    (tmp_path / "flat").write_bytes(whole[: min(int(len(whole) * share), len(whole) - 16)])
    run = vmsieve("dump", "-d", 31, tmp_path / "flat", tmp_path / "out")
    if run.status == 1:
        assert share < 0.5
        return
    assert run.status == 4
    truth = built.contents()
    source = open_source(str(tmp_path / "out"))
    assert source.incomplete
    out, good = bytearray(PAGE), 0
    for pfn in pages(source)[1]:
        try:
            source.read_into(pfn * PAGE, memoryview(out))
        except ReadError:
            continue
        assert out == truth[pfn]
        good += 1
    assert good > 0 or share < 0.9
    source.close()


def test_a_kernel_of_another_release_than_its_vmcoreinfo(tmp_path: Path) -> None:
    """VMCOREINFO of another kernel given by hand: nothing that it says leads to this kernel's page tables."""
    core = machine().write(tmp_path / "core")
    other = Machine(LAYOUTS["4.14"], EVERYTHING)
    other.keys["SYMBOL(init_top_pgt)"] = f"{IMAGE + 0x800000:x}"
    (tmp_path / "info").write_bytes(other.vmcoreinfo())
    run = vmsieve("dump", "-d", 31, "--vmcoreinfo", tmp_path / "info", core, tmp_path / "out")
    assert run.status == 3
    assert kept(tmp_path / "out") == set(machine().frames())


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/urandom", "/dev/null"])
def test_vmcoreinfo_from_a_file_that_is_none(path: str, core: Path, built: Machine, tmp_path: Path) -> None:
    """Read up to a limit, found garbled, and every page kept."""
    run = vmsieve("dump", "-d", 31, "--vmcoreinfo", path, core, tmp_path / "out")
    assert run.status == 3
    assert kept(tmp_path / "out") == set(built.frames())


def test_wrong_usage_is_told_in_one_line(core: Path, tmp_path: Path) -> None:
    """In a user's words, and without an output."""
    out = tmp_path / "out"
    for words, said in (
        (["dump", "-d", "32", core, out], "0 to 31"), (["dump", "-d", "x", core, out], "0 to 31"),
        (["dump", "-d", "-1", core, out], "0 to 31"), (["dump", core], "OUTPUT"), ([], "COMMAND"), (["bogus"], "bogus"),
        (["dump", "-l", "-c", core, out], "not allowed"), (["dump", "--codec", "brotli", core, out], "brotli"),
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


@pytest.mark.parametrize("seconds", [-1, 0, 1 << 31, 1 << 62, (1 << 64) - 1])
def test_a_crash_at_any_time(seconds: int, tmp_path: Path) -> None:
    """Told as a date where the calendar has one; kept through a dump as far as its header has room."""
    built = machine()
    built.keys["CRASHTIME"] = str(seconds)
    core = built.write(tmp_path / "core")
    run = vmsieve("info", core)
    assert run.status == 0
    said = next(line for line in run.out.splitlines() if line.startswith("Crash time"))
    expected_text = "unknown" if seconds <= 0 else "2038-01-19" if seconds == 1 << 31 else str(seconds)
    assert expected_text in said
    assert vmsieve("dump", "-q", "-d", 31, core, tmp_path / "out").status == 0
    assert vmsieve("info", tmp_path / "out").status == 0
