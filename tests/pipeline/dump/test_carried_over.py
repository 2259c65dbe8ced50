"""Metadata of the input outside pages: carried over to the output between all formats."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import Core, core, loads
from tests.build.flattened_file import cut, flattened
from tests.build.kdump_file import Kdump
from tests.build.memory_file import read
from tests.build.notes import note, prstatus, vmcoreinfo
from tests.build.pages import memory, parse
from tests.pipeline.cli_kit import vmsieve
from tests.pipeline.kit import make
from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.dump.plan import Plan
from vmsieve.pipeline.dump.reassemble import reassemble
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = "@0x1000 fill 01020304\n@0x2000 zero\n@0x3000 noise 1 x3"
TEXT = b"OSRELEASE=6.1.0-test\nPAGESIZE=4096\n"
ERASED = b"erase cred_jar.name 8\nerase init_task.comm 16\n"
FORMATS = pytest.mark.parametrize("form", ["kdump", "elf"])
ORDERS = pytest.mark.parametrize("order", ["little", "big"])


def notes_of(path: Path, order: str = "little") -> list[tuple[bytes, int, bytes]]:
    """The notes of an ELF core or a kdump file, parsed by hand: name, type, descriptor."""
    data, mark = path.read_bytes(), "<" if order == "little" else ">"
    if data.startswith(b"KDUMP"):
        at, size = struct.unpack_from(mark + "qQ", data, 4096 + 48)
    else:
        at, size = struct.unpack_from(mark + "QQQQ", data, 64 + 8)[0::3]
    found, end = [], at + size
    while at < end:
        name_size, desc_size, kind = struct.unpack_from(mark + "III", data, at)
        at += 12
        name = data[at : at + name_size].rstrip(b"\0")
        at += -(-name_size // 4) * 4
        found.append((name, kind, data[at : at + desc_size]))
        at += -(-desc_size // 4) * 4
    assert at == end
    return found


def named(path: Path, field: int, order: str = "little") -> bytes:
    """The bytes that a kdump sub-header's offset and size at byte ``field`` point to."""
    data = path.read_bytes()
    offset, size = struct.unpack_from(("<" if order == "little" else ">") + "qQ", data, 4096 + field)
    return data[offset : offset + size] if offset else b""


def old_kdump(order: str = "little", **more: object) -> bytes:
    """A file of header version 3: VMCOREINFO is where the sub-header says, and notes are missing."""
    return Kdump(parse(RECIPE), 3, order, vmcoreinfo=TEXT, **more).build()  # type: ignore[arg-type]


def erased_kdump(text: bytes = ERASED, **more: object) -> bytes:
    """A kdump file with erase info at its end."""
    built = Kdump(parse(RECIPE), notes=prstatus(3, b"r" * 216) + vmcoreinfo(TEXT), **more)  # type: ignore[arg-type]
    built.fields |= {"offset_eraseinfo": len(built.build()), "size_eraseinfo": len(text)}
    return built.build() + text


@FORMATS
@ORDERS
def test_vmcoreinfo_that_only_the_sub_header_names(order: str, form: str, tmp_path: Path) -> None:
    """VMCOREINFO becomes a note, and a kdump file's sub-header points to it there."""
    (tmp_path / "in").write_bytes(old_kdump(order))
    make(tmp_path / "in", tmp_path / "out", 0, format=form)
    assert notes_of(tmp_path / "out", order) == [(b"VMCOREINFO", 0, TEXT)]
    if form == "kdump":
        assert named(tmp_path / "out", 32, order) == TEXT


@FORMATS
@pytest.mark.parametrize("stream", [False, True], ids=["file", "flattened"])
def test_erase_info(form: str, stream: bool, tmp_path: Path) -> None:
    """From kdump files, flattened ones too, to either format, and from there to either format again."""
    data = erased_kdump()
    (tmp_path / "in").write_bytes(flattened(cut(data, 1000)) if stream else data)
    make(tmp_path / "in", tmp_path / "out", 0, format=form)
    assert (b"ERASEINFO", 0, ERASED) in notes_of(tmp_path / "out")
    for again in ("kdump", "elf"):
        make(tmp_path / "out", tmp_path / again, 0, format=again)
        assert notes_of(tmp_path / again).count((b"ERASEINFO", 0, ERASED)) == 1
    assert named(tmp_path / "kdump", 64) == ERASED
    assert json.loads(vmsieve("info", "--json", tmp_path / "elf").out)["erased"] == ERASED.decode().splitlines()
    assert "2 lines" in vmsieve("info", tmp_path / "kdump").out
    assert open_source(str(tmp_path / "elf")).cpus[0].pid == 3


def test_erase_info_of_a_split_dump(tmp_path: Path) -> None:
    """Each output file has it; the input files' records are joined, repeated ones once."""
    parts = [tmp_path / name for name in ("one", "two", "three")]
    for path, (start, end), text in zip(parts, ((0, 2), (2, 4), (4, 6)), (ERASED, b"erase more\n", ERASED)):
        fields = {"split": 1, "start_pfn": start, "end_pfn": end, "start_pfn_64": start, "end_pfn_64": end}
        path.write_bytes(erased_kdump(text, part=(start, end), fields=fields))
    joined = ",".join(map(str, parts))
    make(joined, tmp_path / "out", 0)  # type: ignore[arg-type]
    assert named(tmp_path / "out", 64) == ERASED + b"erase more\n"
    halves = (str(tmp_path / "a"), str(tmp_path / "b"))
    make(tmp_path / "out", halves[0], 0, split=halves)  # type: ignore[arg-type]
    assert [named(tmp_path / half, 64) for half in "ab"] == [ERASED + b"erase more\n"] * 2


SUB = {"vmcoreinfo": 32, "note": 48, "eraseinfo": 64}


def part_with_texts(pages: tuple[int, int], texts: dict[str, bytes], order: str, version: int, where: str) -> bytes:
    """A split dump's file whose texts are at its end, in the rest of the first block, or declared past the end."""
    wide = {"start_pfn_64": pages[0], "end_pfn_64": pages[1]} if version >= 6 else {}
    fields = {"split": 1, "start_pfn": pages[0], "end_pfn": pages[1], **wide}
    built = Kdump(parse(RECIPE), version, order, part=pages, fields=fields)
    at = 1000 if where == "first block" else len(built.build()) + 5
    tail = b""
    for name, text in texts.items():
        built.fields |= {f"offset_{name}": at + len(tail), f"size_{name}": len(text)}
        tail += text
    data = built.build()
    if where == "end":
        return data + bytes(5) + tail
    return data[:1000] + tail + data[1000 + len(tail) :] if where == "first block" else data


@ORDERS
@pytest.mark.parametrize("version", [3, 4, 5, 6])
@pytest.mark.parametrize(
    "where", [("end", "end"), ("first block", "end"), ("past the end", "end"), ("past the end", "past the end")]
)
def test_texts_of_a_split_dump_wherever_they_lie(
    where: tuple[str, str], version: int, order: str, tmp_path: Path
) -> None:
    """Joined or read together, the files have each text of any file, and reference nothing else."""
    texts = {"vmcoreinfo": TEXT, "note": prstatus(3, b"r" * 216, order), "eraseinfo": ERASED}
    paths = [tmp_path / "one", tmp_path / "two"]
    for path, pages, place in zip(paths, ((0, 3), (3, 6)), where):
        path.write_bytes(part_with_texts(pages, texts, order, version, place))
    assert reassemble(Plan("", str(tmp_path / "joined")), [str(path) for path in paths], Silent())
    there = [name for name, since in (("vmcoreinfo", 3), ("note", 4), ("eraseinfo", 5)) if version >= since]
    for name in there:
        assert named(tmp_path / "joined", SUB[name], order) == (b"" if where[1] != "end" else texts[name])
    for name in (",".join(map(str, paths)), str(tmp_path / "joined")):
        opened = open_source(name)
        assert opened.vmcoreinfo == (TEXT if where[1] == "end" else None)
        assert [cpu.pid for cpu in opened.cpus] == [3] * (where[1] == "end" and "note" in there)
        assert (ERASED in opened.notes) == (where[1] == "end" and "eraseinfo" in there)
        for pfn, content in memory(parse(RECIPE)).items():
            assert read(opened, pfn * 4096, 4096) == content
        opened.close()


@pytest.mark.parametrize("number", [40, 3, 8, 43, 0x1234])
def test_the_machine_number_of_the_input(number: int, tmp_path: Path) -> None:
    """An unknown or unsupported machine keeps its label; it is never labelled as the host."""
    (tmp_path / "in").write_bytes(core(RECIPE, machine=number))
    make(tmp_path / "in", tmp_path / "core", 0, format="elf")
    assert struct.unpack_from("<H", (tmp_path / "core").read_bytes(), 18)[0] == number
    make(tmp_path / "in", tmp_path / "dump", 0)
    names = {40: "arm", 3: "i386", 8: "mips64", 43: "sparc64", 0x1234: "Unknown"}
    assert open_source(str(tmp_path / "dump")).utsname[4] == names[number]


@pytest.mark.parametrize(("name", "number"), [(b"armv7l", 40), (b"i686", 3), (b"mips64", 8), (b"what", 0), (b"", 0)])
def test_the_machine_number_of_a_name(name: bytes, number: int, tmp_path: Path) -> None:
    """A kdump file has a name; an unknown name makes e_machine EM_NONE."""
    (tmp_path / "in").write_bytes(Kdump(parse(RECIPE), machine=name).build())
    make(tmp_path / "in", tmp_path / "core", 0, format="elf")
    assert struct.unpack_from("<H", (tmp_path / "core").read_bytes(), 18)[0] == number
    make(tmp_path / "in", tmp_path / "dump", 0)
    assert open_source(str(tmp_path / "dump")).utsname[4] == (name.decode() or "Unknown")


def test_names_are_never_empty(tmp_path: Path) -> None:
    """Libkdumpfile rejects all names if one is empty, so they are filled in from VMCOREINFO."""
    (tmp_path / "bare").write_bytes(core(RECIPE, machine=40))
    make(tmp_path / "bare", tmp_path / "dump", 0)
    assert open_source(str(tmp_path / "dump")).utsname == ("Linux", "(none)", "Unknown", "Unknown", "arm", "(none)")
    # QEMU fills in the machine only.
    data = bytearray(Kdump(parse(RECIPE), notes=vmcoreinfo(TEXT)).build())
    data[12 : 12 + 65 * 4] = bytes(65 * 4)
    data[12 + 65 * 5 : 12 + 65 * 6] = bytes(65)
    (tmp_path / "qemu").write_bytes(data)
    make(tmp_path / "qemu", tmp_path / "other", 0)
    names = ("Linux", "(none)", "6.1.0-test", "Unknown", "x86_64", "(none)")
    assert open_source(str(tmp_path / "other")).utsname == names


@FORMATS
def test_notes_of_any_kind_and_size(form: str, tmp_path: Path) -> None:
    """Small ones, and device dumps of megabytes (NT_VMCOREDD) before the registers, as the kernel orders them."""
    device = bytes(range(256)) * (20 << 12) + b"end"
    kinds = [(b"LINUX", 0x700, device), (b"odd", 77, b"x" * 5), (b"LINUX", 0x700, device[7:] + b"1")]
    area = b"".join(note(name + b"\0", kind, content) for name, kind, content in kinds)
    area += prstatus(9, b"r" * 216) + vmcoreinfo(TEXT)
    (tmp_path / "in").write_bytes(core(RECIPE, area))
    make(tmp_path / "in", tmp_path / "out", 0, format=form)
    make(tmp_path / "out", tmp_path / "again", 0, format="elf" if form == "kdump" else "kdump")
    for path in (tmp_path / "out", tmp_path / "again"):
        assert sorted(notes_of(path)) == sorted(notes_of(tmp_path / "in"))
        opened = open_source(str(path))
        assert (opened.vmcoreinfo, [cpu.pid for cpu in opened.cpus], opened.remarks) == (TEXT, [9], [])
        assert len(opened.notes) < 4096  # the large ones stay in the file


def test_large_notes_are_carried_over_no_more_than_once(tmp_path: Path) -> None:
    """Overlapping notes could make a dump of any size of a small file."""
    area = note(b"LINUX\0", 0x700, b"d" * (2 << 20))
    data = bytearray(Core(loads(parse(RECIPE)), (area, b"none")).build())
    data[64 + 56 : 64 + 112] = data[64 : 64 + 56]  # the second note segment is the first
    (tmp_path / "in").write_bytes(data)
    opened = open_source(str(tmp_path / "in"))
    assert len(opened.large_notes) == 1
    assert opened.remarks[0].endswith("bytes of notes are damaged, missing or over the limit")


def test_a_large_note_that_can_not_be_read_is_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The damage loses no page; the dump is incomplete, with the reason."""
    from vmsieve.formats.errors import ReadError
    from vmsieve.formats.files import PlainFile

    (tmp_path / "in").write_bytes(core(RECIPE, note(b"LINUX\0", 0x700, b"d" * (2 << 20))))
    whole = PlainFile.read_into

    def damaged(self: PlainFile, offset: int, out: memoryview) -> int:
        if offset <= 1 << 20 < offset + len(out) < 2 << 20 and len(out) == 256 << 10:
            raise ReadError("medium error", file=self.name, offset=offset)
        return whole(self, offset, out)

    monkeypatch.setattr(PlainFile, "read_into", damaged)
    report = make(tmp_path / "in", tmp_path / "out", 0)
    assert report.incomplete
    assert any("are zeros: medium error" in line for line in report.notes)
    assert [len(note.head) for note in open_source(str(tmp_path / "out")).large_notes] == [20]
