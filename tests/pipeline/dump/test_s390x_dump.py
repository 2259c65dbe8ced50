"""s390x machines filtered on the host: kept pages, written bytes, and other readers."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, MIB, PAGE
from tests.build.s390x import cksm, lowcore, os_info
from tests.build.s390x_machine import CRASH, KERNEL, OS_INFO, PREFIXES, S390Machine
from tests.build.tools import tool
from tests.dumps import dump
from tests.pipeline.kit import compared, contents, make
from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.inputs import open_source
from vmsieve.formats.s390_registers import parse_notes
from vmsieve.pipeline.cli.main import main
from vmsieve.pipeline.process.exits import EXIT_WEAKER

if TYPE_CHECKING:
    from pathlib import Path

REAL = "s390x-6.1.s390"


@pytest.fixture(scope="module", params=["6.1", "6.12"])
def built(request: pytest.FixtureRequest) -> S390Machine:
    return S390Machine(LAYOUTS[request.param], EVERYTHING)


@pytest.fixture(scope="module")
def alone(built: S390Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The machine as a stand-alone dump."""
    return built.write_s390(tmp_path_factory.mktemp("machine") / "dump")


def test_a_kdump_file_is_big_endian_with_the_right_headers(alone: Path, built: S390Machine, tmp_path: Path) -> None:
    """Every header field that other tools read, by its offset."""
    out = tmp_path / "out"
    report = make(alone, out, 31, codec="zlib")
    assert (report.exit_status(), report.notes) == (0, [])
    data = out.read_bytes()
    fields = struct.unpack_from(">8si390s6xqqIiiIIIIIIi", data)
    sub = struct.unpack_from(">QiiQQqQqQqQQQQ", data, PAGE)
    names = [fields[2][i * 65 : i * 65 + 65].rstrip(b"\0") for i in range(6)]
    assert fields[:2] == (b"KDUMP   ", 6)
    assert names == [b"Linux", b"testbox", built.layout.release.encode(), b"#1 SMP", b"s390x", b"(none)"]
    assert (fields[3], fields[6], fields[9], fields[14]) == (1700000000, PAGE, 0x10800, 2)
    assert sub[:3] == (0, 31, 0)
    assert data[sub[5] : sub[5] + sub[6]] == built.vmcoreinfo()
    cpus = parse_notes(data[sub[7] : sub[7] + sub[8]])
    assert [cpu.prefix for cpu in cpus] == list(PREFIXES)
    assert sub[13] == 0x10800
    first = struct.unpack_from(">qIIQ", data, (1 + fields[7] + fields[8]) * PAGE)
    assert 0 < first[0] < len(data)


@pytest.mark.parametrize("form", ["kdump", "elf"])
def test_a_dump_of_a_stand_alone_dump_is_right(form: str, alone: Path, built: S390Machine, tmp_path: Path) -> None:
    """Filtered once or twice: the right pages, their bytes, registers and VMCOREINFO."""
    out, again = tmp_path / "out", tmp_path / "again"
    make(alone, out, 31, format=form)
    make(out, again, 31)
    comparison = compared(alone, out)
    assert (comparison.right, comparison.extra) == (True, 0)
    direct = tmp_path / "direct"
    make(alone, direct, 31)
    assert contents(again) == contents(direct)
    for path in (out, again):
        source = open_source(str(path))
        assert (source.machine, source.byte_order, len(source.cpus)) == ("s390x", "big", 2)
        assert (source.vmcoreinfo, source.remarks) == (built.vmcoreinfo(), [])
        knowledge = gather_knowledge(source)
        assert knowledge.problem is None
        source.close()


@pytest.mark.parametrize("what", ["tables", "VMCOREINFO", "sections"])
def test_pages_of_an_unknown_kernel_are_kept(what: str, built: S390Machine, tmp_path: Path) -> None:
    """Without page tables, VMCOREINFO or memory map every page is in the dump, and the exit status says so."""
    machine = S390Machine(built.layout, EVERYTHING)
    if what == "tables":
        machine.edits |= {KERNEL // PAGE + i: bytes(PAGE) for i in range(4)}
    elif what == "sections":
        machine.edits |= {KERNEL // PAGE + i: b"\xa5" * PAGE for i in (16, 17)}
    else:
        machine.edits |= {0: b"", KERNEL // PAGE + 14: b""}
    path = machine.write_s390(tmp_path / "dump")
    report = make(path, tmp_path / "out", 30)
    assert report.exit_status() == EXIT_WEAKER
    assert any("every page is kept" in note for note in report.notes)
    assert contents(tmp_path / "out") == contents(path)


def test_pages_that_other_tools_need_stay_in(scratch: Path, tmp_path: Path) -> None:
    """Lowcores, os_info, the VMCOREINFO note and vector registers are in the dump of level 31, as in makedumpfile's.

    crash and libkdumpfile follow the lowcore's pointers in the filtered dump. (The equality of the selection with
    makedumpfile's, bit for bit, is tested with the levels.)
    """
    path = dump(REAL, scratch)
    make(path, tmp_path / "out", 31)
    original, kept = open_source(str(path)), contents(tmp_path / "out")

    def number(paddr: int) -> int:
        return int.from_bytes(kept[paddr // PAGE][paddr % PAGE : paddr % PAGE + 8], "big")

    places = [0, 0x1000, 0x10000, number(0xE0C), number(0xE18)]
    for cpu in parse_notes(original.notes):
        places += [cpu.prefix, cpu.prefix + 0x1000, number(cpu.prefix + 0x11B0)]
    assert len(places) == 11
    assert all(places[3:])
    page = bytearray(PAGE)
    for place in places:
        original.read_into(place // PAGE * PAGE, memoryview(page))
        assert kept[place // PAGE] == page, hex(place)
    original.close()


def test_the_log_and_the_registers_of_a_real_machine(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The log to its last line; the PSW of each processor: one in the panic, one idle."""
    path = dump(REAL, scratch)
    assert main(["dmesg", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 162
    assert lines[0].startswith("[   11.237967] [      T0] Linux version 6.1.0-50-s390x ")
    assert any("Kernel panic - not syncing: sysrq triggered crash" in line for line in lines)
    source = open_source(str(path))
    assert [cpu.registers[:16].hex() for cpu in source.cpus] == [
        "0002000180000000000000000010fdee", "0404c00180000000000000000011728e",
    ]  # fmt: skip
    source.close()


def test_info_says_what_the_kernel_left_for_dump_tools(
    built: S390Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """os_info and each entry with its checksum's state, the crash kernel's memory, each processor's state."""
    machine, block = S390Machine(built.layout), b"boot me again" * 9
    place = 5 * MIB
    machine.edits[place // PAGE] = block
    entries = {1: (place, len(block), cksm(block)), 2: (place, 8, 1), 5: (0x3FFE0000000, 0, 0)}
    machine.edits[OS_INFO // PAGE] = os_info(entries, CRASH)
    path = machine.write_s390(tmp_path / "dump")
    assert main(["info", "--json", str(path)]) == 0
    facts = json.loads(capsys.readouterr().out)
    header = facts["header"]
    assert header["os_info"] == f"OK at {OS_INFO:#x}, version 1.1"
    assert header["crash_kernel_memory"] == "0xc00000 - 0xffffff"
    assert header["os_info_vmcoreinfo"] == "none"
    assert header["os_info_reipl_block"] == "OK, 117 bytes at 0x500000"
    assert header["os_info_flags"] == "BAD, 8 bytes at 0x500000"
    assert header["os_info_kaslr_offset"] == "0x3ffe0000000"
    assert (header["vmcoreinfo_from"], header["processors"]) == ("the lowcore", "2, registers of 2")
    assert [line.split(", ")[0] for line in header["registers"]] == [f"prefix {prefix:#x}" for prefix in PREFIXES]
    assert facts["cpus"] == 2
    assert facts["odd"] == ["the os_info entry FLAGS can't be used: BAD, 8 bytes at 0x500000"]
    assert main(["info", str(path)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for line in (
        "os info reipl block: OK, 117 bytes at 0x500000", "crash kernel memory: 0xc00000 - 0xffffff",
        f"Registers: prefix {PREFIXES[0]:#x}, PSW ", "Odd: the os_info entry FLAGS can't be used",
    ):  # fmt: skip
        assert line in told


@pytest.mark.parametrize(
    ("word", "state"),
    [("0002000180000000", "stopped (disabled wait)"), ("0706000180000000", "idle"), ("0404c00180000000", "running")],
)
def test_info_says_what_a_processor_was_doing(
    word: str, state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its PSW: waiting or not, enabled for interrupts or not."""
    machine = S390Machine(LAYOUTS["6.1"])
    area = bytearray(lowcore(PREFIXES[0], 3))
    area[0x1300:0x1308] = bytes.fromhex(word)
    machine.edits[PREFIXES[0] // PAGE + 1] = bytes(area[PAGE:])
    assert main(["info", "--json", str(machine.write_s390(tmp_path / "dump"))]) == 0
    first = json.loads(capsys.readouterr().out)["header"]["registers"][0]
    assert first.endswith(f", {state}")
    assert f"PSW {word} " in first


def test_a_copy_of_a_running_system_is_marked(tmp_path: Path) -> None:
    """The mark that zgetdump writes at address 0."""
    machine = S390Machine(LAYOUTS["6.1"])
    first = bytearray(machine._physical()[0])
    first[:8] = b"LIVEDUMP"
    machine.edits[0] = bytes(first)
    source = open_source(str(machine.write(tmp_path / "core")))
    assert source.header["dump_method"] == "live"
    source.close()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


_KDUMPFILE = """
import sys
from kdumpfile import kdumpfile, KDUMP_MACHPHYSADDR, KDUMP_KVADDR
dump = kdumpfile(sys.argv[1])
dump.attr["addrxlat.ostype"] = "linux"
print(dump.attr["arch.name"], dump.attr["linux.uts.release"], dump.attr["cpu.number"])
for place in sys.argv[2:]:
    print(dump.read(KDUMP_MACHPHYSADDR, int(place), 4096).hex())
print(bytes(dump.read(KDUMP_KVADDR, int(dump.attr["linux.vmcoreinfo.SYMBOL.init_uts_ns"]), 5)))
"""


@pytest.mark.oracle
@pytest.mark.parametrize("option", ["-c", "-z", "-E"])
def test_libkdumpfile_reads_it(option: str, scratch: Path, tmp_path: Path) -> None:
    """Physical pages, and the kernel's name by its virtual address."""
    path, out = dump(REAL, scratch), tmp_path / "out"
    python = os.environ.get("VMSIEVE_KDUMPFILE_PYTHON", "/usr/bin/python3")
    try:
        found = subprocess.run([python, "-c", "import kdumpfile"], capture_output=True, check=False)
    except OSError:
        pytest.skip(f"there is no {python}")
    if found.returncode:
        pytest.skip(f"{python} has no libkdumpfile")
    assert main(["dump", "-q", "-d", "31", option, str(path), str(out)]) == 0
    places = [0, 0x1000, 0xD85000, 0x1290000]
    first, *pages, name = _run(python, "-c", _KDUMPFILE, str(out), *map(str, places)).splitlines()
    assert first == "s390x 6.1.0-50-s390x 2"
    assert name == "b'Linux'"
    source, page = open_source(str(path)), bytearray(PAGE)
    for place, content in zip(places, pages):
        source.read_into(place, memoryview(page))
        assert bytes.fromhex(content) == page
    source.close()


@pytest.mark.oracle
@pytest.mark.parametrize("option", ["-z", "-E"])
def test_drgn_reads_it(option: str, scratch: Path, tmp_path: Path) -> None:
    """VMCOREINFO and pages."""
    drgn = pytest.importorskip("drgn", reason="drgn is not installed")
    path, out = dump(REAL, scratch), tmp_path / "out"
    assert main(["dump", "-q", "-d", "31", option, str(path), str(out)]) == 0
    program = drgn.Program()
    program.set_core_dump(str(out))
    assert program.platform.arch == drgn.Architecture.S390X
    assert b"OSRELEASE=6.1.0-50-s390x\n" in program["VMCOREINFO"].string_()
    source, page = open_source(str(path)), bytearray(PAGE)
    for place in (0, 0x1000, 0xD85000, 0x1290000):
        source.read_into(place, memoryview(page))
        assert program.read(place, PAGE, physical=True) == page
    source.close()


@pytest.mark.oracle
def test_makedumpfile_reads_it_again(scratch: Path, tmp_path: Path) -> None:
    """An emulated s390x makedumpfile (VMSIEVE_MAKEDUMPFILE_S390X) finds no more pages to drop, and the same pages."""
    makedumpfile = tool("makedumpfile_s390x")
    path, out, theirs = dump(REAL, scratch), tmp_path / "out", tmp_path / "theirs"
    assert main(["dump", "-q", "-d", "31", "-c", str(path), str(out)]) == 0
    _run(makedumpfile, "-c", "-d", "31", str(out), str(theirs))
    assert contents(theirs) == contents(out)
