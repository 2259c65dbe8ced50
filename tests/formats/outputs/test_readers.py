"""vmsieve's readers read the output back: every page, every header field, and the torn mark."""

from __future__ import annotations

import io
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.formats.output_kit import PAGE, Medium, Memory, page
from vmsieve.formats.codecs import codec
from vmsieve.formats.errors import OutputError, ReadError
from vmsieve.formats.inputs import VirtualRange, open_source
from vmsieve.formats.notes import build_note
from vmsieve.formats.outputs import output_format
from vmsieve.formats.places import FilePlace, FlattenedPlace, PipePlace

if TYPE_CHECKING:
    from pathlib import Path

    from vmsieve.formats.inputs import Source
    from vmsieve.formats.outputs import Place

FORMATS = pytest.mark.parametrize("name", ["elf", "kdump"])
ORDERS = pytest.mark.parametrize(("byte_order", "machine"), [("little", "x86_64"), ("big", "s390x")])
DIRECT = VirtualRange(0xFFFF888000000000, 0, 5100 * PAGE)
TEXT = VirtualRange(0xFFFFFFFF81000000, 100 * PAGE, 50 * PAGE)


def _notes(byte_order: str) -> bytes:
    text = b"OSRELEASE=6.0-test\nPAGESIZE=4096\n"
    return build_note(b"CORE", 1, bytes(336), byte_order) + build_note(b"VMCOREINFO", 0, text, byte_order)


def _memory() -> Memory:
    exists = set(range(3, 700)) | set(range(5000, 5100))
    pages: dict[int, bytes | None] = {pfn: page(pfn) for pfn in exists if not 300 <= pfn < 600}
    pages |= {pfn: bytes(PAGE) for pfn in pages if pfn % 5 == 0}
    pages[5099] = bytes(range(256)) * 16
    return Memory(exists, pages)


def _save(name: str, place: Place, memory: Memory, *, finish: bool = True, **more: Any) -> None:
    form = output_format(name)
    facts = {"codec": codec("zlib") if form.packed else codec("none"), "notes": _notes("little"), **more}
    writer = form.writer(memory.description(block=1 << 12, **facts), place)
    writer.begin()
    for batch in memory.batches(50, packed=form.packed):
        writer.pages(batch)
    if finish:
        writer.end(complete=True)
        place.finish()


def _saved(path: Path, name: str, memory: Memory, *, finish: bool = True, **more: Any) -> Source:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    place = FilePlace(fd, str(path))
    _save(name, place, memory, finish=finish, **more)
    place.flush()
    os.close(fd)
    return open_source(str(path))


def _page(source: Source, pfn: int) -> bytes | None:
    out = bytearray(PAGE)
    try:
        source.read_into(pfn * PAGE, memoryview(out))
    except ReadError:
        return None
    return bytes(out)


def _frames(source: Source) -> tuple[set[int], set[int]]:
    exist, stored = source.memory_bits(0, 8192, PAGE)
    return tuple({pfn for pfn in range(8192) if bits[pfn // 8] >> pfn % 8 & 1} for bits in (exist, stored))  # type: ignore[return-value]


@FORMATS
@ORDERS
def test_every_page_and_fact_comes_back(name: str, byte_order: str, machine: str, tmp_path: Path) -> None:
    memory = _memory()
    notes = _notes(byte_order)
    source = _saved(
        tmp_path / "dump", name, memory, byte_order=byte_order, machine=machine, notes=notes, cpus=1,
        vmcoreinfo=(len(notes) - 36, 33), virtual=(DIRECT, TEXT), crash_time=1234567890, phys_base=0x1000,
        utsname=("Linux", "host", "6.0-test", "#1", machine, "(none)"),
    )  # fmt: skip
    exist, stored = _frames(source)
    assert exist == memory.exists
    assert stored == set(memory.pages)
    assert {pfn: _page(source, pfn) for pfn in memory.pages} == memory.pages
    assert _page(source, 400) is None
    assert (source.machine, source.byte_order, source.incomplete) == (machine, byte_order, False)
    assert source.notes == notes
    assert source.vmcoreinfo == b"OSRELEASE=6.0-test\nPAGESIZE=4096\n"
    assert len(source.cpus) == 1
    if name == "kdump":
        assert (source.crash_time, source.dump_level, source.page_size) == (1234567890, 31, PAGE)
        assert source.utsname == ("Linux", "host", "6.0-test", "#1", machine, "(none)")
    else:
        assert TEXT in source.virtual
    source.close()


@FORMATS
def test_a_flattened_stream_reads_like_the_file(name: str, tmp_path: Path) -> None:
    memory = _memory()
    stream = io.BytesIO()
    _save(name, FlattenedPlace(stream.write, "stdout"), memory)
    (tmp_path / "flat").write_bytes(stream.getvalue())
    source = open_source(str(tmp_path / "flat"))
    assert {pfn: _page(source, pfn) for pfn in memory.pages} == memory.pages
    assert not source.incomplete
    source.close()


@FORMATS
@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_a_truncated_flattened_stream_is_incomplete_and_readable(name: str, part: float, tmp_path: Path) -> None:
    memory = _memory()
    stream = io.BytesIO()
    _save(name, FlattenedPlace(stream.write, "stdout"), memory)
    size = max(int(len(stream.getvalue()) * part), 4096 + 2 * PAGE)
    (tmp_path / "flat").write_bytes(stream.getvalue()[:size])
    source = open_source(str(tmp_path / "flat"))
    assert source.incomplete
    pages = {pfn: _page(source, pfn) for pfn in memory.pages}
    # In an ELF file a page may lie partly beyond the end, and a hole reads as zeros, never as another page.
    for pfn, content in pages.items():
        wanted = memory.pages[pfn] or b""
        assert content in (None, wanted, bytes(PAGE)) or wanted.startswith((content or b"").rstrip(b"\0"))
    source.close()


@FORMATS
def test_an_unfinished_file_is_incomplete_and_readable(name: str, tmp_path: Path) -> None:
    memory = _memory()
    with closing(_saved(tmp_path / "dump", name, memory, finish=False)) as source:
        assert source.incomplete
        assert all(_page(source, pfn) in (memory.pages[pfn], None) for pfn in memory.pages)


@FORMATS
def test_a_file_torn_by_a_full_disk_is_incomplete_and_readable(name: str, tmp_path: Path) -> None:
    memory = _memory()
    whole = Medium()
    _save(name, whole, memory)
    order = sorted(memory.pages)
    for hundredths in (40, 60, 80, 99):
        medium = Medium(whole.total() * hundredths // 100)
        with pytest.raises(OutputError):
            _save(name, medium, memory)
        (tmp_path / "dump").write_bytes(medium.data)
        with closing(open_source(str(tmp_path / "dump"))) as source:
            assert source.incomplete
            pages = [_page(source, pfn) for pfn in order]
        there = [i for i, pfn in enumerate(order) if pages[i] == memory.pages[pfn]]
        assert there
        assert there == list(range(len(there)))
        # Of the page at the tear, an ELF file has a part.
        assert not any(pages[len(there) + 1 :])


@FORMATS
def test_a_page_that_could_not_be_read_makes_an_incomplete_dump(name: str, tmp_path: Path) -> None:
    memory = _memory()
    memory.pages = {**memory.pages, 11: None}
    with closing(_saved(tmp_path / "dump", name, memory)) as source:
        assert source.incomplete
        assert _page(source, 12) == page(12)
        assert _page(source, 11) in (None, bytes(PAGE))


def test_a_torn_pipe_is_incomplete_and_a_whole_one_is_not(tmp_path: Path) -> None:
    for lost in (False, True):
        memory = _memory()
        if lost:
            memory.pages = {**memory.pages, 11: None}
        stream = io.BytesIO()
        _save("elf", PipePlace(stream.write, "stdout"), memory)
        (tmp_path / "piped").write_bytes(stream.getvalue())
        with closing(open_source(str(tmp_path / "piped"))) as source:
            assert source.incomplete == lost
            assert _page(source, 12) == page(12)
