"""Damaged compressed files: opening and reading them ends, in little memory, with a result or a typed error."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import frame_files as made
from tests.build.elf_core import core
from tests.build.flattened_file import cut, flattened
from tests.build.kdump_file import kdump
from tests.build.memory_file import MemoryFile
from tests.build.notes import prstatus
from tests.formats.fuzz_kit import survives, use
from tests.outcome import result_or_error
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.frames import Frame, frames
from vmsieve.formats.inputs import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.fuzz

_RECIPE = "@0x1000 fill 01020304 x9\n@0x20000 noise 1 x4\n@0x40000 zero x3"
_NOTES = prstatus(1, b"r" * 216, "little")
_INNER = (core(_RECIPE, _NOTES), flattened(cut(kdump(_RECIPE, notes=_NOTES), 3000)))
SEEDS = {f"{kind}-{i}": make(inner) for kind, make in made.EVERY.items() for i, inner in enumerate(_INNER)}


@pytest.fixture(autouse=True, scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(tmp_path_factory.mktemp("unpacked"))
    yield
    del os.environ["TMPDIR"]
    if before is not None:
        os.environ["TMPDIR"] = before


class Damage(NamedTuple):
    """A good file, replacement bytes (at offsets from the start or the end), and the number of bytes cut off."""

    seed: str
    edits: list[tuple[int, bytes]]
    cut: int

    def data(self) -> bytes:
        data = bytearray(SEEDS[self.seed])
        for at, value in self.edits:
            at = at % len(data)
            data[at : at + len(value)] = value
        return bytes(data[: len(data) - self.cut % len(data)])


#: Offsets of headers of the first pieces, of the seek table at the end, and any.
PLACES = st.one_of(st.integers(0, 40), st.integers(-80, -1), st.integers(0, 1 << 16), st.integers(5000, 5200))
VALUES = st.one_of(
    st.binary(min_size=1, max_size=6),
    st.sampled_from([0, 1, 3, 0x7FFFFFFF, 0xFFFFFFFF, 8 << 20]).map(lambda n: n.to_bytes(4, "little")),
    st.sampled_from(
        [b"\x28\xb5\x2f\xfd", b"\x5e\x2a\x4d\x18", b"\x04\x22\x4d\x18", b"\x1f\x8b\x08\x04", b"\xb1\xea\x92\x8f"]
    ),
)
DAMAGE = st.builds(
    Damage,
    st.sampled_from(sorted(SEEDS)),
    st.lists(st.tuples(PLACES, VALUES), max_size=4),
    st.one_of(st.just(0), st.just(0), st.integers(0, 1 << 16)),
)


@settings(deadline=None, max_examples=500)
@given(DAMAGE)
def test_damaged_frames_give_results_or_typed_errors(damage: Damage) -> None:
    """Only typed errors, in bounded memory; the file is always closed."""
    survives(damage.data(), 96 << 20)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(frames()), st.binary(max_size=300), st.integers(0, 9000))
def test_rubbish_is_unpacked_to_little_or_refused(one: Frame, data: bytes, room: int) -> None:
    """Random bytes after each magic number, as a separate piece: no more content than the limit."""
    magic = {"zstd": b"\x28\xb5\x2f\xfd", "lz4": b"\x04\x22\x4d\x18", "gzip": b"\x1f\x8b\x08"}[one.name]
    for piece in (data, magic + data):
        found = result_or_error(one.unpack, piece, room + 1)
        assert "damaged" in str(found) if isinstance(found, VmsieveError) else len(found) <= room + 1


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_undamaged_files_pass_the_same_questions(name: str) -> None:
    """The other test is effective only if undamaged files pass."""
    dump = open_file(MemoryFile(SEEDS[name]))
    assert not dump.incomplete
    use(dump)
