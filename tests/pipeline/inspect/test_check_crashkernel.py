"""``vmsieve check-crashkernel``: its output, its exit status, and the sources of memory."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.build import s390x
from tests.build.crash_kernel import END, MIB, PAGE, RESERVED, CrashKernel, core, flipped
from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING
from tests.build.s390x_machine import S390Machine
from tests.dumps import dump
from tests.pipeline.cli_kit import vmsieve
from vmsieve.formats import live
from vmsieve.formats.errors import FormatError, ReadError
from vmsieve.formats.inputs import MemoryRange, open_source
from vmsieve.formats.live import DevMemSource, iomem_ranges, open_live
from vmsieve.pipeline.cli.main import main
from vmsieve.pipeline.inspect import crashkernel

if TYPE_CHECKING:
    from pathlib import Path

SIZE = RESERVED[1] - RESERVED[0]
RANGE = f"{RESERVED[0]:x}-{RESERVED[1] - 1:x}"


@pytest.fixture
def intact(tmp_path: Path) -> Path:
    path = tmp_path / "intact"
    path.write_bytes(CrashKernel().core())
    return path


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    loaded = CrashKernel()
    path = tmp_path / "damaged"
    path.write_bytes(core(flipped(loaded.memory(), list(loaded.segments)[1] + 40000)))
    return path


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    path = tmp_path / "nothing"
    path.write_bytes(core(bytes(END)))
    return path


def test_text_output(intact: Path, damaged: Path, nothing: Path) -> None:
    """A verdict and its exit status; an unknown verdict gives one line on standard error with the reason."""
    run = vmsieve("check-crashkernel", intact)
    assert (run.status, run.out.splitlines()[-1]) == (0, "The crash kernel is intact.")
    assert "initrd" in run.out
    run = vmsieve("check-crashkernel", damaged)
    assert run.status == 1
    ramdisk = f"{RESERVED[0] + 2 * MIB:#x}"
    assert any(ramdisk in line and line.endswith("initrd, DAMAGED") for line in run.out.splitlines())
    assert run.out.splitlines()[-1].startswith("The crash kernel is DAMAGED: ")
    run = vmsieve("check-crashkernel", nothing)
    assert (run.status, run.out) == (3, "")
    (line,) = [line for line in run.lines if "can't tell" in line]
    assert "no crash kernel was found" in line


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    status = main(["check-crashkernel", "--json", *map(str, words)])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, found


def test_json_output(capsys: pytest.CaptureFixture[str], intact: Path, damaged: Path, nothing: Path) -> None:
    """The same, and every region."""
    loaded = CrashKernel()
    status, facts = told(capsys, intact)
    assert (status, facts["verdict"], facts["table"]) == (0, "intact", loaded.table_at)
    assert facts["digest_at"] == loaded.table_at + 256
    assert [(r["start"], r["end"]) for r in facts["regions"]] == [(a, a + len(d)) for a, d in loaded.segments.items()]
    status, facts = told(capsys, damaged)
    assert (status, facts["verdict"], facts["digest_at"]) == (1, "damaged", None)
    assert [(r["what"], r["damaged"]) for r in facts["regions"]][:2] == [("kernel", None), ("initrd", True)]
    assert told(capsys, nothing)[1]["verdict"] == "unknown"


@pytest.mark.parametrize(
    "text",
    [RANGE, RANGE.upper(), "-".join(f"0x{end}" for end in RANGE.split("-")), f"4M@{RESERVED[0]:#x}", "4096K@3M",
     f"{SIZE}@{RESERVED[0]}"],
)  # fmt: skip
def test_the_range_can_be_given(capsys: pytest.CaptureFixture[str], intact: Path, text: str) -> None:
    """As in /proc/iomem, or as on the kernel's command line."""
    status, facts = told(capsys, "--crashkernel", text, intact)
    assert (status, facts["crashkernel"]) == (0, [{"start": RESERVED[0], "end": RESERVED[1]}])
    assert facts["crashkernel_from"] == "--crashkernel"


def test_another_range(capsys: pytest.CaptureFixture[str], intact: Path) -> None:
    """A dump without a crash kernel, and one without its memory."""
    assert told(capsys, "--crashkernel", "1M@0", intact)[0] == 3
    status, facts = told(capsys, "--crashkernel", "1M@1T", intact)
    assert status == 3
    assert "not in this dump" in facts["why"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "256M",
        "@",
        "1M@",
        "5-4",
        "0M@1M",
        "x-y",
        "1-2-3",
        "auto",
        "1M@0xffffffffffffffff",
        "99999999999999999999M@1",
    ],
)
def test_no_range(text: str, intact: Path) -> None:
    assert vmsieve("check-crashkernel", "--crashkernel", text, intact).status == 2


def test_wrong_usage(intact: Path) -> None:
    assert vmsieve("check-crashkernel").status == 2
    assert vmsieve("check-crashkernel", "--live", intact).status == 2


def test_exit_status_1_is_damage_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An input that is not a dump or is missing gives an unknown verdict."""
    (tmp_path / "text").write_text("no dump")
    for name in ("text", "absent"):
        status, facts = told(capsys, tmp_path / name)
        assert (status, facts["verdict"]) == (3, "unknown")
        assert name in facts["why"]
    assert vmsieve("check-crashkernel", tmp_path / "text").status == 3


def s390_memory(crash: tuple[int, int]) -> bytes:
    """A big-endian machine whose os_info names the reserved memory."""
    edits = {0xE18: struct.pack(">Q", 0x2000), 0x2000: s390x.os_info({}, crash)}
    return replace(CrashKernel("big", -32), edits=edits).memory()


def test_os_info_has_the_range(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On s390x os_info has the range, or states that nothing is reserved; a damaged one is ignored."""
    path = tmp_path / "dump"
    path.write_bytes(core(s390_memory((RESERVED[0], SIZE)), "big"))
    status, facts = told(capsys, path)
    assert (status, facts["crashkernel_from"]) == (0, "os_info")
    assert facts["crashkernel"] == [{"start": RESERVED[0], "end": RESERVED[1]}]
    path.write_bytes(core(s390_memory((0, 0)), "big"))
    status, facts = told(capsys, path)
    assert (status, facts["why"]) == (3, "no memory was reserved for a crash kernel")
    path.write_bytes(core(flipped(s390_memory((0, 0)), 0x2040), "big"))
    status, facts = told(capsys, path)
    assert (status, facts["crashkernel"]) == (0, None)


def test_a_crash_kernel_that_was_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On s390x a started crash kernel swaps memory with the crashed system: its load address no longer holds it."""
    path = S390Machine(LAYOUTS["6.12"], EVERYTHING).write_two_systems(tmp_path / "both")
    status, facts = told(capsys, path)
    assert status == 3
    assert "started" in facts["why"]


IOMEM = f"""\
00001000-0009fbff : System RAM
000a0000-000fffff : Reserved
00100000-{END - 1:08x} : System RAM
  01000000-01ffffff : Kernel code
  {RESERVED[0]:08x}-{RESERVED[1] - 1:08x} : Crash kernel
100000000-1ffffffff : PCI Bus 0000:00
no line at all
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A running machine simulated by files."""
    (tmp_path / "iomem").write_text(IOMEM)
    (tmp_path / "kcore").write_bytes(CrashKernel().core())
    (tmp_path / "mem").write_bytes(CrashKernel().memory())
    (tmp_path / "kexec_crash_loaded").write_text("1\n")
    monkeypatch.setattr(live, "_IOMEM", str(tmp_path / "iomem"))
    monkeypatch.setattr(live, "_KCORE", str(tmp_path / "kcore"))
    monkeypatch.setattr(live, "_MEM", str(tmp_path / "mem"))
    monkeypatch.setattr(crashkernel, "_LOADED", str(tmp_path / "kexec_crash_loaded"))
    return tmp_path


def test_live(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through /proc/kcore; damaged if the memory is."""
    status, facts = told(capsys, "--live")
    assert (status, facts["crashkernel_from"]) == (0, "/proc/iomem")
    assert facts["crashkernel"] == [{"start": RESERVED[0], "end": RESERVED[1]}]
    loaded = CrashKernel()
    (machine / "kcore").write_bytes(core(flipped(loaded.memory(), next(iter(loaded.segments)))))
    assert told(capsys, "--live")[0] == 1


def test_live_without_kcore(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through /dev/mem; without that too, both reasons are reported."""
    (machine / "kcore").unlink()
    assert told(capsys, "--live")[0] == 0
    assert told(capsys, "--live", "--crashkernel", RANGE)[1]["crashkernel_from"] == "--crashkernel"
    (machine / "mem").unlink()
    status, facts = told(capsys, "--live")
    assert status == 3
    assert "kcore" in facts["why"]
    assert "mem: can't be opened" in facts["why"]


def test_live_kcore_without_the_crash_kernel(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """/dev/mem is tried next."""
    (machine / "kcore").write_bytes(core(CrashKernel().memory()[: 2 * MIB]))
    assert told(capsys, "--live")[0] == 0


def test_live_and_nothing_loaded(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No crash kernel, no reservation, or addresses that only root sees."""
    (machine / "kexec_crash_loaded").write_text("0\n")
    assert "no crash kernel is loaded" in told(capsys, "--live")[1]["why"]
    (machine / "kexec_crash_loaded").unlink()
    (machine / "iomem").write_text(IOMEM.replace("Crash kernel", "Reserved"))
    assert "no memory is reserved" in told(capsys, "--live")[1]["why"]
    (machine / "iomem").write_text("00000000-00000000 : System RAM\n  00000000-00000000 : Crash kernel\n")
    assert "root" in told(capsys, "--live")[1]["why"]
    (machine / "iomem").unlink()
    assert told(capsys, "--live")[0] == 3


def test_dev_mem(machine: Path) -> None:
    """Offsets are physical addresses; System RAM of /proc/iomem exists, also partial pages."""
    source = DevMemSource()
    assert list(source.ranges()) == [MemoryRange(0x1000, 0x9FC00, 0x9FC00), MemoryRange(MIB, END, END)]
    assert source.end() == END
    exists, stored = source.memory_bits(0, 512, PAGE)
    assert exists == stored
    expected = {*range(1, 0xA0), *range(0x100, 0x200)}
    assert {i for i in range(512) if exists[i >> 3] >> (i & 7) & 1} == expected
    assert not any(source.memory_bits(1 << 40, 64, PAGE)[0])
    out = bytearray(100)
    source.read_into(MIB + 5, memoryview(out))
    assert out == CrashKernel().memory()[MIB + 5 : MIB + 105]
    with pytest.raises(ReadError):
        source.read_into(END - 50, memoryview(out))
    with pytest.raises(ReadError):
        source.read_into((1 << 64) - PAGE, memoryview(out))
    source.close()


def test_dev_mem_where_the_crash_kernels_memory_is_apart(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As on s390x."""
    apart = f"00000000-{RESERVED[0] - 1:08x} : System RAM\n{RESERVED[0]:08x}-{RESERVED[1] - 1:08x} : Crash kernel\n"
    (machine / "iomem").write_text(apart + f"{RESERVED[1]:08x}-{END - 1:08x} : System RAM\n")
    (machine / "kcore").unlink()
    assert list(DevMemSource().ranges()) == [MemoryRange(0, END, END)]
    assert told(capsys, "--live")[0] == 0
    (machine / "iomem").write_text(apart)
    assert list(DevMemSource().ranges()) == [MemoryRange(0, RESERVED[1], RESERVED[1])]


def test_iomem(machine: Path) -> None:
    assert iomem_ranges("Crash kernel") == [RESERVED]
    assert iomem_ranges("Persistent Memory") == []
    (machine / "iomem").write_text("nothing")
    with pytest.raises(FormatError):
        DevMemSource()
    (machine / "iomem").write_bytes(bytes(range(256)) * 9)
    assert iomem_ranges("System RAM") == []


def test_kcore_is_preferred(machine: Path) -> None:
    source = open_live(RESERVED[0])
    assert source.file.name.endswith("kcore")
    source.close()


@pytest.mark.oracle
@pytest.mark.parametrize("loader", ["file", "load"])
@pytest.mark.parametrize("kernel", ["x86_64-6.1", "x86_64-7.2", "s390x-6.12"])
def test_real_crash_kernels(
    kernel: str, loader: str, scratch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loaded by kexec_load and kexec_file_load into real machines: intact; damaged after one bit of each region."""
    path = dump(f"{kernel}-kexec-{loader}.elf", scratch)
    status, facts = told(capsys, path)
    assert (status, facts["verdict"]) == (0, "intact")
    assert {"kernel", "initrd"} <= {region["what"] for region in facts["regions"]}
    small = tmp_path / "small"
    whole = open_source(str(path))
    low = min(r["start"] for r in facts["regions"]) // MIB * MIB
    high = max(*(r["end"] for r in facts["regions"]), facts["table"] + 2 * PAGE)
    memory = bytearray(high - low)
    whole.read_into(low, memoryview(memory))
    order = whole.byte_order
    whole.close()
    for region in facts["regions"]:
        at = (region["start"] + region["end"]) // 2 - low
        memory[at] ^= 4
        small.write_bytes(core(bytes(memory), order, low))
        memory[at] ^= 4
        status, found = told(capsys, "--crashkernel", f"{low:x}-{high - 1:x}", small)
        assert (status, found["verdict"]) == (1, "damaged")
        assert not any(one["damaged"] for one in found["regions"] if one["start"] != region["start"])
