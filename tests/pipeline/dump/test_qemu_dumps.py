"""QEMU's dumps: blocks of another size than the kernel's pages, machines without a name or with a wrong one."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import Core, Load
from tests.build.flattened_file import cut, flattened
from tests.build.kdump_file import Kdump
from tests.build.memory_file import read, source
from tests.build.notes import note, prstatus, vmcoreinfo
from tests.build.pages import Page
from tests.pipeline.kit import compared, contents, expected, machine, make
from vmsieve.formats.errors import UnsupportedError
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.process.exits import EXIT_OK

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 65536


def in_blocks(core: Path, size: int = BLOCK, **more: object) -> bytes:
    """The memory of a core as QEMU's ``dump-guest-memory -z`` writes it: unfiltered, in blocks of ``size`` bytes."""
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
    """The pages are filtered as in any dump, and written in the kernel's page size."""
    data = in_blocks(core, size)
    (tmp_path / "in").write_bytes(flattened(cut(data, 1 << 20)) if stream else data)
    report = make(tmp_path / "in", tmp_path / "out", 31)
    assert report.exit_status() == EXIT_OK
    kept = expected(machine(), 31)
    assert set(contents(tmp_path / "out")) == kept
    assert open_source(str(tmp_path / "out")).page_size == 4096
    assert compared(tmp_path / "in", tmp_path / "out").right


def relabelled(path: Path, name: bytes) -> bytes:
    """A kdump file with the names that QEMU writes: the machine's only."""
    data = bytearray(path.read_bytes())
    data[12 : 12 + 6 * 65] = bytes(4 * 65) + name.ljust(65, b"\0") + bytes(65)
    return bytes(data)


@pytest.mark.parametrize("name", [b"Unknown", b"", b"toaster"])
@pytest.mark.parametrize("searched", [False, True], ids=["note", "memory"])
def test_a_machine_without_a_name(searched: bool, name: bytes, core: Path, tmp_path: Path) -> None:
    """VMCOREINFO identifies it wherever it is; the dump is filtered, and both outputs have the right label."""
    text = machine().vmcoreinfo()
    whole = tmp_path / "whole"
    make(core, whole, 0)
    if searched:
        data = in_blocks(core, 4096, notes=b"", machine=name)
        # The kernel's VMCOREINFO note, at the start of an unused page.
        at = data.rindex(machine().contents()[0x340])
        data = data[:at] + vmcoreinfo(text) + data[at + len(vmcoreinfo(text)) :]
    else:
        data = relabelled(whole, name)
    (tmp_path / "in").write_bytes(data)
    for form in ("kdump", "elf"):
        report = make(tmp_path / "in", tmp_path / form, 31, format=form)
        assert report.exit_status() == EXIT_OK
        claim = f"labelled {name.decode()}" if name else "the header names no machine"
        assert any(f"{claim}; it is x86_64 by its VMCOREINFO" in line for line in report.notes)
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
def test_evidence_for_a_machine(by: str, name: str) -> None:
    """VMCOREINFO's keys and the kernel's release, as a note or in memory; the registers; the kernel's name."""
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


@pytest.mark.parametrize("before", [1, 64, 130, 265, 324, 389])
def test_a_name_across_two_searched_pieces(before: int) -> None:
    """Memory is searched 4 MiB at a time; a kernel name across a border is found."""
    names = b"".join(one.ljust(65, b"\0") for one in (b"Linux", b"node", b"6.1.0", b"#1", b"riscv64", b"(none)"))
    content = (bytes((4 << 20) - before) + names).ljust((4 << 20) + 4096, b"x")
    assert source(Core([Load(0x3000, content)], (), "little", 0x1234).build()).machine == "riscv64"


def test_an_unidentified_machine(tmp_path: Path) -> None:
    """An unidentified machine keeps its label, a 32-bit one too."""
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
    """The kernel's VMCOREINFO has the right byte order; the notes are converted."""
    other = {"little": "big", "big": "little"}[order]
    page = vmcoreinfo(b"OSRELEASE=6.1\nNUMBER(kimage_voffset)=0x10\n", order).ljust(4096, b"\0")
    notes = prstatus(7, bytes(range(272 // 2)) * 2, other)
    opened = source(Kdump([Page(3, "stored", page)], order=other, notes=notes, machine=b"Unknown").build())
    assert (opened.machine, opened.byte_order, opened.cpus[0].pid) == ("aarch64", order, 7)
    assert opened.cpus[0].registers[:8] == bytes(range(8))[::-1]
    assert read(opened, 0x3000, 64) == page[:64]


#: Registers by their places in ``pr_reg``.
_32 = "bx cx dx si di bp ax ds es fs gs orig_ax ip cs flags sp ss"
_64 = "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss fs_base gs_base ds es fs gs"
NAMES_32, NAMES_64 = (names.split() for names in (_32, _64))


I386_REGISTERS = list(range(0x100, 0x100 + 17))
PRSTATUS_32 = note(b"CORE\0", 1, bytes(24) + struct.pack("<i", 5) + bytes(44) + struct.pack("<17I4x", *I386_REGISTERS))


def core_32(core: Path, notes: bytes, machine: int = 3) -> bytes:
    """A core of ELFCLASS32 with another core's memory."""
    opened = open_source(str(core))
    ranges = [(one.start, read(opened, one.start, one.end - one.start)) for one in opened.ranges()]
    opened.close()
    at = 52 + 32 * (1 + len(ranges))
    heads, bodies = struct.pack("<8I", 4, at, 0, 0, len(notes), len(notes), 0, 0), notes
    for start, content in ranges:
        place = at + len(bodies)
        heads += struct.pack("<8I", 1, place, start & 0xFFFF, start, len(content), len(content), 7, 0)
        bodies += content
    ident = b"\x7fELF\1\1\1".ljust(16, b"\0")
    head = struct.pack("<16sHHIIIIIHHHHHH", ident, 4, machine, 1, 0, 52, 0, 0, 52, 32, 1 + len(ranges), 40, 0, 0)
    return head + heads + bodies


def kdump_32(data: bytes) -> bytes:
    """A kdump file with the headers of a 32-bit machine, as QEMU's ``create_header32`` writes them."""
    signature, version, names, seconds, micro, *rest = struct.unpack_from("<8si390s6xqqIiiIIIIIIi", data)
    fields = struct.unpack_from("<QiiQQqQqQqQQQQ", data, rest[1])
    head = struct.pack("<8si390s2xiiIiiIIIIIIi", signature, version, names, seconds, micro, *rest)
    sub = struct.pack("<IiiIIqIqIqIQQQ", *fields)
    size = rest[1]
    return head.ljust(size, b"\0") + sub.ljust(104, b"\0") + data[size + 104 :]


@pytest.mark.parametrize("kind", ["elf32", "elf64", "kdump32"])
@pytest.mark.parametrize("searched", [False, True], ids=["note", "memory"])
def test_an_x86_64_machine_that_is_not_in_long_mode(kind: str, searched: bool, core: Path, tmp_path: Path) -> None:
    """QEMU writes headers of i386; the memory is a 64-bit kernel's, and is filtered and labelled accordingly."""
    built = machine()
    text = vmcoreinfo(built.vmcoreinfo())
    notes = PRSTATUS_32 + (b"" if searched else text)
    if kind == "kdump32":
        data = kdump_32(in_blocks(core, 4096, notes=notes))
    elif kind == "elf32":
        data = core_32(core, notes)
    else:
        opened = open_source(str(core))
        loads = [Load(one.start, read(opened, one.start, one.end - one.start)) for one in opened.ranges()]
        data = Core(loads, (notes,), machine=3).build()
        opened.close()
    if searched:
        at = data.rindex(built.contents()[0x340])
        data = data[:at] + text + data[at + len(text) :]
    (tmp_path / "in").write_bytes(data)
    for form in ("kdump", "elf"):
        report = make(tmp_path / "in", tmp_path / form, 31, format=form)
        assert report.exit_status() == EXIT_OK
        made = open_source(str(tmp_path / form))
        assert (made.machine, made.cpus[0].pid) == ("x86_64", 5)
        values = dict(zip(NAMES_64, struct.unpack("<27Q", made.cpus[0].registers)))
        assert {name: values[name] for name in NAMES_32} == dict(zip(NAMES_32, I386_REGISTERS))
        made.close()
    assert set(contents(tmp_path / "kdump")) == expected(built, 31)
    assert compared(tmp_path / "in", tmp_path / "kdump").right


@pytest.mark.parametrize("machine_number", [3, 40])
def test_a_32_bit_machine_is_refused(machine_number: int, tmp_path: Path) -> None:
    """Its memory has no trace of a 64-bit kernel."""
    (tmp_path / "empty").write_bytes(Core([Load(0x1000, bytes(8192))]).build())
    (tmp_path / "elf").write_bytes(core_32(tmp_path / "empty", PRSTATUS_32, machine_number))
    (tmp_path / "kdump").write_bytes(kdump_32(Kdump([Page(3, "stored", bytes(4096))]).build()))
    for name in ("elf", "kdump"):
        with pytest.raises(UnsupportedError, match="32-bit machine"):
            open_source(str(tmp_path / name))
