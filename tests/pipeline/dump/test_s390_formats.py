"""One s390x machine in every input format, written in every output format, and compared with zgetdump."""

from __future__ import annotations

import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import Core, Load
from tests.build.flattened_file import cut, flattened
from tests.build.kdump_file import Kdump
from tests.build.lkcd_file import Lkcd
from tests.build.pages import Page
from tests.build.s390_file import MIB, PAGE, PREFIXES, VMCOREINFO, Dump, compressed, disks, extended, machine, volumes
from tests.build.tools import tool
from tests.build.vmdump_file import Vmdump, pages_of
from tests.dumps import dump
from tests.pipeline.cli_kit import failed, vmsieve
from tests.pipeline.kit import compared, make
from vmsieve.formats.inputs import open_source

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = machine(10) + bytes(MIB)
#: As zgetdump prints it for a dump without a time.
DUMP = Dump(MEMORY, tod=0, tod_end=0, cpu_id=0, real_cpus=0, build_arch=0, mem_end=len(MEMORY) - 1)
PAGES = [Page(at // PAGE, "stored", MEMORY[at : at + PAGE]) for at in range(0, len(MEMORY), PAGE)]


def core(ehsize: int = 64, phoff: int = 64) -> bytes:
    """An ELF core with the registers as notes."""
    return Core([Load(0, MEMORY, vaddr=0)], (notes(),), "big", 22, ehsize=ehsize, phoff=phoff).build()


def notes() -> bytes:
    from tests.build.memory_file import source

    return source(DUMP.flat()).notes


def files() -> dict[str, list[bytes]]:
    """Name of a format, and the content of its files."""
    kdump = Kdump(PAGES, 6, "big", notes=notes(), machine=b"s390x").build()
    return {
        "s390": [DUMP.flat()],
        "s390, tape": [DUMP.tape()],
        "s390_ext": [extended(DUMP)],
        "s390_ext, zlib": [compressed(DUMP)],
        "s390_ext, zlib, FBA": [compressed(DUMP, 512)],
        "s390mv_ext": volumes(DUMP, [5 * MIB, 3 * MIB, 6 * MIB]),
        "s390mv_ext, disks": disks(volumes(DUMP, [5 * MIB, 3 * MIB, 6 * MIB]))[::-1],
        "lkcd": [Lkcd(MEMORY, 0, prefixes=PREFIXES).build()],
        "lkcd, RLE": [Lkcd(MEMORY, 1, prefixes=PREFIXES).build()],
        "lkcd, gzip": [Lkcd(MEMORY, 2, prefixes=PREFIXES).build()],
        "vmdump": [Vmdump(pages_of(MEMORY), len(MEMORY)).build()],
        "elf": [core()],
        # QEMU up to 8.0: e_ehsize 8, program headers at 192.
        "elf, QEMU": [core(ehsize=8, phoff=192)],
        "kdump": [kdump],
        "flattened": [flattened(cut(kdump, 3000))],
    }


FILES = files()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dumps")


def named(folder: Path, name: str) -> str:
    """The input as named on the command line."""
    paths = []
    for number, data in enumerate(FILES[name]):
        path = folder / f"{name.replace(', ', '-')}.{number}"
        if not path.exists():
            path.write_bytes(data)
        paths.append(str(path))
    return ",".join(paths)


@pytest.mark.parametrize("name", sorted(FILES))
def test_memory_survives_every_format(name: str, folder: Path, tmp_path: Path) -> None:
    """A dump of it has every page, with one thread and with two; verify agrees in both directions."""
    path = named(folder, name)
    for threads in (1, 2):
        out = tmp_path / f"out{threads}"
        report = make(path, out, 0, threads=threads)  # type: ignore[arg-type]
        assert report.exit_status() == 0, report.notes
        opened = open_source(str(out))
        memory = bytearray(len(MEMORY))
        opened.read_into(0, memoryview(memory))
        assert bytes(memory) == MEMORY
        assert opened.vmcoreinfo == VMCOREINFO
        assert len(opened.cpus) == 2
        opened.close()
    assert compared(path, out).right  # type: ignore[arg-type]
    assert compared(out, path).right  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(set(FILES) - {"elf", "elf, QEMU", "kdump", "flattened", "s390mv_ext"}))
def test_data_after_a_dump_is_ignored(name: str, tmp_path: Path) -> None:
    """A partition is larger than its dump, and old data follow."""
    paths = []
    for number, data in enumerate(FILES[name]):
        (tmp_path / f"part{number}").write_bytes(data + random.Random(number).randbytes(300_001))
        paths.append(str(tmp_path / f"part{number}"))
    opened = open_source(",".join(paths))
    memory = bytearray(len(MEMORY))
    opened.read_into(0, memoryview(memory))
    assert bytes(memory) == MEMORY
    assert not opened.incomplete
    assert opened.remarks == []
    opened.close()


@pytest.mark.parametrize("name", sorted(set(FILES) - {"vmdump"}))
def test_all_become_the_same_s390_dump(name: str, folder: Path, tmp_path: Path) -> None:
    """Byte for byte except for the time, if the format has it; registers come from lowcores or notes."""
    out = tmp_path / "out.s390"
    assert make(named(folder, name), out, 0, format="s390").exit_status() == 0  # type: ignore[arg-type]
    made, expected = bytearray(out.read_bytes()), bytearray(DUMP.flat())
    for place in (0x38, len(made) - 8):
        made[place : place + 8] = expected[place : place + 8]
    assert made == expected


def test_s390_to_elf_and_back(folder: Path, tmp_path: Path) -> None:
    """The same file, byte for byte."""
    make(named(folder, "s390"), tmp_path / "core", 0, format="elf")  # type: ignore[arg-type]
    make(tmp_path / "core", tmp_path / "back", 0, format="s390")
    assert (tmp_path / "back").read_bytes() == DUMP.flat()


def test_a_real_dump_to_elf_and_back(tmp_path: Path) -> None:
    """Dumps of a machine with two processors, made by zgetdump."""
    path = dump("s390x-6.1.s390", tmp_path)
    make(path, tmp_path / "core", 0, format="elf")
    make(tmp_path / "core", tmp_path / "back", 0, format="s390")
    assert subprocess.run(["cmp", path, tmp_path / "back"], check=False).returncode == 0


def test_registers_of_vmdump_are_put_into_lowcores(folder: Path, tmp_path: Path) -> None:
    """Registers come from the dump's records; memory has other values."""
    out = tmp_path / "out"
    make(named(folder, "vmdump"), out, 0, format="s390")  # type: ignore[arg-type]
    one, other = open_source(named(folder, "vmdump")), open_source(str(out))
    assert [cpu.registers[:208] for cpu in one.cpus] == [cpu.registers[:208] for cpu in other.cpus]


def test_verify_knows_registers_that_were_put_into_memory(tmp_path: Path) -> None:
    """A core whose lowcores are empty, and its s390 dump with filled ones; other changes are found."""
    bare = bytearray(MEMORY)
    for prefix in PREFIXES:
        bare[prefix + 0x1200 : prefix + 0x1400] = bytes(0x200)
    (tmp_path / "core").write_bytes(Core([Load(0, bytes(bare), vaddr=0)], (notes(),), "big", 22).build())
    make(tmp_path / "core", tmp_path / "out", 0, format="s390")
    assert compared(tmp_path / "core", tmp_path / "out").right
    for at in (0x1100, 0x1210, 0x1320):
        made = bytearray((tmp_path / "out").read_bytes())
        made[PAGE + PREFIXES[1] + at] ^= 1
        (tmp_path / "bad").write_bytes(made)
        comparison = compared(tmp_path / "core", tmp_path / "bad")
        assert (comparison.right, comparison.different) == (False, 1)


def test_the_command_line_writes_s390(folder: Path, tmp_path: Path) -> None:
    """To a file, to a raw pipe, flattened, in a frame; pages have no codec."""
    source = named(folder, "s390_ext, zlib")
    out = tmp_path / "out"
    assert vmsieve("dump", "--format", "s390", source, out).status == 0
    with (tmp_path / "piped").open("wb") as piped:
        assert vmsieve("dump", "--format", "s390", source, "-", stdout=piped).status == 0
    assert (tmp_path / "piped").read_bytes() == out.read_bytes() == DUMP.flat()
    assert vmsieve("dump", "--format", "s390", "-F", source, tmp_path / "flat").status == 0
    assert compared(out, tmp_path / "flat").right
    assert vmsieve("dump", "--format", "s390", "--frame", "gzip", source, tmp_path / "framed").status == 0
    assert compared(out, tmp_path / "framed").right
    assert vmsieve("dump", "--format", "s390", "--codec", "zlib", source, tmp_path / "x").status == 2
    assert vmsieve("dump", "--format", "nothing", source, tmp_path / "x").status == 2
    assert vmsieve("dump", "--format", "s390", "-E", source, tmp_path / "x").status == 2


def test_left_out_pages_are_zeros_with_a_remark(tmp_path: Path) -> None:
    """The format has no other representation; level 1 loses nothing."""
    some = [page if page.pfn != 600 else Page(600, "exclude", bytes(PAGE)) for page in PAGES]
    (tmp_path / "in").write_bytes(Kdump(some, 6, "big", notes=notes(), machine=b"s390x").build())
    run = vmsieve("dump", "--format", "s390", tmp_path / "in", tmp_path / "out")
    assert run.status == 0
    assert "an s390 stand-alone dump can't mark pages as left out: they are zeros in it" in run.err
    expected = bytearray(DUMP.flat())
    expected[PAGE + 600 * PAGE : PAGE + 601 * PAGE] = bytes(PAGE)
    assert (tmp_path / "out").read_bytes()[PAGE:-16] == expected[PAGE:-16]
    (tmp_path / "whole").write_bytes(DUMP.flat())
    assert "no word" not in vmsieve("dump", "--format", "s390", "-d", 1, tmp_path / "whole", tmp_path / "b").err


def test_a_torn_dump_stays_torn(tmp_path: Path) -> None:
    """Torn in every output format; the pages that were read are right."""
    for name, data in (("a", compressed(DUMP)[: 4 * MIB]), ("b", extended(DUMP)[: 5 * MIB]), ("c", DUMP.flat()[:-16])):
        (tmp_path / name).write_bytes(data)
        for form in ("kdump", "s390", "elf"):
            run = vmsieve("dump", "--format", form, tmp_path / name, tmp_path / f"{name}.{form}")
            assert run.status == 4
            assert "not complete" in run.err
            made = open_source(str(tmp_path / f"{name}.{form}"))
            assert made.incomplete
            made.close()


def test_a_volume_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    """The output may not be one of the input files."""
    paths = []
    for number, data in enumerate(FILES["s390mv_ext"]):
        (tmp_path / f"vol{number}").write_bytes(data)
        paths.append(tmp_path / f"vol{number}")
    run = vmsieve("dump", "-f", ",".join(map(str, paths)), paths[1])
    assert run.status == 1
    assert "the output is the input" in run.err
    assert paths[1].read_bytes() == FILES["s390mv_ext"][1]
    failed(vmsieve("dump", paths[0], tmp_path / "out"), "volume 1 is missing")


def test_info_has_the_values_of_zgetdump(folder: Path) -> None:
    """Format, version, method and volumes."""
    told = vmsieve("info", named(folder, "s390_ext, zlib")).out
    for words in ("s390 extended stand-alone dump, version 2", "zlib unit:       1048576", "method:          zlib"):
        assert words in told
    assert "volume 0 (0.0.5000): " in vmsieve("info", named(folder, "s390mv_ext, disks")).out


def zgetdump(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [tool("zgetdump"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=120)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["s390", "lkcd", "lkcd, gzip", "vmdump", "elf"])
def test_zgetdump_reads_the_same_memory_from_the_files(name: str, folder: Path, tmp_path: Path) -> None:
    """The made-up files are accepted by zgetdump, which writes the same s390 dump of them as vmsieve."""
    out = tmp_path / "out"
    path = named(folder, name)
    found = zgetdump("-f", "s390", path, out)
    if b"Code page translation" in found.stderr:
        pytest.skip("zgetdump finds no EBCDIC tables (GCONV_PATH)")
    assert found.returncode == 0, found.stderr
    theirs = bytearray(out.read_bytes())
    make(path, tmp_path / "ours", 0, format="s390")  # type: ignore[arg-type]
    ours = bytearray((tmp_path / "ours").read_bytes())
    assert len(ours) == len(theirs)
    for prefix in PREFIXES:
        # The TOD programmable register, which zgetdump does not write.
        place = PAGE + prefix + 0x1324
        theirs[place : place + 4] = ours[place : place + 4]
    assert ours[PAGE:-16] == theirs[PAGE:-16]
    assert ours[0x800:PAGE] == theirs[0x800:PAGE]


@pytest.mark.oracle
def test_zgetdump_reads_what_is_written(folder: Path, tmp_path: Path) -> None:
    """A whole dump with two processors, of which zgetdump makes the same; without the end marker, a torn one."""
    make(named(folder, "s390_ext, zlib"), tmp_path / "ours", 0, format="s390")  # type: ignore[arg-type]
    told = zgetdump("-i", tmp_path / "ours")
    assert told.returncode == 0
    text = (told.stdout + told.stderr).decode()
    assert "CPU count (online).: 2" in text
    assert zgetdump("-f", "s390", tmp_path / "ours", tmp_path / "theirs").returncode == 0
    assert (tmp_path / "theirs").read_bytes() == (tmp_path / "ours").read_bytes()
    (tmp_path / "torn").write_bytes((tmp_path / "ours").read_bytes()[:-16])
    assert zgetdump("-i", tmp_path / "torn").returncode != 0
