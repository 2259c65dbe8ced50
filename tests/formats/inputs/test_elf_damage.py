"""ELF cores that are damaged, truncated or of processes: what is read of them, and the errors."""

from __future__ import annotations

import struct

import pytest

from tests.build.elf_core import Core, Load, core, loads
from tests.build.memory_file import MemoryFile, page_sets, ranges, read, source
from tests.build.notes import prstatus, vmcoreinfo
from tests.build.pages import PAGE, parse
from vmsieve.formats.errors import CorruptError, FormatError, ReadError, TruncatedError, UnsupportedError
from vmsieve.formats.inputs import Cpu, open_file

NONE = (1 << 64) - 1
RECIPE = """
    @0x1000 fill 01020304
    @0x2000 exclude x2
    @0x4000 noise 1 x2
"""
NOTES = prstatus(7, b"\x11" * 216) + vmcoreinfo(b"OSRELEASE=6.1\nPAGESIZE=4096\n") + prstatus(-2, b"\x22" * 216)


def test_notes_damaged_half_way_keep_their_first_half() -> None:
    """Readable notes are used, with a remark on the loss."""
    broken = bytearray(NOTES)
    struct.pack_into("<I", broken, len(prstatus(7, bytes(216))) + 4, 1 << 30)
    opened = source(core(RECIPE, bytes(broken)))
    assert [cpu.pid for cpu in opened.cpus] == [7]
    assert opened.vmcoreinfo is None
    lost = len(NOTES) - len(prstatus(7, bytes(216)))
    assert opened.remarks == [f"{lost} of {len(NOTES)} bytes of notes are damaged, missing or over the limit"]


def test_a_cut_vmcoreinfo_is_not_used() -> None:
    """Half of the keys would select the wrong rules."""
    opened = source(core(RECIPE, NOTES[: len(prstatus(7, bytes(216))) + 40]))
    assert opened.vmcoreinfo is None
    assert opened.remarks


def test_a_missing_note_segment_has_a_remark() -> None:
    """A core without notes opens with a remark; its pages are complete."""
    opened = source(Core([Load(0x1000, b"x" * PAGE)]).build())
    assert opened.remarks == ["there is no note segment: no registers and no VMCOREINFO"]
    assert read(opened, 0x1000, 4) == b"xxxx"


def test_notes_outside_the_file_have_a_remark() -> None:
    """A note segment beyond the end of the file loses only the notes."""
    data = bytearray(Core([Load(0x1000, b"x" * PAGE)], (NOTES,)).build())
    struct.pack_into("<Q", data, 64 + 8, 1 << 60)
    opened = source(bytes(data))
    assert opened.notes == b""
    assert opened.remarks == [f"{len(NOTES)} of {len(NOTES)} bytes of notes are damaged, missing or over the limit"]


@pytest.mark.parametrize("paddr", [NONE - 0x2000, NONE - 1, 1 << 63, (1 << 56) - PAGE + 1])
def test_segments_beyond_any_address_are_passed_over(paddr: int) -> None:
    """Also if address plus size wraps around."""
    opened = source(Core([Load(paddr, b"v" * PAGE, 0x8000), Load(0x1000, b"p" * PAGE)], (NOTES,)).build())
    assert ranges(opened) == [(0x1000, 0x2000, 0x2000)]
    where = f"{paddr:#x} - {paddr + 0x7FFF:#x}"
    assert opened.remarks == [f"4096 bytes in {where} are left out: no machine has such physical addresses"]


@pytest.mark.parametrize("bits", [40, 47, 49, 52, 62])
@pytest.mark.parametrize("start", [0, 0x1000, 1 << 48])
def test_memory_without_content_is_not_believed_in_any_size(bits: int, start: int) -> None:
    """One page is stored and the rest claimed: only as much memory as one page makes plausible exists."""
    opened = source(Core([Load(start, b"p" * PAGE, 1 << bits)], (NOTES,)).build())
    assert ranges(opened) == [(start, start + PAGE, start + PAGE)]
    assert opened.incomplete
    assert any("treated as holes" in remark for remark in opened.remarks)
    assert read(opened, start, 4) == b"pppp"


def test_memory_left_out_of_a_small_dump_is_believed() -> None:
    """A machine of 256 GiB of which little is stored."""
    opened = source(Core([Load(0x1000, b"p" * PAGE, 1 << 38)], (NOTES,)).build())
    assert ranges(opened) == [(0x1000, 0x2000, 0x1000 + (1 << 38))]
    assert not opened.incomplete
    assert (opened.next_data(0), opened.next_data(0x1800), opened.next_data(0x2000)) == (0x1000, 0x1800, opened.end())


def test_pieces_of_memory_that_meet_are_one_range() -> None:
    """Ranges are merged also where memory without content is not plausible."""
    loads = [Load(0x2000, b"b" * PAGE), Load(0x1000, b"a" * PAGE), Load(0x5000, b"c" * PAGE, 1 << 45)]
    assert ranges(source(Core(loads, (NOTES,)).build())) == [(0x1000, 0x3000, 0x3000), (0x5000, 0x6000, 0x6000)]


def test_memory_below_the_last_valid_address_is_kept() -> None:
    """A segment that reaches beyond is truncated there, and the bytes cut off are counted."""
    end = 1 << 49
    opened = source(Core([Load(end - PAGE, b"a" * PAGE + b"b" * PAGE)], (NOTES,)).build())
    assert ranges(opened) == [(end - PAGE, end, end)]
    assert read(opened, end - PAGE, 2) == b"aa"
    assert opened.remarks[0].startswith(f"4096 bytes in {end:#x} - {end + PAGE - 1:#x} are left out")


def test_more_bytes_in_the_file_than_in_memory_are_kept() -> None:
    """p_filesz above p_memsz violates the format, but the bytes exist."""
    opened = source(Core([Load(0x1000, b"p" * PAGE, 0x10)], (NOTES,)).build())
    assert ranges(opened) == [(0x1000, 0x2000, 0x2000)]
    assert opened.remarks == ["1 segments have more bytes in the file than in memory"]


def test_a_truncated_file_is_read_with_a_remark_on_the_rest() -> None:
    """The rest of the memory exists and is not stored."""
    data = Core([Load(0x1000, b"a" * 0x3000), Load(0x8000, b"b" * 0x1000)], (NOTES,)).build()
    opened = source(data[: -0x1000 - 0x1800])
    assert opened.incomplete
    assert opened.remarks == [
        "the file is cut off: 10240 bytes of memory that the headers describe are not in it"
    ]  # fmt: skip
    assert ranges(opened) == [(0x1000, 0x2800, 0x4000), (0x8000, 0x8000, 0x9000)]
    assert page_sets(opened, PAGE, 16) == ({1, 2, 3, 8}, {1, 2})
    assert read(opened, 0x1000, 0x2000) == b"a" * 0x1800 + bytes(0x800)
    with pytest.raises(ReadError, match="left out"):
        read(opened, 0x8000, 8)


def test_a_file_cut_off_within_its_program_headers() -> None:
    """The headers within the file are used."""
    segments = [Load(0x1000 * i, b"", PAGE) for i in range(1, 9)]
    data = Core(segments, phnum=8).build()
    opened = source(data[: 64 + 56 * 3 + 10])
    assert opened.incomplete
    assert "the file ends within the program headers: 3 of 8 are in it" in opened.remarks
    assert ranges(opened) == [(0x1000, 0x1000, 0x4000)]
    with pytest.raises(TruncatedError, match="program headers"):
        source(data[: 64 + 55])


def test_the_file_getting_shorter_is_a_read_error() -> None:
    """A file truncated after opening: the error has the file's new end."""
    file = MemoryFile(Core([Load(0x1000, b"a" * 0x3000)], (NOTES,)).build())
    opened = open_file(file)
    file.data = file.data[:-0x1800]
    with pytest.raises(ReadError, match="shorter") as caught:
        read(opened, 0x1000, 0x3000)
    assert caught.value.offset == 0x2800


def test_a_failing_medium_is_a_read_error_at_the_physical_address() -> None:
    """The file's error gives a file offset; the source's gives a physical address."""

    class Failing(MemoryFile):
        def read_into(self, offset: int, out: memoryview) -> int:
            if len(out) == 0x3000:
                raise ReadError("input/output error", file=self.name, offset=offset + 0x1000)
            return super().read_into(offset, out)

    opened = open_file(Failing(Core([Load(0x5000, b"a" * 0x3000)], (NOTES,)).build()))
    with pytest.raises(ReadError, match="input/output error") as caught:
        read(opened, 0x5000, 0x3000)
    assert caught.value.offset == 0x6000


def broken(**changes: object) -> bytes:
    return Core(loads(parse(RECIPE)), (NOTES,), **changes).build()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"\x7fELF\x01\x01\x01" + bytes(9) + b"\4\0\x28\0" + bytes(60), UnsupportedError, "32-bit"),
        (b"\x7fELF\x07\x01\x01" + bytes(60), CorruptError, "class or byte order"),
        (b"\x7fELF\x02\x03\x01" + bytes(60), CorruptError, "class or byte order"),
        (b"\x7fELF\x02\x01\x01", TruncatedError, "too early"),
        (broken()[:63], TruncatedError, "too early"),
        (broken(kind=2), UnsupportedError, "a program or a kernel image"),
        (broken(kind=77), UnsupportedError, "of type 77"),
        (broken(phnum=0), CorruptError, "no memory"),
        (Core([], phentsize=0).build(), CorruptError, "no memory"),
        (broken(phoff=1 << 12)[:4096], TruncatedError, "program headers"),
        (broken(extended=True, phnum=1 << 31), UnsupportedError, "too many program headers"),
        (broken(phnum=0xFFFF, shoff=1 << 50), CorruptError, "section header"),
        (Core([], (NOTES,)).build(), CorruptError, "no memory"),
        (Core([Load(NONE, b"x" * 8)]).build(), CorruptError, "no memory"),
        (
            Core([Load(0, b"x", vaddr=0x400000), Load(0, b"y", vaddr=0x7F0000000000)]).build(),
            UnsupportedError,
            "process",
        ),
    ],
)
def test_unusable_cores_give_the_reason(data: bytes, error: type[FormatError], words: str) -> None:
    """Each cause has its error type, so that callers can distinguish damaged from unsupported files."""
    with pytest.raises(error, match=words):
        source(data)


def test_a_wrong_distance_between_program_headers_is_damage() -> None:
    """Too small for a program header, or absurdly large."""
    for size in (0, 55, 5000):
        data = bytearray(broken())
        struct.pack_into("<H", data, 54, size)
        with pytest.raises(CorruptError, match="size of a program header"):
            source(bytes(data))


def test_absurd_note_sizes_do_not_allocate() -> None:
    """Names and descriptors of 4 GiB end the notes."""
    for sizes in ((0xFFFFFFFF, 8), (8, 0xFFFFFFFF), (0, 8)):
        notes = struct.pack("<III", *sizes, 1) + bytes(64)
        assert source(core(RECIPE, prstatus(3, b"r" * 8) + notes)).cpus == (Cpu(0, 3, b"r" * 8),)
