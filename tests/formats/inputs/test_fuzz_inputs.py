"""Damaged dumps: opening and reading them ends, in bounded memory, with a result or a typed error."""

from __future__ import annotations

import struct
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.elf_core import Core, Load
from tests.build.memory_file import MemoryFile
from tests.formats.fuzz_kit import SEEDS, bounded, notes, survives, use
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.inputs import open_file
from vmsieve.formats.inputs.flattened import rebuild

pytestmark = pytest.mark.fuzz


#: Offsets of headers, which are damaged more often than pages.
HEADERS = st.one_of(
    st.integers(0, 600),
    st.integers(4096, 4500),
    st.integers(8192, 8300),
    st.integers(16384, 17000),
    st.integers(0, 1 << 16),
)


VALUES = st.one_of(
    st.binary(min_size=1, max_size=9),
    st.sampled_from([0, 1, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]).map(lambda n: n.to_bytes(4, "little")),
    st.sampled_from([0, 1, 4095, 1 << 31, 1 << 40, (1 << 56) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 4096]).flatmap(
        lambda n: st.sampled_from([n.to_bytes(8, "little"), n.to_bytes(8, "big")])
    ),
)


class Damage(NamedTuple):
    """A good file, replacement bytes, and the place where it is truncated or spliced with another file."""

    seed: str
    edits: list[tuple[int, bytes]]
    cut: int | None
    other: str | None

    def data(self) -> bytes:
        data = bytearray(SEEDS[self.seed])
        for at, value in self.edits:
            data[at : at + len(value)] = value
        if self.cut is not None:
            at = self.cut % len(data)
            data[at:] = SEEDS[self.other][at:] if self.other else b""
        return bytes(data)


NAMES = st.sampled_from(sorted(SEEDS))


DAMAGE = st.builds(
    Damage,
    NAMES,
    st.lists(st.tuples(HEADERS, VALUES), max_size=6),
    st.one_of(st.none(), st.none(), st.integers(0, 1 << 17)),
    st.one_of(st.none(), NAMES),
)


@settings(deadline=None, max_examples=400)
@given(DAMAGE)
def test_damaged_dumps_give_results_or_typed_errors(damage: Damage) -> None:
    """Only typed errors, in bounded memory; the file is always closed."""
    survives(damage.data(), 48 << 20)


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_undamaged_dumps_pass_the_same_questions(name: str) -> None:
    """The other test is effective only if undamaged files pass."""
    use(open_file(MemoryFile(SEEDS[name])))


@settings(deadline=None, max_examples=100)
@given(DAMAGE, st.integers(1, 5000))
def test_damaged_streams_are_rebuilt_or_refused(damage: Damage, step: int) -> None:
    """Also if it arrives in small portions; nothing is written beyond the largest file offset."""
    data = damage.data()
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        part = data[at : at + min(size, step)]
        at += len(part)
        return part

    def put(offset: int, part: bytes) -> None:
        assert 0 <= offset < offset + len(part) < 1 << 63

    with bounded(8 << 20):
        try:
            rebuild(read, put)
        except VmsieveError as error:
            assert str(error)  # noqa: PT017


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(0, 10), st.booleans())
def test_sparse_giants_do_not_cost_memory(shift: int, tables: int, big: bool) -> None:
    """Headers that claim up to 2**49 bytes of memory and more, each segment more."""
    segments = [Load(i << shift, b"", (1 << 16) << shift) for i in range(tables + 1)]
    file = MemoryFile(Core(segments, (notes("big" if big else "little"),), "big" if big else "little", 22).build())
    with bounded(1 << 20):
        try:
            use(open_file(file))
        except VmsieveError:
            # Nothing is there, or more than is plausible for a core that stores nothing.
            assert tables == 0 or shift == 0 or (1 << 16) + tables << shift > 1 << 38


@pytest.mark.parametrize("kind", [1, 4])
def test_very_many_program_headers_stay_in_bounds(kind: int) -> None:
    """Unordered overlapping segments, or many note segments: memory for them is bounded."""
    count = 70_000
    rows = [
        struct.pack("<IIQQQQQQ", kind, 7, 100, i % 3, (i * 7919) % count << 12, 64, 0x3000, 0) for i in range(count)
    ]
    head = Core([], phnum=count, extended=True).build()
    data = head[:64] + b"".join(rows) + head[64:]
    patched = bytearray(data)
    struct.pack_into("<Q", patched, 40, 64 + count * 56)
    with bounded(64 << 20, 240):
        try:
            use(open_file(MemoryFile(bytes(patched))))
        except VmsieveError as error:
            assert "pieces" in str(error) or "no memory" in str(error)  # noqa: PT017
