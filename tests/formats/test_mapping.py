"""Files mapped into memory: the bytes equal read ones, and absent bytes are refused instead of a SIGBUS."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

import pytest

from tests.build.elf_core import Core, Load
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.errors import ReadError
from vmsieve.formats.files import PlainFile
from vmsieve.formats.inputs import open_source
from vmsieve.formats.mapping import Window, anonymous, map_piece, unmap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = mmap.PAGESIZE


@pytest.fixture
def noise(tmp_path: Path) -> Iterator[tuple[PlainFile, bytes]]:
    content = os.urandom(8 * PAGE)
    path = tmp_path / "noise"
    path.write_bytes(content)
    file = PlainFile(str(path))
    yield file, content
    file.close()


def test_mapped_pieces_lie_side_by_side(noise: tuple[PlainFile, bytes]) -> None:
    """Two pieces of a file, mapped contiguously, read as their bytes."""
    file, content = noise
    room = memoryview(anonymous(3 * PAGE))
    assert mapped(file, room, 5 * PAGE, PAGE)
    assert mapped(file, room[PAGE:], 2 * PAGE, 2 * PAGE)
    assert room == content[5 * PAGE : 6 * PAGE] + content[2 * PAGE : 4 * PAGE]


def test_a_mapping_replaces_the_one_before(noise: tuple[PlainFile, bytes]) -> None:
    """The same memory is reused for batch after batch."""
    file, content = noise
    room = memoryview(anonymous(PAGE))
    for page in (3, 0, 7):
        assert mapped(file, room, page * PAGE, PAGE)
        assert room == content[page * PAGE : (page + 1) * PAGE]


def test_memory_is_memory_again(noise: tuple[PlainFile, bytes]) -> None:
    """A mapping can be undone: zeros replace it, can be overwritten, and the file keeps its bytes."""
    file, content = noise
    room = memoryview(anonymous(2 * PAGE))
    assert mapped(file, room, 0, 2 * PAGE)
    unmap(2 * PAGE, address_of(room))
    assert not any(room)
    room[:4] = b"mine"
    assert file.read_into(0, room) == 2 * PAGE
    assert room == content[: 2 * PAGE]


def test_bytes_past_the_end_are_refused(noise: tuple[PlainFile, bytes]) -> None:
    """Bytes that vanished after the file was opened are left to the window."""
    file, _ = noise
    assert file.pieces(7 * PAGE, 2 * PAGE) is None
    assert file.pieces(7 * PAGE, PAGE) is not None


def test_odd_offsets_are_not_mapped(noise: tuple[PlainFile, bytes]) -> None:
    """Memory is mapped in whole pages: QEMU's dumps, whose pages lie at odd offsets, are read."""
    file, _ = noise
    room = memoryview(anonymous(PAGE))
    assert not mapped(file, room, 1, PAGE)
    assert not Window(PAGE).map(Odd(file), [(0, PAGE)])


class Odd:
    """A file whose pages lie at odd offsets."""

    def __init__(self, file: PlainFile) -> None:
        self.file = file

    def file_pieces(self, paddr: int, size: int) -> list[tuple[int, int, int]] | None:
        return self.file.pieces(paddr + 1, size)

    def shrunk(self) -> bool:
        return False


def mapped(file: PlainFile, room: memoryview, offset: int, size: int) -> bool:
    """Map a part of ``file`` over the beginning of ``room``; False if that fails."""
    pieces = file.pieces(offset, size)
    assert pieces is not None
    assert len(pieces) == 1
    return map_piece(*pieces[0], address_of(room))


def test_a_core_maps_what_it_stores_in_one_piece(tmp_path: Path) -> None:
    """Memory is mapped if it is contiguous in the file, otherwise refused; a read gives the reason."""
    content = os.urandom(4 * PAGE)
    offset = 4 * PAGE  # beyond the headers
    path = tmp_path / "core"
    low, high = Load(0x100000, content, offset=offset), Load(0x400000, b"", memsz=1 << 16)
    path.write_bytes(Core([low, high]).build()[:offset].ljust(offset, b"\0") + content)
    source = open_source(str(path))
    room = memoryview(anonymous(4 * PAGE))
    found = source.file_pieces(0x100000 + PAGE, 2 * PAGE)
    assert found is not None
    assert all(map_piece(*piece, address_of(room)) for piece in found)
    assert room[: 2 * PAGE] == content[PAGE : 3 * PAGE]
    for paddr in (0x100000 + 3 * PAGE, 0x400000, 0):
        assert source.file_pieces(paddr, 2 * PAGE) is None
    with pytest.raises(ReadError):
        source.read_into(0x400000, memoryview(bytearray(PAGE)))
    source.close()
