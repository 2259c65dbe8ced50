"""The command line with misleading kernels: VMCOREINFO, page tables, struct pages of noise."""

from __future__ import annotations

import random
import re
import struct
from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, IMAGE, KERNEL, PAGE, SECTION, Machine
from tests.pipeline.cli_kit import failed, vmsieve
from tests.pipeline.kit import expected, kept, machine

if TYPE_CHECKING:
    from pathlib import Path


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
    """Without VMCOREINFO every page is kept and the exit status is 3."""
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


#: Damaged pages of the kernel (0: the root of the page tables, 6: sections, 7: roots of sections).
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
def test_misleading_kernels(damage: dict[int, bytes], tmp_path: Path) -> None:
    """Page tables and sections that loop, point outside or are noise: the pages are kept, with a remark."""
    built = machine()
    built.edits = {KERNEL // PAGE + number: page for number, page in damage.items()}
    run = vmsieve("dump", "-d", 31, built.write(tmp_path / "core"), tmp_path / "out")
    assert run.status == 3, run
    assert kept(tmp_path / "out") == set(built.frames())
    assert vmsieve("info", tmp_path / "core").status == 0


def test_struct_pages_that_are_not_mapped(tmp_path: Path) -> None:
    """The section whose struct pages are unreachable is kept; the other one is filtered."""
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
    """Overwritten by the crash: implausible struct pages drop no page."""
    built = machine()
    for section in built.sections:
        built.maps[section][:] = random.Random(seed).randbytes(len(built.maps[section]))
    run = vmsieve("dump", "-d", 31, built.write(tmp_path / "core"), tmp_path / "out")
    assert run.status == 3
    assert kept(tmp_path / "out") == set(built.frames())


def test_struct_pages_beyond_memory(tmp_path: Path) -> None:
    """Struct pages whose page table points at nonexistent physical memory."""
    built = machine()
    maps = list(struct.unpack("<512Q", built._tables()[5]))
    maps[2] = 1 << 45 | 0xE3
    built.edits = {KERNEL // PAGE + 5: entries(*maps)}
    run = vmsieve("dump", "-d", 31, built.write(tmp_path / "core"), tmp_path / "out")
    assert run.status == 3
    assert kept(tmp_path / "out") == expected(built, 31) | {pfn for pfn in built.frames() if pfn >= SECTION}


def test_a_kernel_of_another_release_than_its_vmcoreinfo(tmp_path: Path) -> None:
    """VMCOREINFO of another release, given by hand, leads to no page tables of this kernel."""
    core = machine().write(tmp_path / "core")
    other = Machine(LAYOUTS["4.14"], EVERYTHING)
    other.keys["SYMBOL(init_top_pgt)"] = f"{IMAGE + 0x800000:x}"
    (tmp_path / "info").write_bytes(other.vmcoreinfo())
    run = vmsieve("dump", "-d", 31, "--vmcoreinfo", tmp_path / "info", core, tmp_path / "out")
    assert run.status == 3
    assert kept(tmp_path / "out") == set(machine().frames())


def test_given_vmcoreinfo_of_another_build_is_not_filtered_by(tmp_path: Path) -> None:
    """Its addresses are right, the release in memory differs: every page is kept, exit 3, and both are named."""
    built = machine()
    core = built.write(tmp_path / "core")
    text = built.vmcoreinfo()
    other = re.sub(rb"OSRELEASE=.*", b"OSRELEASE=6.99.0-other", text)
    for info, status, pages in ((text, 0, expected(built, 31)), (other, 3, set(built.frames()))):
        (tmp_path / "info").write_bytes(info)
        run = vmsieve("dump", "-f", "-d", 31, "--vmcoreinfo", tmp_path / "info", core, tmp_path / "out")
        assert (run.status, kept(tmp_path / "out")) == (status, pages)
    assert "VMCOREINFO is wrong: it is of Linux 6.99.0-other, the kernel in memory is " in run.err


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/urandom", "/dev/null"])
def test_vmcoreinfo_from_another_file(path: str, core: Path, built: Machine, tmp_path: Path) -> None:
    """Read up to a limit, rejected as garbled, and every page is kept."""
    run = vmsieve("dump", "-d", 31, "--vmcoreinfo", path, core, tmp_path / "out")
    assert run.status == 3
    assert kept(tmp_path / "out") == set(built.frames())


@pytest.mark.parametrize("seconds", [-1, 0, 1 << 31, 1 << 62, (1 << 64) - 1])
def test_a_crash_at_any_time(seconds: int, tmp_path: Path) -> None:
    """Shown as a date if the calendar has it; stored in a dump as far as its header has bits."""
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
