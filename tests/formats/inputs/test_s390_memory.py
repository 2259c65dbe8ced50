"""Registers in lowcores, os_info and VMCOREINFO in the memory of s390x dumps: found, damaged and hostile."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.elf_core import Core, Load
from tests.build.kdump_file import Kdump
from tests.build.memory_file import MemoryFile
from tests.build.notes import note, vmcoreinfo
from tests.build.pages import Page
from tests.build.s390x import NOTE, OS_INFO, PREFIXES, REIPL, VX, FakeS390, cksm, lowcore, os_info
from vmsieve.formats.errors import ReadError
from vmsieve.formats.inputs import open_file
from vmsieve.formats.inputs._s390 import complete
from vmsieve.formats.notes import each_note
from vmsieve.formats.os_info import checksum, lowcore_vmcoreinfo, read_os_info
from vmsieve.formats.s390_registers import Registers, notes, parse_notes, read_registers


def machine() -> FakeS390:
    found = FakeS390()
    found.add_lowcores()
    return found


def test_every_register_is_where_the_lowcore_has_it() -> None:
    """Each field compared with the bytes at its offset, listed here again."""
    found = machine()
    area = lowcore(PREFIXES[1], 5, VX)
    cpu = read_registers(found.source, PREFIXES[1])
    assert cpu.fprs == area[0x1200:0x1280]
    assert cpu.gprs == area[0x1280:0x1300]
    assert cpu.psw == area[0x1300:0x1310]
    assert cpu.acrs == area[0x1340:0x1380]
    assert cpu.crs == area[0x1380:0x1400]
    assert (cpu.prefix, cpu.fpc, cpu.todpreg) == (PREFIXES[1], 0x00FF0005, 0x70D00005)
    assert (cpu.timer, cpu.clock_comparator, cpu.address) == ((1 << 63) + 5, 0x00E3A00CB9301E89, 5)
    vectors = bytes((i * 11) & 0xFF for i in range(512))
    assert cpu.vxrs_low == b"".join(vectors[i * 16 + 8 : i * 16 + 16] for i in range(16))
    assert cpu.vxrs_high == vectors[256:]
    assert read_registers(found.source, PREFIXES[0]).vxrs_low is None


@pytest.mark.parametrize("pointer", [1, VX + 512, VX + 16, 1 << 60])
def test_an_invalid_vector_area_is_ignored(pointer: int) -> None:
    found = machine()
    found.write(PREFIXES[0], lowcore(PREFIXES[0], 3, pointer))
    cpu = read_registers(found.source, PREFIXES[0])
    assert (cpu.vxrs_low, cpu.vxrs_high) == (None, None)


@pytest.mark.parametrize(("length", "guarded"), [(10, False), (11, True), (12, True)])
def test_a_vector_area_of_the_kernel_may_tell_its_length(length: int, guarded: bool) -> None:
    """Used if v0 to v15 begin with the floating point registers: a stand-alone dumper does not save the area."""
    found = machine()
    found.write(PREFIXES[0], lowcore(PREFIXES[0], 3, VX + length))
    cpu = read_registers(found.source, PREFIXES[0])
    assert (cpu.vxrs_low, cpu.vxrs_high, cpu.gs_cb) == (None, None, None)
    vectors = b"".join(cpu.fprs[i * 8 : i * 8 + 8] + bytes([i]) * 8 for i in range(16)) + b"v" * 256
    found.write(VX, vectors + bytes(512) + b"guarded storage registers: 32 b.")
    cpu = read_registers(found.source, PREFIXES[0])
    assert cpu.vxrs_low == b"".join(bytes([i]) * 8 for i in range(16))
    assert cpu.vxrs_high == b"v" * 256
    assert cpu.gs_cb == (b"guarded storage registers: 32 b." if guarded else None)


def test_registers_that_were_never_saved_are_not_invented() -> None:
    """Memory without the processor's prefix, and memory that is not in the dump."""
    found = machine()
    for prefix in (0x200000, 0x40000000):
        with pytest.raises(ReadError):
            read_registers(found.source, prefix)
    found.source.pages.pop(PREFIXES[0] // 4096 + 1)
    with pytest.raises(ReadError):
        read_registers(found.source, PREFIXES[0])


def test_notes_are_those_of_zgetdump_in_its_order() -> None:
    """Types, names and sizes of the notes of two processors, one with vector registers."""
    found = machine()
    area = notes([read_registers(found.source, prefix) for prefix in PREFIXES], b"OSRELEASE=1\n")
    one = [(b"CORE", 1, 336), (b"CORE", 2, 136), (b"LINUX", 0x301, 8), (b"LINUX", 0x302, 8), (b"LINUX", 0x303, 4),
           (b"LINUX", 0x304, 128), (b"LINUX", 0x305, 4)]  # fmt: skip
    vectors = [(b"LINUX", 0x309, 128), (b"LINUX", 0x30A, 256)]
    expected = [(b"CORE", 3, 136), *one, *one, *vectors, (b"VMCOREINFO", 0, 12)]
    assert [(n.name, n.type, n.size) for n in each_note(area, "big")] == expected
    status = [n for n in each_note(area, "big") if n.type == 1]
    assert [struct.unpack_from(">i", area, n.offset + 32)[0] for n in status] == [1, 2]
    psinfo = next(n for n in each_note(area, "big") if n.type == 3)
    assert area[psinfo.offset + 1 : psinfo.offset + 2] == b"R"
    assert area[psinfo.offset + 40 : psinfo.offset + 48] == b"vmlinux\0"


def test_notes_read_back_as_the_registers_they_were_made_of() -> None:
    cpus = [
        Registers(
            prefix=0x1000 * i, psw=bytes([i]) * 16, gprs=bytes(range(128)), acrs=bytes([7]) * 64, crs=bytes([8]) * 128,
            fprs=bytes([9]) * 128, fpc=i, timer=1 << 63, clock_comparator=i, todpreg=0xFFFFFFFF,
            vxrs_low=bytes([i]) * 128 if i else None, vxrs_high=bytes([2]) * 256, gs_cb=bytes(32) if i else None,
        )
        for i in range(3)
    ]  # fmt: skip
    assert parse_notes(notes(cpus, None)) == cpus
    assert parse_notes(notes(cpus, b"text")) == cpus


def test_notes_of_the_kernel_and_of_old_kernels_are_understood() -> None:
    """TODPREG of 8 bytes of which 4 are used, high vector registers first, all notes named CORE, zeros at the end."""
    status = note(b"CORE\0", 1, bytes(112) + bytes(range(208)) + bytes(16), "big")
    parts = [
        note(b"CORE\0", 0x305, bytes([9]) * 4, "big"),  # before any processor: ignored
        status,
        note(b"CORE\0", 0x303, struct.pack(">II", 0x1234, 0xDEAD), "big"),
        note(b"LINUX\0", 0x30A, b"h" * 256, "big"),
        note(b"LINUX\0", 0x309, b"l" * 128, "big"),
        note(b"OTHER\0", 0x305, bytes([7]) * 4, "big"),
        note(b"LINUX\0", 0x301, b"short", "big"),
        bytes(24),
    ]
    (cpu,) = parse_notes(b"".join(parts))
    assert (cpu.todpreg, cpu.vxrs_high, cpu.vxrs_low) == (0x1234, b"h" * 256, b"l" * 128)
    assert (cpu.prefix, cpu.timer) == (0, 0)
    assert cpu.psw == bytes(range(16))


@given(st.binary(max_size=200))
def test_the_checksum_is_that_of_the_instruction(data: bytes) -> None:
    """Compared with one word at a time; also words that add up to all ones."""
    for one in (data, data + b"\xff" * 8, b"\xff" * 4 + bytes(len(data)), bytes(len(data))):
        assert checksum(one) == cksm(one)


def test_os_info_is_read() -> None:
    found = machine()
    text, block = b"OSRELEASE=6.1.0\n", b"reipl" * 7
    found.write(NOTE + 0x800, text)
    found.write(REIPL, block)
    entries = {0: (NOTE + 0x800, len(text), cksm(text)), 1: (REIPL, len(block), cksm(block)), 5: (0x3FFE0000000, 0, 0)}
    found.add_os_info(entries, (0x4000000, 0x2000000))
    info = read_os_info(found.source)
    assert info is not None
    assert (info.address, info.problem, info.version) == (OS_INFO, None, (1, 1))
    assert info.crashkernel == (0x4000000, 0x2000000)
    assert [(e.name, e.state) for e in info.entries] == [
        ("VMCOREINFO", "OK"), ("REIPL_BLOCK", "OK"), ("FLAGS", "empty"), ("RESERVED", "empty"),
        ("IDENTITY_BASE", "empty"), ("KASLR_OFFSET", "value"),
    ]  # fmt: skip
    entry = info.entry("VMCOREINFO")
    assert entry is not None
    assert entry.data == text
    assert info.entry("FLAGS") is None


@pytest.mark.parametrize(
    ("entry", "state"),
    [
        ((NOTE, 64, 0), "OK"), ((NOTE, 64, 1), "BAD"), ((1 << 40, 64, 0), "missing"), ((NOTE, 1 << 50, 0), "missing"),
        ((NOTE, 0, 0), "BAD"), ((0xFFFFFFFFFFFFFFFF, 8, 0), "missing"),
    ],
)  # fmt: skip
def test_entries_are_checked(entry: tuple[int, int, int], state: str) -> None:
    """With a wrong checksum, or an impossible address or size, nothing is used."""
    found = machine()
    found.add_os_info({1: entry})
    info = read_os_info(found.source)
    assert info is not None
    assert info.entries[1].state == state
    assert info.entries[1].data == (bytes(64) if state == "OK" else b"")


def test_a_damaged_os_info_page_is_reported() -> None:
    """No page, another page, a flipped bit, a future version, an invalid address."""
    found = machine()
    assert read_os_info(found.source) is None
    problems = []
    for address, page in (
        (OS_INFO, bytes(4096)),
        (OS_INFO, os_info({})[:-1] + b"\1"),
        (OS_INFO, os_info({}, major=2)),
        (OS_INFO + 8, os_info({})),
        (1 << 63, os_info({})),
    ):
        found.write(OS_INFO, page)
        found.poke(0xE18, address)
        info = read_os_info(found.source)
        assert info is not None
        assert info.entries == ()
        problems.append(info.problem)
    assert problems == [
        "there is no os_info page at that address", "its checksum is wrong", "its version 2.1 is unknown",
        "it is not in the dump", "it is not in the dump",
    ]  # fmt: skip


def test_vmcoreinfo_of_os_info_comes_before_that_of_the_lowcore() -> None:
    """The lowcore's is used if os_info's has a wrong checksum."""
    found = machine()
    found.add_note()
    text = b"OSRELEASE=os_info\n"
    found.write(REIPL, text)
    found.add_os_info({0: (REIPL, len(text), cksm(text))})
    complete(found.source)
    assert (found.source.vmcoreinfo, found.source.header["vmcoreinfo_from"]) == (text, "os_info")
    other = machine()
    other.add_note()
    other.write(REIPL, text)
    other.add_os_info({0: (REIPL, len(text), cksm(text) ^ 1)})
    complete(other.source)
    assert (other.source.vmcoreinfo, other.source.header["vmcoreinfo_from"]) == (other.vmcoreinfo(), "the lowcore")
    assert any("VMCOREINFO can't be used: BAD" in odd for odd in other.source.remarks)


def test_vmcoreinfo_without_a_pointer_is_searched_for() -> None:
    """Memory is searched only if no pointer leads to the note; invalid notes before it are skipped."""
    found = machine()
    found.add_note()
    found.poke(0xE0C, NOTE + 4)
    found.write(0x100000, b"VMCOREINFO\0\0" * 99)
    found.write(0x110002, vmcoreinfo(b"OSRELEASE=not aligned\n", "big"))
    found.write(0x120000, vmcoreinfo(b"nonsense\n", "big"))
    complete(found.source)
    assert found.source.vmcoreinfo == found.vmcoreinfo()
    assert any("searched" in odd for odd in found.source.remarks)


def test_a_failed_search_is_reported() -> None:
    """Hundreds of invalid notes do not make the search long."""
    found = machine()
    false = vmcoreinfo(b"", "big")[:4] + struct.pack(">II", 1 << 20, 0) + b"VMCOREINFO\0\0"
    found.write(0x100000, false.ljust(4096, b"\0") * 300)
    complete(found.source)
    assert found.source.vmcoreinfo is None
    assert any("there is no VMCOREINFO" in odd for odd in found.source.remarks)
    assert found.source.reads < 1000


def test_a_dump_is_completed_from_its_memory() -> None:
    """Notes of the processors with registers, a remark on the others, and VMCOREINFO."""
    found = machine()
    found.add_note()
    complete(found.source, [*PREFIXES, 0x300000, 0x123])
    source = found.source
    assert [cpu.prefix for cpu in parse_notes(source.notes)] == list(PREFIXES)
    assert [cpu.registers[:16] for cpu in source.cpus] == [
        lowcore(p, s)[0x1300:0x1310] for p, s in zip(PREFIXES, (3, 5))
    ]
    assert source.vmcoreinfo == found.vmcoreinfo()
    assert source.header["processors"] == "4, registers of 2"
    assert [odd.split(":")[0] for odd in source.remarks] == [
        "the registers of the processor with prefix 0x300000 are unknown",
        "the registers of the processor with prefix 0x123 are unknown",
    ]


def test_notes_that_are_there_are_kept() -> None:
    """As in QEMU's cores, which have registers and no VMCOREINFO."""
    found = machine()
    found.add_note()
    before = found.source.notes = notes([Registers(prefix=0x5000)], None)
    complete(found.source)
    assert found.source.notes.startswith(before)
    assert len(found.source.cpus) == 1
    assert found.source.vmcoreinfo == found.vmcoreinfo()


def test_more_processors_than_anyone_reads_about_are_counted() -> None:
    found = FakeS390()
    found.add_note()
    complete(found.source, range(0x1000, 0x1000 * 500, 0x1000))
    assert len(found.source.remarks) < 12
    assert found.source.cpus == ()


@pytest.mark.fuzz
@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=2000), st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(0, (1 << 64) - 1)), max_size=6)
)
def test_damage_gives_results_and_no_errors(garbage: bytes, pokes: list[tuple[int, int]]) -> None:
    """Garbage notes, and random numbers in the os_info page and the lowcore."""
    parse_notes(garbage)
    found = machine()
    found.add_note()
    found.add_os_info({0: (NOTE, 64, 0), 1: (REIPL, 8, 0)})
    for at, value in pokes:
        found.poke(OS_INFO + at // 2 * 2, value)
        found.poke(0xE00 + at % 64, value)
    complete(found.source, PREFIXES)
    lowcore_vmcoreinfo(found.source)
    assert len(found.source.cpus) == 2


@pytest.mark.parametrize("name", ["elf", "kdump"])
def test_a_dump_of_qemus_that_lacks_vmcoreinfo_gets_it_from_memory(name: str) -> None:
    """Its notes have the registers; the machine's name may be in upper case."""
    found = machine()
    found.add_note()
    found.add_os_info()
    before = notes([Registers(prefix=PREFIXES[0])], None)
    pages = found.source.pages
    if name == "elf":
        data = Core([Load(0, b"".join(pages[pfn] for pfn in sorted(pages)))], (before,), "big", 22).build()
    else:
        stored = [Page(pfn, "stored", bytes(page)) for pfn, page in sorted(pages.items())]
        data = Kdump(stored, order="big", notes=before, machine=b"S390X").build()
    source = open_file(MemoryFile(data))
    assert (source.machine, source.byte_order, len(source.cpus)) == ("s390x", "big", 1)
    assert source.vmcoreinfo == found.vmcoreinfo()
    assert source.notes.startswith(before)
    assert source.header["os_info"] == f"OK at {OS_INFO:#x}, version 1.1"
