"""What QEMU writes: blocks that are no pages of the kernel, machines without a name or with the wrong one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import Core, Load
from tests.build.flattened_file import cut, flattened
from tests.build.kdump_file import Kdump
from tests.build.memory_file import read, source
from tests.build.notes import prstatus, vmcoreinfo
from tests.build.pages import Page
from tests.pipeline.kit import compared, contents, expected, machine, make
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.plan import EXIT_OK

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 65536


def in_blocks(core: Path, size: int = BLOCK, **more: object) -> bytes:
    """The memory of a core as QEMU's ``dump-guest-memory -z`` writes it: all of it, in blocks of ``size`` bytes."""
    source = open_source(str(core))
    pages = []
    for one in source.ranges():
        for paddr in range(one.start, one.end, size):
            data = bytearray(size)
            source.read_into(paddr, memoryview(data))
            pages.append(Page(paddr // size, "stored", bytes(data)))
    notes = more.pop("notes", source.notes)
    source.close()
    return Kdump(pages, page_size=size, notes=notes, **more).build()  # type: ignore[arg-type]


@pytest.mark.parametrize("stream", [False, True], ids=["file", "flattened"])
@pytest.mark.parametrize("size", [16384, BLOCK])
def test_blocks_larger_than_the_kernels_pages(size: int, stream: bool, core: Path, tmp_path: Path) -> None:
    """The pages are filtered like those of any dump, and written in the kernel's size."""
    data = in_blocks(core, size)
    (tmp_path / "in").write_bytes(flattened(cut(data, 1 << 20)) if stream else data)
    report = make(tmp_path / "in", tmp_path / "out", 31)
    assert report.exit_status() == EXIT_OK
    kept = expected(machine(), 31)
    assert set(contents(tmp_path / "out")) == kept
    assert open_source(str(tmp_path / "out")).page_size == 4096
    assert compared(tmp_path / "in", tmp_path / "out").right


def relabelled(path: Path, name: bytes) -> bytes:
    """A kdump file with the names that QEMU writes: that of the machine alone."""
    data = bytearray(path.read_bytes())
    data[12 : 12 + 6 * 65] = bytes(4 * 65) + name.ljust(65, b"\0") + bytes(65)
    return bytes(data)


@pytest.mark.parametrize("name", [b"Unknown", b"", b"toaster"])
@pytest.mark.parametrize("searched", [False, True], ids=["note", "memory"])
def test_a_machine_without_a_name(searched: bool, name: bytes, core: Path, tmp_path: Path) -> None:
    """It is found out, by VMCOREINFO wherever that is; the dump is filtered, and both outputs have the right label."""
    text = machine().vmcoreinfo()
    whole = tmp_path / "whole"
    make(core, whole, 0)
    if searched:
        data = in_blocks(core, 4096, notes=b"", machine=name)
        # The kernel's own note, at the start of a page that nothing needs.
        at = data.rindex(machine().contents()[0x340])
        data = data[:at] + vmcoreinfo(text) + data[at + len(vmcoreinfo(text)) :]
    else:
        data = relabelled(whole, name)
    (tmp_path / "in").write_bytes(data)
    for form in ("kdump", "elf"):
        report = make(tmp_path / "in", tmp_path / form, 31, format=form)
        assert report.exit_status() == EXIT_OK
        label = name.decode() or "without a name"
        assert any(f"labelled {label}, is x86_64 by its VMCOREINFO" in line for line in report.notes)
    opened = open_source(str(tmp_path / "kdump"))
    assert (opened.machine, opened.utsname[0]) == ("x86_64", "Linux")
    assert set(contents(tmp_path / "kdump")) == expected(machine(), 31)
    assert (tmp_path / "elf").read_bytes()[18:20] == bytes((62, 0))


CLUES = {
    "x86_64": (b"SYMBOL(init_top_pgt)=ffffffff82000000\n", 27, "little"),
    "aarch64": (b"NUMBER(kimage_voffset)=0xffff7fff40000000\n", 34, "little"),
    "ppc64le": (b"OFFSET(mmu_psize_def.shift)=0\n", 48, "little"),
    "ppc64": (b"SYMBOL(_stext)=c000000000000000\n", 48, "big"),
    "s390x": (b"SYMBOL(lowcore_ptr)=1000\n", 27, "big"),
    "riscv64": (b"NUMBER(phys_ram_base)=0x80000000\n", 32, "little"),
    "loongarch64": (b"SYMBOL(_stext)=9000000000200000\n", 0, "little"),
}


@pytest.mark.parametrize("name", CLUES)
@pytest.mark.parametrize("by", ["text", "memory", "release", "registers", "name"])
def test_what_tells_a_machine(by: str, name: str) -> None:
    """VMCOREINFO's keys and the kernel's release, as a note or in memory; the registers; the kernel's own name."""
    key, registers, order = CLUES[name]
    notes, page, release = b"", bytes(4096), b"OSRELEASE=6.1.0\n"
    if by == "text":
        notes = vmcoreinfo(release + key, order)
    elif by == "release":
        notes = vmcoreinfo(f"OSRELEASE=6.1.0-7.{name}\n".encode(), order)
    elif by == "memory":
        page = vmcoreinfo(release + key, order).ljust(4096, b"\0")
    elif by == "registers":
        if not registers:
            pytest.skip("mips64 has as many")
        notes = prstatus(1, bytes(registers * 8), order)
    else:
        names = (b"Linux", b"node", b"6.1.0", b"#1", name.encode(), b"(none)")
        page = (b"x" * 99 + b"".join(one.ljust(65, b"\0") for one in names)).ljust(4096, b"x")
    opened = source(Kdump([Page(3, "stored", page)], order=order, notes=notes, machine=b"Unknown").build())
    assert (opened.machine, opened.byte_order) == (name, order)
    if not name.startswith(("ppc64", "s390x")):
        assert source(Core([Load(0x3000, page)], (notes,), order, 0x1234).build()).machine == name


def test_a_machine_that_nothing_tells(tmp_path: Path) -> None:
    """It stays what it was; so does one of 32 bits."""
    for text in (
        b"OSRELEASE=6.1.0\n",
        b"OSRELEASE=6.1.0-amd64\nSYMBOL(_stext)=c1000000\n",
        b"SYMBOL(_stext)=zz\n",
        b"",
    ):
        notes = vmcoreinfo(text) if text else b""
        opened = source(Kdump([Page(3, "stored", bytes(4096))], notes=notes, machine=b"Unknown").build())
        assert opened.machine == "Unknown"
        assert source(Core([Load(0x3000, bytes(4096))], (notes,), machine=3).build()).machine == "i386"


@pytest.mark.parametrize("order", ["little", "big"])
def test_headers_of_the_wrong_byte_order(order: str) -> None:
    """The kernel's own VMCOREINFO tells; the notes are turned round."""
    other = {"little": "big", "big": "little"}[order]
    page = vmcoreinfo(b"OSRELEASE=6.1\nNUMBER(kimage_voffset)=0x10\n", order).ljust(4096, b"\0")
    notes = prstatus(7, bytes(range(272 // 2)) * 2, other)
    opened = source(Kdump([Page(3, "stored", page)], order=other, notes=notes, machine=b"Unknown").build())
    assert (opened.machine, opened.byte_order, opened.cpus[0].pid) == ("aarch64", order, 7)
    assert opened.cpus[0].registers[:8] == bytes(range(8))[::-1]
    assert read(opened, 0x3000, 64) == page[:64]
