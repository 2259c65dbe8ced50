"""Dumps of two systems: a machine that crashed, and the kdump kernel that failed to dump it."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, MIB, PAGE
from tests.build.s390x_machine import CRASH, KDUMP_PREFIX, PREFIXES, S390Machine
from tests.pipeline.kit import contents, make, read
from vmsieve.formats import systems
from vmsieve.formats.errors import FormatError, ReadError, UsageError
from vmsieve.formats.inputs import MemoryRange, open_source
from vmsieve.formats.s390_registers import parse_notes
from vmsieve.formats.selected import SelectedSource
from vmsieve.formats.systems import SYSTEMS, open_system
from vmsieve.pipeline.cli.main import main
from vmsieve.pipeline.process.exits import EXIT_WEAKER

if TYPE_CHECKING:
    from pathlib import Path

BASE, SIZE = CRASH
#: Page frames that the crashed system did not use: the kdump kernel's memory.
RESERVED = set(range(BASE // PAGE, (BASE + SIZE) // PAGE))


@pytest.fixture(scope="module", params=["6.1", "6.12"])
def built(request: pytest.FixtureRequest) -> S390Machine:
    return S390Machine(LAYOUTS[request.param], EVERYTHING)


@pytest.fixture(scope="module")
def both(built: S390Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built.write_two_systems(tmp_path_factory.mktemp("systems") / "both")


def test_the_crashed_system_is_dumped_as_if_it_were_alone(both: Path, built: S390Machine, tmp_path: Path) -> None:
    """Every page of a dump of the machine alone, except for the memory that it had given away."""
    make(built.write_s390(tmp_path / "alone"), tmp_path / "expected", 31)
    expected = {pfn: page for pfn, page in contents(tmp_path / "expected").items() if pfn not in RESERVED}
    assert main(["dump", "-q", "--select", "prod", "-d", "31", str(both), str(tmp_path / "out")]) == 0
    assert contents(tmp_path / "out") == expected
    source = open_source(str(tmp_path / "out"))
    assert source.vmcoreinfo == built.vmcoreinfo()
    assert source.crash_time == 1700000000
    cpus = parse_notes(source.notes)
    assert [cpu.prefix for cpu in cpus] == list(PREFIXES)
    assert cpus[0].psw != cpus[1].psw
    source.close()
    assert main(["verify", "--select", "prod", str(both), str(tmp_path / "out")]) == 0


def test_the_memory_of_the_crashed_system_is_in_its_place(both: Path, built: S390Machine) -> None:
    """The machine's first memory is at 0 again, the kdump kernel's is gone; bitmaps, ranges and reads agree."""
    source, truth = open_system(str(both), "prod"), built.contents()
    end = 264 * MIB
    assert list(source.ranges()) == [MemoryRange(0, BASE, BASE), MemoryRange(BASE + SIZE, end, end)]
    assert source.end() == end
    exists, stored = source.memory_bits(0, end // PAGE, PAGE)
    assert exists == stored
    for pfn in range(0, 24 * MIB // PAGE, 3):
        assert bool(exists[pfn // 8] >> pfn % 8 & 1) == (pfn not in RESERVED)
        if pfn not in RESERVED:
            assert read(source, pfn) == truth[pfn], hex(pfn)
    across = bytearray(4 * PAGE)
    source.read_into(SIZE - 2 * PAGE, memoryview(across))
    assert across == b"".join(truth[SIZE // PAGE + i] for i in range(-2, 2))
    for paddr in (BASE, BASE - PAGE, BASE + SIZE - PAGE):
        with pytest.raises(ReadError, match="no such physical memory") as caught:
            source.read_into(paddr, memoryview(bytearray(2 * PAGE)))
        assert caught.value.offset == max(paddr, BASE)
    for first in range(0, end // PAGE, 8 * 1024):
        part = source.memory_bits(first, 8 * 1024, PAGE)[0]
        assert part[: len(exists) - first // 8] == exists[first // 8 : first // 8 + 1024]
    assert [source.next_memory(at) for at in (0, SIZE, BASE, BASE + SIZE)] == [0, SIZE, BASE + SIZE, BASE + SIZE]
    source.close()


def test_the_kdump_kernel_can_be_looked_at(both: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own VMCOREINFO and registers, and its memory only."""
    assert main(["info", "--json", "--select", "kdump", str(both)]) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert facts["kernel"]["release"] == "6.1.0-kdump"
    assert facts["memory"]["end"] == SIZE
    assert facts["header"]["system"] == SYSTEMS["kdump"]
    assert any("processors of the other kernel are left out: 1" in odd for odd in facts["odd"])
    source = open_system(str(both), "kdump")
    assert [cpu.prefix for cpu in parse_notes(source.notes)] == [KDUMP_PREFIX]
    source.close()


def test_all_shows_memory_unchanged(both: Path) -> None:
    """Both systems' pages at their physical addresses."""
    source, plain = open_system(str(both), "all"), open_source(str(both))
    assert list(source.ranges()) == list(plain.ranges())
    assert read(source, 0) == read(plain, 0)
    assert source.header["memory_of_the_kdump_kernel"] == "0xc00000 - 0xffffff changed places with 0x0 - 0x3fffff"
    source.close()
    plain.close()


def test_all_of_two_kernels_is_not_filtered(both: Path, tmp_path: Path) -> None:
    """Neither kernel's knowledge holds for the other: every page is kept, with a remark."""
    out = tmp_path / "out"
    assert main(["dump", "-q", "--select", "all", "-d", "30", str(both), str(out)]) == EXIT_WEAKER
    assert contents(out) == contents(both)
    assert main(["dump", "-q", "-f", "--select", "all", str(both), str(out)]) == 0
    assert contents(out) == contents(both)


@pytest.mark.parametrize("command", ["dump", "info", "classes", "dmesg"])
def test_nothing_is_done_before_one_is_chosen(
    command: str, both: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the choices as options, and no output is begun."""
    more = [str(tmp_path / "out")] if command == "dump" else []
    assert main([command, str(both), *more]) == 1
    told = capsys.readouterr().err
    assert "two systems" in told
    assert all(f"--select {name}" in told for name in ("prod", "kdump", "all"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("select", ["prod", "kdump", "all"])
def test_select_with_one_system_is_a_usage_error(select: str, built: S390Machine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one system"):
        open_system(str(built.write_s390(tmp_path / "alone")), select)
    core = S390Machine(LAYOUTS["6.1"]).write(tmp_path / "core")
    data = bytearray(core.read_bytes())
    data[4:6] = b"\2\1"  # another byte order, so not s390x
    (tmp_path / "other").write_bytes(data)
    with pytest.raises((UsageError, FormatError)):
        open_system(str(tmp_path / "other"), select)


@pytest.mark.parametrize(
    "place",
    [
        (0, SIZE), (BASE, 0), (BASE + PAGE, SIZE), (BASE, SIZE + PAGE), (1 << 40, SIZE), (BASE, BASE + MIB),
        (1 << 63, 1 << 63),
    ],
)  # fmt: skip
def test_impossible_kdump_memory_is_rejected(place: tuple[int, int], built: S390Machine, tmp_path: Path) -> None:
    """Zero, not in whole MiB, not in memory, or overlapping its swapped memory."""
    path = built.write_s390(tmp_path / "dump")
    with path.open("r+b") as file:
        file.seek(PAGE + 0x10418)
        file.write(struct.pack(">QQ", *place))
    source = open_system(str(path))
    assert not isinstance(source, SelectedSource)
    source.close()


def test_kdump_memory_with_a_hole_is_rejected(tmp_path: Path) -> None:
    """A core with a hole in that memory."""
    machine = S390Machine(LAYOUTS["6.1"], ram=((0, 24 * MIB), (256 * MIB, 264 * MIB)))
    machine.edits[0x10] = bytes(0x418) + struct.pack(">QQ", 22 * MIB, 8 * MIB)
    source = open_system(str(machine.write(tmp_path / "core")))
    assert systems._kdump_memory(source) is None
    source.close()


def test_registers_are_not_read_from_a_wrong_array(built: S390Machine, tmp_path: Path) -> None:
    """An invalid array of lowcores: no registers, with a remark."""
    machine = S390Machine(built.layout)
    machine.keys["SYMBOL(lowcore_ptr)"] = "7ffffff000"
    source = open_system(str(machine.write_two_systems(tmp_path / "both")), "prod")
    assert source.cpus == ()
    assert any("array of lowcores" in odd for odd in source.remarks)
    assert source.vmcoreinfo == machine.vmcoreinfo()
    source.close()
    del machine.keys["LENGTH(lowcore_ptr)"]
    source = open_system(str(machine.write_two_systems(tmp_path / "other")), "prod")
    assert any("does not export lowcore_ptr" in odd for odd in source.remarks)
    source.close()
