"""Truncated, damaged and inconsistent compressed files: readable content is used, the rest is reported."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.build import frame_files as made
from tests.build.elf_core import core
from tests.build.flattened_file import cut, flattened
from tests.build.memory_file import MemoryFile, read, source
from tests.formats.frames.frame_kit import CONTENT, LONG, close_all, frame_of, of_kind, opened, whole
from vmsieve.formats.errors import FormatError, ReadError
from vmsieve.formats.frames import PIECE_LIMIT, STEP
from vmsieve.formats.frames._index import FramedFile, Index

pytestmark = pytest.mark.usefixtures("temporary")


@pytest.mark.parametrize("kind", sorted(made.EVERY))
def test_a_truncated_file_gives_its_first_part(kind: str) -> None:
    """A truncated file gives the first part of the content, marked torn, which grows with the file."""
    data = of_kind(kind)
    before = 0
    for size in sorted({*range(1, 100, 7), *range(100, len(data), max(1, len(data) // 60)), len(data) - 1}):
        try:
            file, remarks, torn = opened(data[:size])
        except FormatError:
            assert before == 0
            continue
        content = whole(file)
        close_all()
        assert content == CONTENT[: len(content)]
        assert before <= len(content)
        before = len(content)
        # Cut at the end of a member, gzip and lz4 files look whole: the content shows that it is torn.
        assert torn == any("missing" in remark for remark in remarks)
        assert torn or content == CONTENT or kind.startswith(("gzip", "lz4")) or "rows" in kind or "table" in kind
    assert before > len(CONTENT) // 2


@pytest.mark.parametrize("kind", ["zstd-table", "zstd-small", "gzip-rows", "zstd-window", "gzip-one"])
def test_the_last_piece_is_salvaged_as_far_as_it_goes(kind: str) -> None:
    """The first part of the last piece is unpacked, although its end is missing."""
    kind_of = {
        "zstd-table": lambda c: made.zstd_seekable(c, 1 << 20),
        "gzip-rows": lambda c: b"".join(map(made.gzip_member, made.blocks(c, 1 << 20))),
    }
    data = kind_of.get(kind, made.EVERY[kind])(LONG)
    file, remarks, torn = opened(data[: -len(data) // 5])
    assert torn
    assert "cut off" in remarks[-1]
    content = whole(file)
    assert content == LONG[: len(content)]
    assert len(content) > 1_100_000
    assert len(content) % (1 << 20)


@pytest.mark.parametrize("kind", ["zstd-table", "zstd-rows", "lz4-rows", "lz4-blocks", "gzip-rows"])
def test_a_damaged_piece_fails_alone(kind: str) -> None:
    """Reads of the damaged piece raise ReadError with the first unreadable byte; all others are right."""
    data = bytearray(of_kind(kind))
    index = Index(frame_of(bytes(data)), MemoryFile(bytes(data)))
    number = len(index.sizes) // 2
    place = index.places[number] + index.sizes[number] // 2
    data[place : place + 16] = bytes(b ^ 0x55 for b in data[place : place + 16])
    file, _, _ = opened(bytes(data))
    if file.size < len(CONTENT):
        # Its content size is found only by unpacking.
        assert file.size == index.starts[number]
        assert whole(file) == CONTENT[: file.size]
        return
    start, stop = index.starts[number], index.starts[number + 1]
    out = bytearray(len(CONTENT))
    assert file.read_into(0, memoryview(out)[:start]) == start
    file.read_into(stop, memoryview(out)[stop:])
    assert out[:start] == CONTENT[:start]
    assert out[stop:] == CONTENT[stop:]
    for at, size in ((start - 10, 20), (start, 1), (stop - 1, 5), (0, len(CONTENT))):
        with pytest.raises(ReadError) as caught:
            file.read_into(at, memoryview(out)[:size])
        assert caught.value.offset == max(at, start)
        assert caught.value.file == "made up"


def test_damage_that_unpacks_is_seen_by_the_checksum() -> None:
    """One flipped bit of an uncompressed block: only the checksum detects it."""
    noise = os.urandom(2000)
    for data in (made.zstd_seekable(noise), made.lz4_rows(noise), made.gzip_rows(noise), made.lz4_one(noise * 40)):
        damaged = bytearray(data)
        damaged[500] ^= 1
        file, _, _ = opened(bytes(damaged))
        with pytest.raises(ReadError, match="damaged"):
            whole(file)


@pytest.mark.parametrize("kind", ["zstd-window", "gzip-one", "lz4-linked"])
def test_damage_in_an_unpacked_file_ends_it(kind: str) -> None:
    """Content before the damage is kept; the file is torn, and the offset is reported."""
    data = bytearray(made.EVERY[kind](LONG))
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    file, remarks, torn = opened(bytes(data))
    assert torn
    assert "damaged" in remarks[1]
    assert " at 0x" in remarks[1]
    got = whole(file)
    assert 0 < len(got) < len(LONG)
    assert got[: len(got) // 2] == LONG[: len(got) // 2]


def test_a_wrong_checksum_at_the_end_is_reported() -> None:
    """All content is present and possibly wrong."""
    for data in (made.gzip_named(LONG), made.zstd_frame(LONG, sized=False, window=24)):
        damaged = bytearray(data)
        damaged[-5 if data[0] == 0x1F else -1] ^= 1
        file, remarks, torn = opened(bytes(damaged))
        assert torn
        assert "hecksum" in remarks[1] or "check" in remarks[1]
        assert file.size >= len(LONG) - STEP


def test_garbage_after_the_last_piece_is_reported() -> None:
    """Everything before is used, except a last piece that is unpacked together with it."""
    for kind in ("zstd-rows", "lz4-rows", "gzip-rows", "zstd-window", "gzip-one", "lz4-linked"):
        file, remarks, torn = opened(made.EVERY[kind](LONG) + b"rubbish, and more than a header takes " * 9)
        assert torn
        content = whole(file)
        assert content == LONG[: len(content)]
        assert len(content) == len(LONG) or (kind in made.SEQUENTIAL and len(content) >= len(LONG) - STEP)
        assert "missing" in remarks[-1]


@pytest.mark.parametrize("lies", ["packed", "content", "count", "magic", "reserved", "large", "zero", "frame"])
def test_an_invalid_seek_table_is_ignored(lies: str) -> None:
    """An invalid seek table is ignored: the frames are walked, and the content is right."""
    packed = [made.zstd_frame(block) for block in made.blocks(CONTENT)]
    entries = [(len(one), len(block)) for one, block in zip(packed, made.blocks(CONTENT))]
    if lies == "packed":
        entries[3] = entries[3][0] + 1, entries[3][1]
    elif lies == "content":
        entries[3] = entries[3][0], entries[3][1] - 1
    elif lies == "large":
        entries = [(a, PIECE_LIMIT + 1) for a, _ in entries]
    elif lies == "zero":
        entries[-1] = entries[-1][0], 0
    table = bytearray(made.seek_table(entries, reserved=4 if lies == "reserved" else 0))
    if lies in ("count", "magic", "frame"):
        table[{"count": -9, "magic": -1, "frame": 4}[lies]] ^= 1
    file, remarks, torn = opened(b"".join(packed) + bytes(table))
    assert whole(file) == CONTENT
    assert torn == bool(remarks) == (lies == "frame")  # only then is the size of a frame wrong


def test_sizes_that_are_lies_are_damage() -> None:
    """A content size that differs from the header's: a ReadError for the piece, never bytes of another place."""
    frames = [made.zstd_frame(b"a" * 3000), made.zstd_frame(b"b" * 2999), made.zstd_frame(b"c" * 3001)]
    lying = b"".join(frames) + made.seek_table([(len(f), 3000) for f in frames])
    members = [made.gzip_member(b"a" * 3000), made.gzip_member(b"b" * 2999, sized=3000)]
    for data in (lying, b"".join(members) + made.gzip_member(b"c" * 3001, sized=3000)):
        file, _, _ = opened(data)
        assert file.size == 9000
        out = memoryview(bytearray(3000))
        file.read_into(0, out)
        assert bytes(out) == b"a" * 3000
        with pytest.raises(ReadError):
            file.read_into(3000, out)
    with pytest.raises(ReadError):
        opened(lying)[0].read_into(6000, memoryview(bytearray(3000)))


@pytest.mark.parametrize(
    "data",
    [
        made.seek_table([]),
        made.zstd_frame(b""),
        made.zstd_frame(b"abc")[:5],
        made.lz4_one(b""),
        made.lz4_one(CONTENT)[:7],
        b"\x1f\x8b\x08",
        made.gzip_member(CONTENT)[:20],
        b"\x04\x22\x4d\x18\x00\x00\x00\x00\x00",
    ],
)  # fmt: skip
def test_files_without_content_are_refused(data: bytes) -> None:
    """A file without content gives a one-line error."""
    with pytest.raises(FormatError):
        source(data)


@pytest.mark.parametrize("make", [core, lambda r: flattened(cut(core(r), 30_000))])
def test_damage_is_reported_by_physical_address(make: Any) -> None:
    """Damage is reported by physical address through frame and flattened file; neighbouring pages are read."""
    recipe = "@0x1000 noise 1 x400"
    packed = made.gzip_rows(make(recipe))
    index = Index(frame_of(packed), MemoryFile(packed))
    number = len(index.sizes) // 2
    data = bytearray(packed)
    data[index.places[number] + 200] ^= 0xFF
    dump, good = source(bytes(data)), source(make(recipe))
    bad: list[int] = []
    for page in range(0x1000, 0x191000, 0x1000):
        try:
            assert read(dump, page, 4096) == read(good, page, 4096)
        except ReadError as error:
            bad.append((error.offset or 0) // 4096 * 4096 - page)
    assert 1 <= len(bad) <= 3
    assert set(bad) == {0}


def test_a_torn_frame_makes_a_dump_incomplete() -> None:
    """Also if it ends between two pieces, as the inner dump is shorter than its headers say."""
    inner = core("@0x1000 noise 1 x60")
    for packed in (made.zstd_seekable(inner), made.gzip_rows(inner), made.lz4_rows(inner)):
        index = Index(frame_of(packed), MemoryFile(packed))
        for size in (index.places[40], index.places[40] + 100):
            dump = source(packed[:size])
            assert dump.incomplete
            assert read(dump, 0x1000, 4096)
            assert any("cut off" in remark for remark in dump.remarks)


def test_a_file_that_gets_shorter_is_an_error() -> None:
    """A file that shrinks gives an error, never a wrong page."""
    file = MemoryFile(of_kind("gzip-rows"))
    frame = frame_of(file.data)
    framed = FramedFile(file, frame, Index(frame, file))
    file.data, file.size = file.data[:1000], 1000
    with pytest.raises(ReadError, match="shorter"):
        framed.read_into(100_000, memoryview(bytearray(10)))


def test_a_medium_that_fails_is_an_error_of_that_range() -> None:
    """The error has the offset within the content."""

    class Failing(MemoryFile):
        broken = False

        def read_into(self, offset: int, out: memoryview) -> int:
            if self.broken:
                raise ReadError("the disk is broken", offset=offset)
            return super().read_into(offset, out)

    file = Failing(of_kind("lz4-rows"))
    frame = frame_of(file.data)
    framed = FramedFile(file, frame, Index(frame, file))
    file.broken = True
    with pytest.raises(ReadError, match="broken") as caught:
        framed.read_into(100_000, memoryview(bytearray(10)))
    assert caught.value.offset == 100_000
