"""kdump files whose pages come in several passes: the same file but for the order of the data."""

from __future__ import annotations

import random
from array import array
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.formats.output_kit import PAGE, ZLIB, Kdump, Medium, Memory, page
from vmsieve.formats.bitmap import BLOCK, Bitmap
from vmsieve.formats.errors import OutputError
from vmsieve.formats.outputs import Batch, kdump
from vmsieve.formats.outputs._ranks import Ranks
from vmsieve.formats.outputs.kdump import KdumpWriter

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
    monkeypatch.setattr(kdump, "monotonic", lambda: now[0])
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
