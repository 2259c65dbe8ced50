"""Views: a loop that moves the window itself sees the bytes of the pieces, mapped or read."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.formats.codecs.codec_kit import BACKENDS, on
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.codecs import codec, codec_number
from vmsieve.formats.codecs._pack import pack_pages
from vmsieve.formats.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Piece = tuple[int, int, int]

PAGE = mmap.PAGESIZE
COUNT = 64


class Pieces:
    """A source whose spans are numbers of pieces."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self.shorter = False

    def file_pieces(self, paddr: int, size: int) -> list[Piece] | None:
        assert size == self.pieces[paddr][2]
        return [self.pieces[paddr]]

    def shrunk(self) -> bool:
        return self.shorter

    def spans(self) -> list[tuple[int, int]]:
        return [(number, piece[2]) for number, piece in enumerate(self.pieces)]


@pytest.fixture
def noise(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    """An open file and its content."""
    content = os.urandom(COUNT * PAGE)
    (tmp_path / "noise").write_bytes(content)
    fd = os.open(tmp_path / "noise", os.O_RDWR)
    yield fd, content
    os.close(fd)


def run(loop: Callable[..., int], view: View, index: Sequence[int], part: int) -> list[bytes]:
    """Copy pages with the loop, in parts of so many bytes and one page more; ends early if it fails."""
    state = codec("none").open_compressor(0, PAGE)
    numbers = (ctypes.c_uint32 * len(index))(*index)
    sizes, flags = ((ctypes.c_uint32 * len(index))() for _ in range(2))
    out = bytearray(part + PAGE)
    found: list[bytes] = []
    view.limit(part)
    while len(found) < len(index):
        at = 4 * len(found)
        size = loop(
            codec_number("none"), state.address, len(index) - len(found), view.address,
            ctypes.addressof(numbers) + at, PAGE, 0, 0, ctypes.addressof(sizes) + at, ctypes.addressof(flags) + at,
            address_of(out), view.view,
        )  # fmt: skip
        assert size == view.done() * PAGE
        found += [bytes(out[i * PAGE : (i + 1) * PAGE]) for i in range(view.done())]
        if view.failed():
            break
    return found


def made(chance: random.Random, fd: int, content: bytes) -> tuple[list[Piece], bytes]:
    """Random pieces, some of them zeros, and their bytes."""
    pieces, memory = [], b""
    for _ in range(chance.randint(1, 12)):
        first, pages = chance.randrange(COUNT - 16), chance.randint(1, 16)
        if chance.random() < 0.25:
            pieces.append((-1, 0, pages * PAGE))
            memory += bytes(pages * PAGE)
        else:
            pieces.append((fd, first * PAGE, pages * PAGE))
            memory += content[first * PAGE : (first + pages) * PAGE]
    return pieces, memory


@BACKENDS
@pytest.mark.parametrize("mapped", [True, False])
def test_every_page_is_the_pieces(backend: str, mapped: bool, noise: tuple[int, bytes]) -> None:
    """Pieces of any length, zeros among them; windows and parts of any size; pages passed over."""
    chance = random.Random(backend)
    loop = on(backend, pack_pages)
    for _ in range(60 if backend != "python" else 8):
        pieces, memory = made(chance, *noise)
        view, source = View(chance.choice([1, 2, 3, 40, 200]) * PAGE), Pieces(pieces)
        if not view.show(source, source.spans(), mapped=mapped):
            pytest.skip("there is no machine code")
        index = [i for i in range(len(memory) // PAGE) if chance.random() < 0.7]
        found = run(loop, view, index, chance.choice([1, PAGE, 5 * PAGE, 300 * PAGE]))
        assert found == [memory[i * PAGE : (i + 1) * PAGE] for i in index]
        assert not view.lost()


@pytest.mark.parametrize("odd", [1, 100])
def test_pieces_at_odd_offsets_are_read(odd: int, noise: tuple[int, bytes]) -> None:
    """QEMU's dumps have them; they can't be mapped."""
    fd, content = noise
    view, source = View(4 * PAGE), Pieces([(fd, odd, 20 * PAGE), (fd, odd, PAGE)])
    assert view.show(source, source.spans(), mapped=True)
    found = run(on("aot", pack_pages), view, range(21), 100 * PAGE)
    assert b"".join(found) == content[odd : odd + 20 * PAGE] + content[odd : odd + PAGE]


@pytest.mark.parametrize("mapped", [True, False])
def test_a_piece_that_fails_ends_the_run(mapped: bool, noise: tuple[int, bytes]) -> None:
    """Pages before it are right; what can't be mapped is not mapped again."""
    fd, content = noise
    closed = os.dup(fd)
    os.close(closed)
    view, source = View(4 * PAGE), Pieces([(fd, 0, 8 * PAGE), (closed, 0, 8 * PAGE)])
    assert view.show(source, source.spans(), mapped=mapped)
    found = run(on("aot", pack_pages), view, range(16), 100 * PAGE)
    assert b"".join(found) == content[: 8 * PAGE]
    sound = Pieces([(fd, 0, 8 * PAGE)])
    assert view.show(sound, sound.spans(), mapped=True)
    sound.shorter = True
    assert b"".join(run(on("aot", pack_pages), view, range(8), 100 * PAGE)) == content[: 8 * PAGE]
    assert view.lost()


def test_a_read_behind_the_end_fails(noise: tuple[int, bytes]) -> None:
    """A short read is no page."""
    fd, content = noise
    view, source = View(4 * PAGE), Pieces([(fd, 0, COUNT * PAGE)])
    assert view.show(source, source.spans(), mapped=False)
    os.truncate(fd, 10 * PAGE + 100)
    found = run(on("aot", pack_pages), view, range(COUNT), 100 * PAGE)
    assert b"".join(found) == content[: len(found) * PAGE]
    assert len(found) <= 10


def test_mapped_pages_that_vanish_are_lost(noise: tuple[int, bytes]) -> None:
    """The loop completes, in whichever window they are, and the view reports it."""
    fd, _ = noise
    for left in (0, 5, 63):
        os.truncate(fd, COUNT * PAGE)
        view, source = View(4 * PAGE), Pieces([(fd, 0, COUNT * PAGE)])
        assert view.show(source, source.spans(), mapped=True)
        os.truncate(fd, left * PAGE)
        assert len(run(on("aot", pack_pages), view, range(COUNT), 100 * PAGE)) == COUNT
        assert view.lost()
        assert not view.lost()


@pytest.mark.parametrize("mapped", [True, False])
def test_holes_of_a_shorter_file_are_lost(mapped: bool) -> None:
    """They may lie behind its new end."""
    view, source = View(4 * PAGE), Pieces([(-1, 0, 4 * PAGE)])
    assert view.show(source, source.spans(), mapped=mapped)
    assert run(on("aot", pack_pages), view, range(4), 100 * PAGE) == [bytes(PAGE)] * 4
    assert not view.lost()
    source.shorter = True
    assert view.lost()


def test_a_source_without_plain_files_is_not_viewed() -> None:
    class Packed(Pieces):
        def file_pieces(self, *_: int) -> list[Piece] | None:
            return None

    assert not View(PAGE).show(Packed([]), [(0, PAGE)], mapped=True)
