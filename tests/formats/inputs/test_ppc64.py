"""Hypervisors' dumps of ppc64 machines: without VMCOREINFO, and often in the wrong byte order."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.elf_core import Core, Load
from tests.build.kdump_file import Kdump
from tests.build.memory_file import read, source
from tests.build.notes import ORDERS, note, vmcoreinfo
from tests.build.pages import Page
from vmsieve.formats import vmcoreinfo_search
from vmsieve.formats.inputs import _ppc64
from vmsieve.formats.notes import each_note

TEXT = b"OSRELEASE=6.12.0\nPAGESIZE=65536\n"
NAMES = {"little": "ppc64le", "big": "ppc64"}
MIB = 1 << 20
#: Address of the kernel's note; a decoy precedes it.
AT = 0x230000
VMX = 0x100
#: The last page of memory, and the size in the header of the note there.
END, LENGTH = 6 * MIB - 4096, struct.pack("<I", len(TEXT))


def memory(order: str, at: int = AT, size: int = 6 * MIB) -> bytes:
    """A kernel's memory: the note's name in a program's text, then the note."""
    data = bytearray(size)
    data[0x101234:0x101240] = b"VMCOREINFO\0\0"
    content = vmcoreinfo(TEXT, order)
    data[at : at + len(content)] = content
    return bytes(data)


def registers(order: str) -> bytes:
    """All notes of a processor as QEMU writes them; every number has a different value."""
    word = ORDERS[order]
    status = struct.pack(word + "IIIHHQQIIII8Q", *range(1, 20)) + struct.pack(word + "48QII", *range(100, 150))
    vmx = b"".join(struct.pack(word + "QQ", *((i, i + 50) if word == ">" else (i + 50, i))) for i in range(32))
    notes = [
        (1, status), (2, struct.pack(word + "33Q", *range(33))), (0x102, struct.pack(word + "32Q", *range(32))),
        (VMX, vmx + struct.pack(word + "8I", *range(8))), (0x101, struct.pack(word + "35I", *range(35))),
    ]  # fmt: skip
    return b"".join(note(b"CORE\0", kind, content, order) for kind, content in notes)


def core(labelled: str, content: bytes, notes: bytes | None = None) -> bytes:
    """QEMU's core of a machine with memory ``content``."""
    return Core([Load(0, content, vaddr=0)], (registers(labelled) if notes is None else notes,), labelled, 21).build()


@pytest.mark.parametrize("kernel", ["little", "big"])
@pytest.mark.parametrize("labelled", ["little", "big"])
def test_the_kernels_own_note_gives_the_byte_order(labelled: str, kernel: str) -> None:
    """Memory is unchanged, and notes are as if the headers had been right."""
    opened = source(core(labelled, memory(kernel)))
    assert (opened.machine, opened.byte_order) == (NAMES[kernel], kernel)
    assert opened.vmcoreinfo == TEXT
    assert opened.notes == registers(kernel) + vmcoreinfo(TEXT, kernel)
    assert opened.header["vmcoreinfo_from"] == "a search of memory"
    assert [(cpu.pid, cpu.registers) for cpu in opened.cpus] == [
        (8, struct.pack(ORDERS[kernel] + "48Q", *range(100, 148)))
    ]
    assert bool(opened.remarks) == (labelled != kernel)
    assert all(f"the kernel is {kernel}-endian" in remark for remark in opened.remarks)
    assert read(opened, AT, 64) == memory(kernel)[AT : AT + 64]


@pytest.mark.parametrize("kernel", ["little", "big"])
@pytest.mark.parametrize("name", [b"Unknown", b"ppc64", b"ppc64le"])
def test_the_same_of_a_kdump_file(kernel: str, name: bytes) -> None:
    """QEMU names the machine "Unknown"; no other machine has that many registers."""
    content, size = memory(kernel, size=3 * MIB), 65536
    pages = [Page(pfn, "stored", content[pfn * size :][:size], "zlib") for pfn in range(len(content) // size)]
    kdump = Kdump(pages, order="big", notes=registers("big"), machine=name, page_size=size)
    opened = source(kdump.build())
    assert (opened.machine, opened.byte_order, opened.vmcoreinfo) == (NAMES[kernel], kernel, TEXT)
    assert opened.notes == registers(kernel) + vmcoreinfo(TEXT, kernel)
    assert read(opened, AT - 8, 4000) == content[AT - 8 : AT + 3992]


def test_an_unknown_machine_with_other_registers_is_left_alone() -> None:
    pages = [Page(0, "stored", memory("little", 0x1000, 65536), "zlib")]
    other = note(b"CORE\0", 1, bytes(112 + 200 + 8), "big")
    opened = source(Kdump(pages, order="big", notes=other, machine=b"Unknown", page_size=65536).build())
    assert (opened.machine, opened.byte_order, opened.vmcoreinfo) == ("Unknown", "big", None)


def test_a_core_with_vmcoreinfo_is_taken_at_its_word() -> None:
    """/proc/vmcore: no search, no doubt."""
    text = b"OSRELEASE=6.1.0\n"
    opened = source(core("big", memory("little"), registers("big") + vmcoreinfo(text, "big")))
    assert (opened.machine, opened.byte_order, opened.vmcoreinfo) == ("ppc64", "big", text)
    assert not opened.remarks


@pytest.mark.parametrize(
    "content",
    [
        bytes(MIB), memory("little", 0x101000 + 8), memory("little", END).replace(LENGTH, b"\0\0\1\0"),
        memory("little").replace(b"OSRELEASE=", b"NORELEASE="),
    ],
)  # fmt: skip
def test_invalid_notes_in_memory_are_not_used(content: bytes) -> None:
    """No note, not at the start of a page, longer than memory, without a release."""
    opened = source(core("big", content))
    assert (opened.machine, opened.byte_order, opened.vmcoreinfo) == ("ppc64", "big", None)
    assert opened.notes == registers("big")
    assert any("no VMCOREINFO" in remark for remark in opened.remarks)


@pytest.mark.parametrize("at", [4 * MIB - 4096, 4 * MIB, 6 * MIB - 4096])
def test_the_note_may_lie_anywhere(at: int) -> None:
    """Across the borders of searched pieces, and at the ends of memory."""
    assert source(core("big", memory("little", at))).vmcoreinfo == TEXT


def test_the_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vmcoreinfo_search, "_SEARCHED", 1 << 20)
    opened = source(core("big", memory("little")))
    assert opened.vmcoreinfo is None
    assert any("too much of it" in remark for remark in opened.remarks)


def test_decoys_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory full of invalid notes costs a bounded number of reads."""
    monkeypatch.setattr(vmcoreinfo_search, "_MOST_TRIES", 3)
    content = bytearray(memory("little"))
    for page in range(5):
        content[page * 65536 + 12 : page * 65536 + 24] = b"VMCOREINFO\0\0"
    assert source(core("big", bytes(content))).vmcoreinfo is None


def test_descriptors_that_are_not_known_stay_as_they_are() -> None:
    other = note(b"LINUX\0", 0x777, b"abcdefg", "big")
    opened = source(core("big", memory("little"), other))
    assert opened.notes == note(b"LINUX\0", 0x777, b"abcdefg") + vmcoreinfo(TEXT)


NOTES = st.tuples(
    st.sampled_from([b"CORE\0", b"LINUX\0"]), st.sampled_from([1, 2, 3, VMX, 0x101, 0x102]), st.binary(max_size=600)
)


@pytest.mark.fuzz
@settings(max_examples=150, deadline=None)
@given(st.lists(NOTES, max_size=6))
def test_notes_of_any_size_are_turned_without_loss(given_notes: list[tuple[bytes, int, bytes]]) -> None:
    """The same number of notes, names, types and sizes; converted back they equal the original."""
    notes = b"".join(note(*one, "big") for one in given_notes)
    turned = _ppc64._turned(notes, "big", "little")
    assert list(each_note(turned, "little")) == list(each_note(notes, "big"))
    assert _ppc64._turned(turned, "little", "big") == notes
