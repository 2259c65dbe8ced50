"""Random reads of compressed files: vmsieve's own and those of other programs."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import frame_files as made
from tests.build.elf_core import core
from tests.build.flattened_file import cut, flattened
from tests.build.kdump_file import kdump
from tests.build.memory_file import MemoryFile, read, source
from tests.formats.frames.frame_kit import CONTENT, LONG, close_all, frame_of, of_kind, opened, whole
from vmsieve.formats.errors import TruncatedError, UnsupportedError
from vmsieve.formats.frames._index import FramedFile, Index
from vmsieve.formats.inputs import open_file

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("temporary")


@pytest.mark.parametrize("kind", sorted(made.SEEKABLE))
def test_files_with_an_index_are_read_in_place(kind: str, temporary: Path) -> None:
    """Content with an index is read in place, byte for byte, without remarks or an unpacked file."""
    file, remarks, torn = opened(made.SEEKABLE[kind](CONTENT))
    assert isinstance(file, FramedFile)
    assert whole(file) == CONTENT
    assert (remarks, torn) == ([], False)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("kind", sorted(made.SEQUENTIAL))
def test_files_without_an_index_are_unpacked_once(kind: str, temporary: Path) -> None:
    """Content without one is unpacked once, byte for byte, with a remark on folder and size; no name is left there."""
    file, remarks, torn = opened(made.SEQUENTIAL[kind](CONTENT))
    assert not isinstance(file, FramedFile)
    assert whole(file) == CONTENT
    (said,) = remarks
    assert "has no random access" in said
    assert str(temporary) in said
    assert str(len(CONTENT)) in said
    assert not torn
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("size", [4, 5, 6, 7])
@pytest.mark.parametrize("checksums", [False, True])
def test_lz4_blocks_of_all_sizes_are_read_where_they_are(size: int, checksums: bool) -> None:
    """64 KiB, 256 KiB, 1 MiB and 4 MiB."""
    content = LONG * 5
    file, remarks, _ = opened(made.lz4_one(content, size=size, checksums=checksums))
    assert isinstance(file, FramedFile)
    assert whole(file) == content
    assert not remarks


SPANS = st.lists(st.tuples(st.integers(0, 210_000), st.integers(0, 30_000)), min_size=1, max_size=20)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(made.EVERY)), SPANS)
def test_any_span_is_what_it_is_in_the_content(kind: str, spans: list[tuple[int, int]]) -> None:
    """Reads across pieces and past the end, in any order; the buffer beyond the end is untouched."""
    file, _, _ = opened(of_kind(kind))
    for offset, size in spans:
        out = bytearray(b"\xa5" * size)
        got = file.read_into(offset, memoryview(out))
        assert got == max(0, min(size, len(CONTENT) - offset))
        assert out == CONTENT[offset : offset + got] + b"\xa5" * (size - got)
    close_all()


def test_many_threads_unpack_each_piece_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second thread waits for the first; all get the right bytes."""
    data = of_kind("zstd-table")
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


def test_a_missing_dictionary_is_reported() -> None:
    """A frame with a dictionary can't be unpacked without it."""
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
    """Only ISA-L has a substitute, zlib; the error names the other packages."""
    data = of_kind({"zstandard": "zstd-window", "lz4": "lz4-rows", "isal": "gzip-rows"}[name])
    for module in (name, f"{name}.frame", f"{name}.isal_zlib"):
        monkeypatch.setitem(sys.modules, module, None)
    if name == "isal":
        assert whole(opened(data)[0]) == CONTENT
        return
    with pytest.raises(UnsupportedError, match=f"Python package {name}.*pip install {name}"):
        whole(opened(data)[0])


@pytest.mark.parametrize("kind", sorted(made.EVERY))
def test_dumps_within_are_found(kind: str) -> None:
    """An ELF core, a kdump file and a flattened file in each frame; closing the dump closes the file once."""
    recipe = "@0x1000 fill 01020304 x30"
    for inner in (core(recipe), kdump(recipe), flattened(cut(kdump(recipe), 5000))):
        file = MemoryFile(made.EVERY[kind](inner))
        dump = open_file(file)
        assert read(dump, 0x3008, 4) == b"\1\2\3\4"
        assert not dump.incomplete
        assert str(dump.header["within"]).startswith("compressed frame")
        dump.close()
        assert file.closed == 1


def test_an_empty_file_is_no_frame() -> None:
    """A file of a few bytes is not a frame either."""
    for data in (b"", b"\x28", b"\x1f\x8b"):
        with pytest.raises((TruncatedError, UnsupportedError)):
            source(data)
