"""Files whose pages come in several passes: the same file, but for the order of the data of a kdump file."""

from __future__ import annotations

import random
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.memory_file import read, source
from tests.build.s390_file import PREFIXES
from tests.formats.output_kit import PAGE, ZLIB, Elf, Kdump, Medium, Memory, page
from tests.formats.outputs.test_s390 import MEMORY, PAGES, described
from vmsieve.formats import outputs
from vmsieve.formats.bitmap import BLOCK, Bitmap
from vmsieve.formats.errors import OutputError
from vmsieve.formats.outputs import Batch
from vmsieve.formats.outputs._ranks import Ranks
from vmsieve.formats.outputs._unread import MARK, SPARE
from vmsieve.formats.outputs.elf import ElfWriter
from vmsieve.formats.outputs.kdump import KdumpWriter
from vmsieve.formats.outputs.s390 import S390Writer
from vmsieve.formats.places import FilePlace
from vmsieve.formats.source import VirtualRange

if TYPE_CHECKING:
    from pathlib import Path

    from vmsieve.formats.outputs import Writer

FAR = 3 * BLOCK


def _memory() -> Memory:
    exists = {*range(3, 700), *range(5000, 5100), *range(FAR, FAR + 300)}
    pages: dict[int, bytes | None] = {pfn: page(pfn) for pfn in exists if pfn % 3}
    return Memory(exists, pages | {pfn: bytes(PAGE) for pfn in pages if pfn % 5 == 0})


def _passes(memory: Memory, count: int) -> list[Memory]:
    dice = random.Random(count)
    parts: list[dict[int, bytes | None]] = [{} for _ in range(count)]
    for pfn, content in memory.pages.items():
        dice.choice(parts)[pfn] = content
    return [Memory(memory.exists, part) for part in parts]


def _write(memory: Memory, passes: list[Memory], medium: Medium, most: int = 1 << 30) -> None:
    writer = KdumpWriter(memory.description(codec=ZLIB, passes=True), medium)
    writer.begin()
    for one in passes:
        for batch in one.batches(7, packed=True):
            if most > 0:
                writer.pages(batch)
                most -= batch.count
    writer.end(complete=most > 0)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_page_is_found_whatever_pass_it_came_in(count: int) -> None:
    memory, medium, plain = _memory(), Medium(), Medium()
    _write(memory, _passes(memory, count), medium)
    medium.check_puts()
    assert Kdump(bytes(medium.data)).pages() == memory.pages
    _write(memory, [memory], plain)
    assert len(plain.data) == len(medium.data)


def test_a_dump_that_ends_early_has_the_first_passes() -> None:
    memory, medium = _memory(), Medium()
    first, second = _passes(memory, 2)
    _write(memory, [first, second], medium, len(first.pages))
    found = Kdump(bytes(medium.data)).pages()
    assert {pfn: found[pfn] for pfn in first.pages} == first.pages
    assert sum(found[pfn] is not None for pfn in second.pages) < 7


@given(st.sets(st.integers(0, 2 * BLOCK + 100), min_size=1, max_size=200), st.integers(0, 3 * BLOCK), st.randoms())
def test_ranks_are_the_numbers_of_kept_pages_before(pfns: set[int], first: int, dice: random.Random) -> None:
    kept = Bitmap()
    for number in range(3):
        block = bytearray(BLOCK // 8)
        for pfn in pfns:
            if pfn // BLOCK == number:
                block[pfn % BLOCK >> 3] |= 1 << (pfn & 7)
        kept.put(number, block)
    ascending = sorted(pfns)
    chosen = sorted(dice.sample(ascending, dice.randint(1, len(ascending))))
    words = memoryview(array("Q", chosen))
    batch = Batch(len(chosen), words, words, words, words)
    found: list[int] = []
    for start, end, rank in Ranks(kept, first).runs(batch):
        assert len(found) == start
        found += range(rank, rank + end - start)
    before = sum(pfn < first for pfn in pfns)
    assert found == [ascending.index(pfn) - before for pfn in chosen]


def test_a_run_of_kept_neighbours_is_one_run() -> None:
    kept, words = Bitmap(), memoryview(array("Q", [8, 16, 24, 100]))
    block = bytearray(BLOCK // 8)
    for pfn in (8, 16, 24, 50, 100):
        block[pfn >> 3] |= 1 << (pfn & 7)
    kept.put(0, block)
    assert list(Ranks(kept).runs(Batch(4, words, words, words, words))) == [(0, 3, 0), (3, 4, 4)]


def test_a_full_disk_between_passes_loses_no_page_that_was_synced() -> None:
    """Descriptors of scattered pages are many small writes: all before a checkpoint are in the file."""
    memory, medium = _memory(), Medium()
    first, second = _passes(memory, 2)
    writer = KdumpWriter(memory.description(codec=ZLIB, passes=True), medium)
    writer.begin()
    for batch in first.batches(7, packed=True):
        writer.pages(batch)
    writer.checkpoint()
    medium.room = 100
    for batch in second.batches(7, packed=True):
        with suppress(OutputError):
            writer.pages(batch)
    writer.end(complete=False)
    found = Kdump(bytes(medium.data)).pages()
    assert {pfn: found[pfn] for pfn in first.pages} == first.pages


def test_checkpoints_are_synced_at_most_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass is written at once; its sync may come with a later page, and comes once."""
    now, synced = [100.0], []
    monkeypatch.setattr(outputs, "monotonic", lambda: now[0])
    memory, medium = _memory(), Medium()
    monkeypatch.setattr(medium, "sync", lambda: synced.append(now[0]))
    writer = KdumpWriter(memory.description(codec=ZLIB, passes=True), medium)
    writer.begin()
    for number, one in enumerate(_passes(memory, 5)):
        for batch in one.batches(7, packed=True):
            now[0] += 0.05
            writer.pages(batch)
        if number < 4:
            writer.checkpoint()
    writer.end(complete=True)
    last = now[0]
    assert 2 <= len(synced) <= last - 100
    assert all(later - before >= 1 for before, later in zip([100.0, *synced], synced))


class _Rewritable(Medium):
    """A place that settles any bytes, as a file."""

    rewrites = True


def _written(writer: Writer, passes: list[Memory], *, complete: bool = True) -> None:
    writer.begin()
    for one in passes:
        for batch in one.batches(7):
            writer.pages(batch)
        writer.checkpoint()
    writer.end(complete=complete)


def _elf(memory: Memory, passes: list[Memory], medium: Medium, **more: Any) -> Elf:
    virtual = (VirtualRange(PAGE << 32, 0, 250 * PAGE), VirtualRange(PAGE << 33, 250 * PAGE, 3000 * PAGE))
    description = memory.description(virtual=virtual, passes=len(passes) > 1)
    _written(ElfWriter(description, medium), passes, **more)
    medium.check_puts()
    return Elf(bytes(medium.data))


@pytest.mark.parametrize("count", [2, 5])
def test_an_elf_file_is_the_same_in_any_order(count: int) -> None:
    """Unreadable pages end their segments whatever pass they came in, until the program headers run out."""
    memory, medium, plain = _memory(), _Rewritable(), _Rewritable()
    # A row, of which one page is behind a jump of addresses, and single ones.
    memory.pages = {**memory.pages, **dict.fromkeys([*range(246, 254), 7, 5050, 5053, FAR + 299])}
    dump = _elf(memory, _passes(memory, count), medium)
    assert {pfn: dump.page(pfn) for pfn in memory.pages} == memory.pages
    assert dump.flags == 1
    _elf(memory, [memory], plain)
    assert medium.data == plain.data


def test_more_unreadable_pages_than_program_headers() -> None:
    memory, medium = Memory(set(range(600)), {pfn: None if pfn % 2 else page(pfn) for pfn in range(600)}), _Rewritable()
    dump = _elf(memory, _passes(memory, 3), medium)
    filled = [pfn for pfn in range(1, 600, 2) if dump.page(pfn) == MARK * (PAGE // len(MARK))]
    assert len(filled) == 300 - SPARE
    assert all(dump.page(pfn) == page(pfn) for pfn in range(0, 600, 2))
    assert {dump.page(pfn) for pfn in range(1, 600, 2) if pfn not in filled} == {None}


@pytest.mark.parametrize("killed", [False, True])
def test_an_elf_file_that_ends_early_has_the_first_passes(killed: bool, tmp_path: Path) -> None:
    memory = _memory()
    first, second, third = _passes(memory, 3)
    with (tmp_path / "out").open("wb") as file:
        writer = ElfWriter(memory.description(passes=True), FilePlace(file.fileno(), "out", upward=True))
        writer.begin()
        for one in (first, second):
            for batch in one.batches(7):
                writer.pages(batch)
            writer.checkpoint()
        writer.pages(next(third.batches(7)))
        if not killed:
            writer.end(complete=False)
    data = (tmp_path / "out").read_bytes()
    dump = Elf(data)
    assert dump.flags == 1
    # The third pass is holes, which are zeros, and before the end of the file.
    for one in (first, second):
        assert {pfn: (dump.page(pfn) or b"").ljust(PAGE, b"\0") for pfn in one.pages} == one.pages
    assert any(dump.page(pfn) == bytes(PAGE) for pfn in third.pages if any(third.pages[pfn] or b""))


def test_a_page_of_no_block_was_not_announced() -> None:
    memory = _memory()
    writer = ElfWriter(memory.description(passes=True), Medium())
    writer.begin()
    for stranger in (3, 2500, FAR + 5000):
        with pytest.raises(AssertionError, match=f"frame {stranger} was not announced"):
            writer.pages(next(Memory(memory.exists, {stranger: page(1)}).batches()))


def _s390(memory: Memory, passes: list[Memory], **more: Any) -> bytes:
    medium = Medium()
    _written(S390Writer(described(memory, passes=len(passes) > 1), medium), passes, **more)
    medium.check_puts()
    return bytes(medium.data)


@pytest.mark.parametrize("count", [2, 5])
def test_an_s390_dump_is_the_same_in_any_order(count: int) -> None:
    """Registers too: in lowcores that come with bytes, that are zeros, unreadable or left out."""
    lowcores = [(prefix + 0x1000) // PAGE for prefix in PREFIXES]
    for kind in (MEMORY[lowcores[0] * PAGE :][:PAGE], bytes(PAGE), None, "left out"):
        pages = {pfn: content for pfn, content in PAGES.items() if kind != "left out" or pfn not in lowcores}
        if not isinstance(kind, str):
            pages.update(dict.fromkeys(lowcores, kind))
        memory = Memory(set(PAGES), pages)
        made = _s390(memory, _passes(memory, count))
        assert made == _s390(memory, [memory])
        assert len(source(made).cpus) == len(PREFIXES)


def test_an_s390_dump_that_ends_early_has_the_first_passes() -> None:
    """Registers of lowcores that are left out are there, too."""
    gone = (PREFIXES[1] + 0x1000) // PAGE
    memory = Memory(set(PAGES), {pfn: content for pfn, content in PAGES.items() if pfn != gone})
    first, second = _passes(memory, 2)
    top = max(PAGES)
    first.pages = {**first.pages, top: PAGES[top]}
    made = _s390(memory, [first], complete=False)
    opened = source(made)
    assert opened.incomplete
    wanted = {pfn: read(opened, pfn * PAGE, PAGE) for pfn in first.pages}
    assert wanted == {pfn: MEMORY[pfn * PAGE :][:PAGE] for pfn in first.pages}
    assert any(any(second.pages[pfn] or b"") and not any(read(opened, pfn * PAGE, PAGE)) for pfn in second.pages)
    assert len(opened.cpus) == len(PREFIXES)
