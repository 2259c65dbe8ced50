"""Flattened files: pieces in any order, torn streams, and the dumps within."""

from __future__ import annotations

import io
import struct
from typing import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.elf_core import core
from tests.build.flattened_file import END, cut, flattened, header
from tests.build.kdump_file import kdump
from tests.build.memory_file import MemoryFile, read, source
from tests.build.notes import prstatus
from vmsieve.formats.errors import FormatError, TruncatedError, UnsupportedError
from vmsieve.formats.inputs import open_file
from vmsieve.formats.inputs.flattened import FlattenedFile, rebuild

DATA = bytes(range(256)) * 40


def whole(file: FlattenedFile) -> bytes:
    out = bytearray(file.size)
    assert file.read_into(0, memoryview(out)) == file.size
    return bytes(out)


def rebuilt(stream: bytes, step: int = 1000) -> tuple[bytes, bool]:
    """A stream rebuilt from reads of no more than ``step`` bytes."""
    out = bytearray()
    pipe = io.BytesIO(stream)

    def put(offset: int, data: bytes) -> None:
        out.extend(bytes(max(0, offset + len(data) - len(out))))
        out[offset : offset + len(data)] = data

    complete = rebuild(lambda size: pipe.read(min(size, step)), put)
    return bytes(out), complete


@pytest.mark.parametrize("size", [1, 100, 4096, 10_240])
def test_pieces_in_any_order_give_the_file(size: int) -> None:
    """Shuffled pieces, read in both ways."""
    stream = flattened(cut(DATA, size))
    file = FlattenedFile(MemoryFile(stream))
    assert whole(file) == DATA
    assert not file.torn
    assert not file.remarks
    assert rebuilt(stream) == (DATA, True)


PIECES = st.lists(st.tuples(st.integers(0, 300), st.binary(min_size=1, max_size=60)), min_size=1, max_size=12)


@settings(deadline=None)
@given(PIECES, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 100)), max_size=5))
def test_any_pieces_against_a_file_written_piece_by_piece(
    pieces: list[tuple[int, bytes]], spans: list[tuple[int, int]]
) -> None:
    """Later pieces replace earlier ones, and holes read as zeros, wherever a read begins and ends."""
    expected = bytearray(max(offset + len(data) for offset, data in pieces))
    for offset, data in pieces:
        expected[offset : offset + len(data)] = data
    file = FlattenedFile(MemoryFile(flattened(pieces)))
    assert file.size == len(expected)
    assert whole(file) == expected
    for start, size in spans:
        out = bytearray(size)
        got = file.read_into(start, memoryview(out))
        assert out[:got] == expected[start : start + size]
    assert rebuilt(flattened(pieces), 7) == (bytes(expected), True)


def test_bytes_written_twice_have_a_remark() -> None:
    """Other tools misread such files."""
    file = FlattenedFile(MemoryFile(flattened([(0, b"aaaaaa"), (2, b"bb")])))
    assert whole(file) == b"aabbaa"
    assert file.remarks == ["2 bytes were written more than once; the last ones hold"]


@given(st.integers(4096, 4096 + 3 * 116 + 15))
def test_pieces_of_a_torn_stream_are_read(size: int) -> None:
    """Cut at any byte: whole pieces, and the first part of the last one."""
    pieces = [(0, b"a" * 100), (200, b"b" * 100), (100, b"c" * 100)]
    stream = flattened(pieces)[:size]
    expected = bytearray()
    at = 4096
    for offset, data in pieces:
        part = data[: max(0, size - at - 16)]
        if part:
            expected.extend(bytes(max(0, offset + len(part) - len(expected))))
            expected[offset : offset + len(part)] = part
        at += 116
    assert rebuilt(stream) == (bytes(expected), False)
    if not expected:
        with pytest.raises(TruncatedError, match="holds nothing"):
            FlattenedFile(MemoryFile(stream))
        return
    file = FlattenedFile(MemoryFile(stream))
    assert whole(file) == expected
    assert file.torn
    assert len(file.remarks) == 1
    assert "torn" in file.remarks[0]


@pytest.mark.parametrize(
    "after", [struct.pack(">qq", -1, 5), struct.pack(">qq", 5, -1), struct.pack(">qq", 1 << 62, 1 << 62), bytes(16)]
)
def test_headers_that_make_no_sense_end_the_stream(after: bytes) -> None:
    """Old data after a torn stream on a raw partition, or blank storage."""
    stream = flattened([(0, b"good")], after + b"x" * 100 + END)
    file = FlattenedFile(MemoryFile(stream))
    assert whole(file) == b"good"
    assert file.torn
    assert file.remarks == ["the flattened file is damaged at 0x1014: the rest is ignored"]
    assert rebuilt(stream) == (b"good", False)


def test_empty_pieces_and_bytes_behind_the_end_mark_are_ignored() -> None:
    """On a raw partition old data follow the stream."""
    stream = flattened([(0, b"good"), (9, b""), (4, b"!")]) + b"rubbish"
    file = FlattenedFile(MemoryFile(stream))
    assert (whole(file), file.torn, file.remarks) == (b"good!", False, [])
    assert rebuilt(stream) == (b"good!", True)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (header()[:4000], TruncatedError, "early"),
        (header(), TruncatedError, "nothing"),
        (header(2) + END, UnsupportedError, "another type"),
        (header(1, 2) + END, UnsupportedError, "another type"),
        (flattened([]), TruncatedError, "nothing"),
        (b"x" * 5000, FormatError, "not a flattened"),
    ],
)
def test_unusable_streams_give_the_reason(data: bytes, error: type[FormatError], words: str) -> None:
    """Unusable streams give typed errors."""
    with pytest.raises(error, match=words):
        FlattenedFile(MemoryFile(data))


def test_an_invalid_stream_is_refused_before_anything_is_put() -> None:
    """Also a stream that ends within its header."""
    for data in (b"\x7fELF" + bytes(5000), header()[:100], header(9)):
        with pytest.raises(FormatError):
            rebuild(io.BytesIO(data).read, lambda *_: pytest.fail("something was put"))


def test_rebuilding_holds_little() -> None:
    """A piece of any size is written 1 MiB at a time."""
    sizes: list[int] = []
    stream = flattened([(0, bytes(5 << 20))])
    assert rebuild(io.BytesIO(stream).read, lambda *piece: sizes.append(len(piece[1])))
    assert max(sizes) == 1 << 20


@pytest.mark.parametrize("make", [kdump, core])
def test_dumps_within_are_found(make: Callable[[str], bytes]) -> None:
    """The content selects the inner format; closing the dump closes the outer file once."""
    inner = make("@0x1000 fill 01020304 x30")
    file = MemoryFile(flattened(cut(inner, 500)))
    opened = open_file(file)
    assert read(opened, 0x3008, 4) == b"\1\2\3\4"
    assert not opened.incomplete
    assert file.closed == 0
    opened.close()
    assert file.closed == 1


def test_a_torn_dump_is_incomplete() -> None:
    """Remarks on the stream precede those on the dump."""
    inner = kdump("@0x1000 noise 1 x30", notes=prstatus(1, b"r" * 216))
    stream = flattened([(at, inner[at : at + 4096]) for at in range(0, len(inner), 4096)])
    opened = source(stream[:-30_000])
    assert opened.incomplete
    assert opened.remarks[0].startswith("the flattened file is torn")
    assert opened.remarks[1].startswith("the file is cut off")
    assert read(opened, 0x1000, 8)


def test_containers_within_each_other_are_bounded() -> None:
    """Three levels are unwrapped, an endless chain is refused; all files are closed."""
    data = core("@0x1000 fill 01020304")
    for _ in range(3):
        data = flattened([(0, data)])
    assert read(source(data), 0x1000, 4) == b"\1\2\3\4"
    file = MemoryFile(flattened([(0, data)]))
    with pytest.raises(FormatError, match="too many containers"):
        open_file(file)
    assert file.closed == 1
