"""s390 stand-alone output: header, memory, registers in lowcores, the end marker last, torn ones without it."""

from __future__ import annotations

import struct
from typing import Callable

import pytest

from tests.build.memory_file import ranges, read, source
from tests.build.s390_file import PAGE, PREFIXES, VMCOREINFO, Dump, machine, registers
from tests.formats.output_kit import Medium, Memory, page, write
from vmsieve.formats.errors import OutputError, UsageError
from vmsieve.formats.outputs import Description, output_format
from vmsieve.formats.outputs.s390 import S390Writer

MEMORY = machine(1)
#: Header values of zgetdump, and of this writer, for a dump whose header lacks them.
DUMP = Dump(MEMORY, tod=0, tod_end=0, cpu_id=0, real_cpus=0, build_arch=0, mem_end=len(MEMORY) - 1)
NOTES = source(DUMP.flat()).notes
PAGES: dict[int, bytes | None] = {at // PAGE: MEMORY[at : at + PAGE] for at in range(0, len(MEMORY), PAGE)}


def described(memory: Memory, **more: object) -> Description:
    facts = {"machine": "s390x", "byte_order": "big", "notes": NOTES, "dump_level": 0, "read": reader(memory), **more}
    return memory.description(**facts)


def reader(memory: Memory) -> Callable[[int, int], bytes | None]:
    def one(address: int, size: int) -> bytes | None:
        content = memory.pages.get(address // PAGE)
        return content[address % PAGE :][:size] if content else None

    return one


def written(
    memory: Memory, medium: Medium | None = None, *, batch: int = 7, complete: bool = True, **more: object
) -> bytes:
    medium = medium or Medium()
    write(S390Writer(described(memory, **more), medium), memory, packed=False, batch=batch, complete=complete)
    medium.check_puts()
    assert [start for start, _ in medium.puts] == sorted(start for start, _ in medium.puts), "a pipe takes it as it is"
    return bytes(medium.data)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_a_dump_is_written_byte_for_byte(batch: int) -> None:
    """The file equals a hand-made writer's: registers come from notes and are put where they were."""
    assert written(Memory(set(PAGES), PAGES), batch=batch) == DUMP.flat()


def test_registers_are_put_back() -> None:
    """Into lowcores and vector areas of memory without them, whether the pages are present, zero or left out."""
    bare = bytearray(MEMORY)
    for number, prefix in enumerate(PREFIXES):
        for group in ((0x1200, 0x1318), (0x1318, 0x1320), (0x1324, 0x13C0 - 0x80), (0x1340, 0x1400)):
            bare[prefix + group[0] : prefix + group[1]] = bytes(group[1] - group[0])
        vector = 0x30000 + number * 0x400
        bare[vector : vector + 512] = bytes(512)
    pages: dict[int, bytes | None] = {at // PAGE: bytes(bare[at : at + PAGE]) for at in range(0, len(bare), PAGE)}
    expected = bytearray(MEMORY)
    for number, prefix in enumerate(PREFIXES):
        area = registers(number)
        # Between the groups of registers is other memory.
        for first, last in ((0x110, 0x118), (0x120, 0x124), (0x138, 0x140)):
            place = prefix + 0x1200
            expected[place + first : place + last] = bare[place + first : place + last]
            assert area[first:last] != bytes(last - first)
    made = written(Memory(set(pages), pages))
    assert made[PAGE:-16] == bytes(expected)


def test_pages_that_are_not_there() -> None:
    """A left-out lowcore, the last page a hole: zeros except for the registers, whose vectors have no place."""
    gone = (PREFIXES[1] + 0x1000) // PAGE
    exists = set(PAGES) | {len(PAGES) + 5}
    pages = {pfn: content for pfn, content in PAGES.items() if pfn not in (gone, 0x30)}
    made = written(Memory(exists, pages))
    assert len(made) == PAGE + len(MEMORY) + 6 * PAGE + 16
    opened = source(made)
    assert not opened.incomplete
    area = read(opened, gone * PAGE + 0x200, 0x200)
    assert area[:0x110] == registers(1)[:0x110]
    assert area[0x180:] == registers(1)[0x180:]
    assert read(opened, gone * PAGE, 0x200) == bytes(0x200)
    assert len(opened.cpus) == 2
    assert ranges(opened) == [(0, len(MEMORY) + 6 * PAGE, len(MEMORY) + 6 * PAGE)]


def test_the_header_has_the_known_values() -> None:
    """Time and prefixes, each also missing."""
    made = written(Memory(set(PAGES), PAGES), crash_time=1700000000)
    opened = source(made)
    assert opened.crash_time == 1700000000
    assert opened.header["dump_created"] == opened.header["dump_ended"] == "2023-11-14 22:13:20.000000 UTC"
    none = source(written(Memory(set(PAGES), PAGES), notes=b"", read=None))
    assert none.cpus == ()
    assert none.vmcoreinfo == VMCOREINFO


def test_impossible_prefixes() -> None:
    """Beyond memory: the processor is listed, its registers are dropped."""
    beyond = NOTES.replace(struct.pack(">I", PREFIXES[1]), struct.pack(">I", 0x7FFF0000))
    opened = source(written(Memory(set(PAGES), PAGES), notes=beyond))
    assert len(opened.cpus) == 1
    assert opened.header["cpus_online"] == 2


@pytest.mark.parametrize("lacking", [1, 16, 17, 3 * PAGE, 400_000, 1 << 30])
def test_a_torn_dump_has_no_end_marker(lacking: int) -> None:
    """At any limit: the file reads as incomplete, and its bytes are right."""
    whole = Medium()
    written(Memory(set(PAGES), PAGES), whole)
    room = max(whole.total() - lacking, 0)
    medium = Medium(room)
    memory = Memory(set(PAGES), PAGES)
    writer = S390Writer(described(memory), medium)
    with pytest.raises(OutputError):
        write(writer, memory, packed=False)
    writer.end(complete=False)
    made = bytes(medium.data)
    assert b"DUMP_END" not in made[-16:]
    if len(made) > PAGE:
        opened = source(made)
        assert opened.incomplete
        ((_, stored, _),) = ranges(opened)
        assert read(opened, 0, stored) == MEMORY[:stored]


def test_an_incomplete_dump_has_no_end_marker() -> None:
    """An incomplete source or an unreadable page: all pages are written, without an end marker."""
    pages = dict(PAGES)
    made = written(Memory(set(PAGES), PAGES), complete=False)
    assert source(made).incomplete
    assert len(made) == PAGE + len(MEMORY)
    pages[100] = None
    opened = source(written(Memory(set(pages), pages)))
    assert opened.incomplete
    assert read(opened, 100 * PAGE, PAGE) == bytes(PAGE)


def test_too_few_pages_are_a_fault() -> None:
    """A writer that lost pages must not write a complete dump."""
    medium = Medium()
    memory = Memory(set(PAGES), PAGES)
    writer = S390Writer(described(memory), medium)
    writer.begin()
    writer.pages(next(iter(memory.batches())))
    with pytest.raises(AssertionError):
        writer.end(complete=True)


def test_other_machines_are_refused() -> None:
    """The format has a single architecture."""
    with pytest.raises(UsageError, match="s390x"):
        S390Writer(described(Memory({0}, {0: page(1)}), machine="x86_64"), Medium())


def test_the_mark_of_a_torn_dump() -> None:
    """The offset of the end marker; None for other files."""
    form = output_format("s390")
    assert not form.marks_absent
    assert form.torn_mark(DUMP.flat()[:512]) == (PAGE + len(MEMORY), bytes(16))
    assert form.torn_mark(b"\x7fELF") is None
    assert form.torn_mark(b"") is None
