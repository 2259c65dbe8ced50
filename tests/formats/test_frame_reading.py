"""Compressed files read at random: vmsieve's own and those of other programs, whole, cut off and damaged."""

from __future__ import annotations

import os
import sys
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import frame_files as made
from tests.build.elf_core import core
from tests.build.flattened_file import cut, flattened
from tests.build.kdump_file import kdump
from tests.build.memory_file import MemoryFile, read, source
from tests.formats.frame_kit import close_all, frame_of, opened, text, whole
from vmsieve.formats.errors import FormatError, ReadError, TruncatedError, UnsupportedError
from vmsieve.formats.frames import PIECE_LIMIT, STEP, NotSeekableError
from vmsieve.formats.frames._index import FramedFile, Index
from vmsieve.formats.inputs import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = text(200_000)
LONG = text(2_000_000)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Files are unpacked here, and nothing may be left of them."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    close_all()


@pytest.mark.parametrize("kind", sorted(made.SEEKABLE))
def test_what_tells_its_pieces_is_read_where_it_is(kind: str, temporary: Path) -> None:
    """Byte for byte; nothing is odd about it, and nothing is unpacked into a file."""
    file, oddities, torn = opened(made.SEEKABLE[kind](CONTENT))
    assert isinstance(file, FramedFile)
    assert whole(file) == CONTENT
    assert (oddities, torn) == ([], False)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("kind", sorted(made.SEQUENTIAL))
def test_what_does_not_is_unpacked_once(kind: str, temporary: Path) -> None:
    """Byte for byte; that is said, with the folder and the size; no name is left in the folder."""
    file, oddities, torn = opened(made.SEQUENTIAL[kind](CONTENT))
    assert not isinstance(file, FramedFile)
    assert whole(file) == CONTENT
    (said,) = oddities
    assert "can't be read at random" in said
    assert str(temporary) in said
    assert str(len(CONTENT)) in said
    assert not torn
    assert not list(temporary.iterdir())


SPANS = st.lists(st.tuples(st.integers(0, 210_000), st.integers(0, 30_000)), min_size=1, max_size=20)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(made.EVERY)), SPANS)
def test_any_span_is_what_it_is_in_the_content(kind: str, spans: list[tuple[int, int]]) -> None:
    """Across pieces and past the end, in any order; bytes behind the end are not touched."""
    file, _, _ = opened(_made(kind))
    for offset, size in spans:
        out = bytearray(b"\xa5" * size)
        got = file.read_into(offset, memoryview(out))
        assert got == max(0, min(size, len(CONTENT) - offset))
        assert out == CONTENT[offset : offset + got] + b"\xa5" * (size - got)
    close_all()


_FILES: dict[str, bytes] = {}


def _made(kind: str) -> bytes:
    if kind not in _FILES:
        _FILES[kind] = made.EVERY[kind](CONTENT)
    return _FILES[kind]


@pytest.mark.parametrize("kind", sorted(made.EVERY))
def test_a_file_that_is_cut_off_gives_what_is_there(kind: str) -> None:
    """Cut at many places: a beginning of the content, called torn, which grows with the file."""
    data = _made(kind)
    before = 0
    for size in sorted({*range(1, 100, 7), *range(100, len(data), max(1, len(data) // 60)), len(data) - 1}):
        try:
            file, oddities, torn = opened(data[:size])
        except FormatError:
            assert before == 0
            continue
        content = whole(file)
        close_all()
        assert content == CONTENT[: len(content)]
        assert before <= len(content)
        before = len(content)
        # Cut at the end of a member, gzip's and lz4's files look whole: what is within says that it is torn.
        assert torn == any("missing" in oddity for oddity in oddities)
        assert torn or content == CONTENT or kind.startswith(("gzip", "lz4")) or "rows" in kind or "table" in kind
    assert before > len(CONTENT) // 2


@pytest.mark.parametrize("kind", ["zstd-table", "zstd-small", "gzip-rows", "zstd-window", "gzip-one"])
def test_the_last_piece_is_salvaged_as_far_as_it_goes(kind: str) -> None:
    """Its first part can be unpacked, although its end is missing."""
    kind_of = {
        "zstd-table": lambda c: made.zstd_seekable(c, 1 << 20),
        "gzip-rows": lambda c: b"".join(map(made.gzip_member, made.blocks(c, 1 << 20))),
    }
    data = kind_of.get(kind, made.EVERY[kind])(LONG)
    file, oddities, torn = opened(data[: -len(data) // 5])
    assert torn
    assert "cut off" in oddities[-1]
    content = whole(file)
    assert content == LONG[: len(content)]
    assert len(content) > 1_100_000
    assert len(content) % (1 << 20)


@pytest.mark.parametrize("kind", ["zstd-table", "zstd-rows", "lz4-rows", "lz4-blocks", "gzip-rows"])
def test_a_damaged_piece_fails_alone(kind: str) -> None:
    """Reads that need it raise ReadError with the first byte that can't be had; all else is right."""
    data = bytearray(_made(kind))
    index = Index(frame_of(bytes(data)), MemoryFile(bytes(data)))
    number = len(index.sizes) // 2
    place = index.places[number] + index.sizes[number] // 2
    data[place : place + 16] = bytes(b ^ 0x55 for b in data[place : place + 16])
    file, _, _ = opened(bytes(data))
    if file.size < len(CONTENT):
        # Its size was only told by what it unpacks to.
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
    """A single bit of noise that is stored as it is: only the checksum can tell."""
    noise = os.urandom(2000)
    for data in (made.zstd_seekable(noise), made.lz4_rows(noise), made.gzip_rows(noise), made.lz4_one(noise * 40)):
        damaged = bytearray(data)
        damaged[500] ^= 1
        file, _, _ = opened(bytes(damaged))
        with pytest.raises(ReadError, match="damaged"):
            whole(file)


@pytest.mark.parametrize("kind", ["zstd-window", "gzip-one", "lz4-linked"])
def test_damage_in_an_unpacked_file_ends_it(kind: str) -> None:
    """What came before is kept; the file is torn, and the place is said."""
    data = bytearray(made.EVERY[kind](LONG))
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    file, oddities, torn = opened(bytes(data))
    assert torn
    assert "damaged" in oddities[1]
    assert " at 0x" in oddities[1]
    got = whole(file)
    assert 0 < len(got) < len(LONG)
    assert got[: len(got) // 2] == LONG[: len(got) // 2]


def test_a_wrong_checksum_at_the_end_is_told() -> None:
    """All content is there, and may be wrong."""
    for data in (made.gzip_named(LONG), made.zstd_frame(LONG, told=False, window=24)):
        damaged = bytearray(data)
        damaged[-5 if data[0] == 0x1F else -1] ^= 1
        file, oddities, torn = opened(bytes(damaged))
        assert torn
        assert "hecksum" in oddities[1] or "check" in oddities[1]
        assert file.size >= len(LONG) - STEP


def test_rubbish_behind_the_last_piece_is_told() -> None:
    """All that comes before is used, but for a last portion that is unpacked together with it."""
    for kind in ("zstd-rows", "lz4-rows", "gzip-rows", "zstd-window", "gzip-one", "lz4-linked"):
        file, oddities, torn = opened(made.EVERY[kind](LONG) + b"rubbish, and more than a header takes " * 9)
        assert torn
        content = whole(file)
        assert content == LONG[: len(content)]
        assert len(content) == len(LONG) or (kind in made.SEQUENTIAL and len(content) >= len(LONG) - STEP)
        assert "missing" in oddities[-1]


@pytest.mark.parametrize("lies", ["packed", "content", "count", "magic", "reserved", "large", "zero", "frame"])
def test_a_seek_table_that_can_not_be_is_not_believed(lies: str) -> None:
    """The frames are walked instead, and the content is right."""
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
    file, oddities, torn = opened(b"".join(packed) + bytes(table))
    assert whole(file) == CONTENT
    assert torn == bool(oddities) == (lies == "frame")  # only then is the size of a frame wrong


def test_sizes_that_are_lies_are_damage() -> None:
    """More or less content than was told: a ReadError for the piece, never bytes of another place."""
    frames = [made.zstd_frame(b"a" * 3000), made.zstd_frame(b"b" * 2999), made.zstd_frame(b"c" * 3001)]
    lying = b"".join(frames) + made.seek_table([(len(f), 3000) for f in frames])
    members = [made.gzip_member(b"a" * 3000), made.gzip_member(b"b" * 2999, told=3000)]
    for data in (lying, b"".join(members) + made.gzip_member(b"c" * 3001, told=3000)):
        file, _, _ = opened(data)
        assert file.size == 9000
        out = memoryview(bytearray(3000))
        file.read_into(0, out)
        assert bytes(out) == b"a" * 3000
        with pytest.raises(ReadError):
            file.read_into(3000, out)
    with pytest.raises(ReadError):
        opened(lying)[0].read_into(6000, memoryview(bytearray(3000)))


def test_many_threads_unpack_each_piece_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second waits for the first; all get the right bytes."""
    data = _made("zstd-table")
    frame = frame_of(data)
    counts: dict[bytes, int] = {}
    guard = threading.Lock()

    def unpack(packed: bytes, room: int) -> Any:
        with guard:
            counts[packed] = counts.get(packed, 0) + 1
        return frame.unpack(packed, room)

    counting = type(frame)(**{**vars(frame), "unpack": unpack})
    outer = MemoryFile(data)
    file = FramedFile(outer, counting, Index(counting, outer))
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(whole(file))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT] * 6
    assert sum(counts.values()) == len(made.blocks(CONTENT))


def test_what_is_kept_of_the_content_is_bounded() -> None:
    """64 MiB in pieces of 1 MiB: the last 16 MiB are kept."""
    content = bytes(64 << 20)
    file, _, _ = opened(made.zstd_seekable(content, 1 << 20))
    tracemalloc.start()
    out = memoryview(bytearray(1 << 20))
    for at in range(0, file.size, 1 << 20):
        file.read_into(at, out)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 19 << 20
    assert peak < 21 << 20


def bomb(size: int, *, told: bool = False) -> bytes:
    """A zstd frame of ``size`` zeros in blocks that say: so many zeros."""
    header = b"\x28\xb5\x2f\xfd" + (b"\xc0\x40" + size.to_bytes(8, "little") if told else b"\x00\x40")
    block = ((131072 << 3) | 2).to_bytes(3, "little") + b"\0"
    return (
        header + block * (size // 131072 - 1) + (int.from_bytes(block[:3], "little") | 1).to_bytes(3, "little") + b"\0"
    )


@pytest.mark.parametrize("told", [False, True])
def test_a_bomb_is_refused_after_a_look_at_its_start(told: bool) -> None:
    """A terabyte of zeros in 32 MB is no dump; finding that out takes neither memory nor room."""
    data = bomb(1 << 40, told=told)
    tracemalloc.start()
    with pytest.raises(UnsupportedError, match="no dump of a known format"):
        open_file(MemoryFile(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_zeros_of_an_unpacked_file_take_no_room(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte of them, behind something that looks like a dump."""
    files: list[int] = []
    real = os.ftruncate

    def truncate(fd: int, size: int) -> None:
        files.append(os.fstat(fd).st_blocks)
        real(fd, size)

    monkeypatch.setattr(os, "ftruncate", truncate)
    data = made.zstd_frame(b"something", told=False, window=24) + bomb(1 << 30)
    file, _, _ = opened(data)
    assert file.size == 9 + (1 << 30)
    assert files[0] * 512 < 1 << 20
    out = bytearray(10)
    file.read_into(0, memoryview(out))
    assert out == b"something\0"


def test_a_bomb_of_content_does_not_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for others is left; the error says which folder is too small and what to do."""
    real = os.statvfs

    class Full:
        f_bavail, f_frsize = 1000, 4096

    monkeypatch.setattr(os, "statvfs", lambda path: (real(path), Full)[1])
    with pytest.raises(FormatError, match=r"can't be unpacked into .*temporary: no room .*set TMPDIR"):
        opened(made.gzip_named(CONTENT))


def test_a_folder_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one that TMPDIR names."""
    monkeypatch.setenv("TMPDIR", "/nowhere")
    with pytest.raises(FormatError, match="unpacked into /nowhere: No such file"):
        opened(made.gzip_named(CONTENT))


def test_without_a_folder_named_large_files_do_not_go_to_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    """/tmp is memory on many systems."""
    monkeypatch.delenv("TMPDIR")
    _, oddities, _ = opened(made.gzip_named(CONTENT))
    assert "unpacked into /var/tmp " in oddities[0]


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
    """One line that says so."""
    with pytest.raises(FormatError):
        source(data)


def test_a_dictionary_that_nobody_has_is_said() -> None:
    """No frame can be unpacked without it."""
    import zstandard

    words = zstandard.train_dictionary(2048, [os.urandom(40) * 3 for _ in range(400)])
    packed = zstandard.ZstdCompressor(dict_data=words).compress(CONTENT)
    with pytest.raises(UnsupportedError, match="dictionary"):
        opened(packed)
    frame = bytearray(made.lz4_one(CONTENT))
    frame[4] |= 1
    with pytest.raises(UnsupportedError, match="dictionary"):
        opened(bytes(frame))


@pytest.mark.parametrize("name", ["zstandard", "lz4", "isal"])
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ISA-L is replaced by zlib; the others are asked for."""
    data = _made({"zstandard": "zstd-window", "lz4": "lz4-rows", "isal": "gzip-rows"}[name])
    for module in (name, f"{name}.frame", f"{name}.isal_zlib"):
        monkeypatch.setitem(sys.modules, module, None)
    if name == "isal":
        assert whole(opened(data)[0]) == CONTENT
        return
    with pytest.raises(UnsupportedError, match=f"Python package {name}.*pip install {name}"):
        whole(opened(data)[0])


@pytest.mark.parametrize("kind", sorted(made.EVERY))
def test_dumps_within_are_found(kind: str) -> None:
    """An ELF core, a kdump file and a flattened one in any frame; closing the dump closes the file, once."""
    recipe = "@0x1000 fill 01020304 x30"
    for inner in (core(recipe), kdump(recipe), flattened(cut(kdump(recipe), 5000))):
        file = MemoryFile(made.EVERY[kind](inner))
        dump = open_file(file)
        assert read(dump, 0x3008, 4) == b"\1\2\3\4"
        assert not dump.incomplete
        assert str(dump.header["within"]).startswith("compressed frame")
        dump.close()
        assert file.closed == 1


@pytest.mark.parametrize("make", [core, lambda r: flattened(cut(core(r), 30_000))])
def test_damage_is_told_by_physical_address(make: Any) -> None:
    """Through the frame, and the flattened file within it; the pages beside it are there."""
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
    """Also where it ends between two pieces, for the dump within is shorter than it says."""
    inner = core("@0x1000 noise 1 x60")
    for packed in (made.zstd_seekable(inner), made.gzip_rows(inner), made.lz4_rows(inner)):
        index = Index(frame_of(packed), MemoryFile(packed))
        for size in (index.places[40], index.places[40] + 100):
            dump = source(packed[:size])
            assert dump.incomplete
            assert read(dump, 0x1000, 4096)
            assert any("cut off" in oddity for oddity in dump.oddities)


def test_pieces_too_large_to_be_kept_are_not_read_at_random() -> None:
    """Told or not, the limit holds."""
    large = bytes(PIECE_LIMIT + 1)
    for data in (made.zstd_frame(large), made.zstd_frame(large, told=False), bomb(PIECE_LIMIT * 2)):
        with pytest.raises(NotSeekableError):
            Index(frame_of(data), MemoryFile(data))
    fitting = made.zstd_frame(large[1:], told=False, window=20)
    assert Index(frame_of(fitting), MemoryFile(fitting)).starts[-1] == PIECE_LIMIT


def test_windows_that_take_too_much_memory_are_refused() -> None:
    """128 MiB, as for the zstd tool."""
    data = b"\x28\xb5\x2f\xfd\x00\x90" + bomb(1 << 24)[6:]  # a window of 256 MiB
    with pytest.raises(FormatError):
        source(data)


def test_a_file_that_gets_shorter_is_an_error() -> None:
    """Not a wrong page."""
    file = MemoryFile(_made("gzip-rows"))
    frame = frame_of(file.data)
    framed = FramedFile(file, frame, Index(frame, file))
    file.data, file.size = file.data[:1000], 1000
    with pytest.raises(ReadError, match="shorter"):
        framed.read_into(100_000, memoryview(bytearray(10)))


def test_a_medium_that_fails_is_an_error_of_that_range() -> None:
    """With a place within the content."""

    class Failing(MemoryFile):
        broken = False

        def read_into(self, offset: int, out: memoryview) -> int:
            if self.broken:
                raise ReadError("the disk is broken", offset=offset)
            return super().read_into(offset, out)

    file = Failing(_made("lz4-rows"))
    frame = frame_of(file.data)
    framed = FramedFile(file, frame, Index(frame, file))
    file.broken = True
    with pytest.raises(ReadError, match="broken") as caught:
        framed.read_into(100_000, memoryview(bytearray(10)))
    assert caught.value.offset == 100_000


def test_an_empty_file_is_no_frame() -> None:
    """Nor are a few bytes of one."""
    for data in (b"", b"\x28", b"\x1f\x8b"):
        with pytest.raises((TruncatedError, UnsupportedError)):
            source(data)
