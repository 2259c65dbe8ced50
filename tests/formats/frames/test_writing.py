"""Compressed files that vmsieve writes: checked against the formats' documents, tools and packages."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
import zlib
from array import array
from typing import TYPE_CHECKING, Any

import lz4.frame
import pytest
import zstandard

from tests.build.frame_files import blocks
from tests.build.memory_file import MemoryFile
from tests.build.tools import tool
from tests.formats.frames.frame_kit import text, whole
from vmsieve.formats.errors import UnsupportedError, UsageError
from vmsieve.formats.frames import Frame, frame, frames
from vmsieve.formats.frames._index import FramedFile, Index

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = frames()
each = pytest.mark.parametrize("one", FRAMES, ids=[one.name for one in FRAMES])
CONTENT = text(300_000)


def packed_blocks(one: Frame, content: bytes, size: int, level: int | None = None) -> list[bytes]:
    pack = one.packer(one.default_level if level is None else level)
    return [pack(bytearray(block)) for block in blocks(content, size)]


def written(one: Frame, content: bytes, size: int = 40_000, level: int | None = None) -> bytes:
    packed = packed_blocks(one, content, size, level)
    ending = one.ending(array("Q", map(len, packed)), array("Q", map(len, blocks(content, size))))
    return b"".join(packed) + ending


def unpacked(name: str, data: bytes) -> bytes:
    """The content as another implementation unpacks it."""
    if name == "gzip":
        return gzip.decompress(data)
    if name == "lz4":
        with lz4.frame.open(io.BytesIO(data)) as file:
            content: bytes = file.read()
            return content
    reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
    return b"".join(iter(lambda: reader.read(1 << 16), b""))


@each
@pytest.mark.parametrize("size", [1, 4095, 4096, 40_000, 1 << 22])
def test_blocks_in_a_row_are_the_content(one: Frame, size: int) -> None:
    """Another implementation reads blocks of any size."""
    content = CONTENT if size > 1 else CONTENT[:50]
    assert unpacked(one.name, written(one, content, size)) == content


@each
def test_every_level_is_understood(one: Frame) -> None:
    """Each level is read by another implementation; the highest packs smaller than the lowest."""
    content = CONTENT[:60_000]
    sizes = {}
    for level in range(one.levels[0], one.levels[1] + 1):
        data = written(one, content, level=level)
        assert unpacked(one.name, data) == content
        sizes[level] = len(data)
    assert one.levels[0] <= one.default_level <= one.levels[1]
    assert sizes[one.levels[1]] < sizes[one.levels[0]]


@each
def test_noise_and_zeros_are_no_trouble(one: Frame) -> None:
    """Incompressible content grows little; compressible content shrinks."""
    noise, zeros = text(400_000)[250_000:290_000], bytes(one.block)
    assert len(written(one, noise)) < len(noise) + 400
    (small,) = packed_blocks(one, zeros, one.block)
    assert len(small) < one.block // 100
    assert unpacked(one.name, small) == zeros


@each
def test_its_own_index_needs_no_unpacking(one: Frame) -> None:
    """One piece for each block, found without unpacking content, and equal to the content."""

    def refuse(packed: bytes, room: int) -> Any:
        raise AssertionError("a piece was unpacked")

    data = written(one, CONTENT)
    outer = MemoryFile(data)
    index = Index(Frame(**{**vars(one), "unpack": refuse}), outer)
    assert list(index.starts) == [*range(0, len(CONTENT), 40_000), len(CONTENT)]
    assert not index.torn
    assert whole(FramedFile(outer, one, index)) == CONTENT


@each
@pytest.mark.oracle
def test_the_tool_unpacks_it(one: Frame, tmp_path: Path) -> None:
    """``zstd -d``, ``lz4 -d`` and ``gzip -d`` unpack it as a file and as a stream, without a warning."""
    command = tool(one.name)
    path = tmp_path / {"zstd": "file.zst", "lz4": "file.lz4", "gzip": "file.gz"}[one.name]
    path.write_bytes(written(one, CONTENT))
    for arguments in (["-dc", str(path)], ["-dc"]):
        with path.open("rb") as stdin:
            ran = subprocess.run([command, *arguments], stdin=stdin, capture_output=True, check=True)
        assert (ran.stdout, ran.stderr) == (CONTENT, b"")
    subprocess.run([command, "-t", str(path)], check=True, capture_output=True)


@each
@pytest.mark.oracle
def test_the_tool_sees_damage(one: Frame) -> None:
    """Checksums detect a changed bit in the middle."""
    data = bytearray(written(one, CONTENT))
    data[len(data) // 2] ^= 0x10
    assert subprocess.run([tool(one.name), "-dc"], input=data, capture_output=True, check=False).returncode != 0


def test_zstd_ends_with_a_seek_table() -> None:
    """As the seekable format defines: a skippable frame of sizes, then their number and a magic number."""
    one = frame("zstd")
    packed = packed_blocks(one, CONTENT, 40_000)
    data = written(one, CONTENT)
    table = data[len(b"".join(packed)) :]
    magic, size = struct.unpack_from("<II", table)
    assert (magic, size) == (0x184D2A5E, len(table) - 8)
    assert struct.unpack("<IBI", table[-9:]) == (len(packed), 0, 0x8F92EAB1)
    rows = list(struct.iter_unpack("<II", table[8:-9]))
    assert rows == [(len(p), len(c)) for p, c in zip(packed, blocks(CONTENT, 40_000))]
    for block, content in zip(packed, blocks(CONTENT, 40_000)):
        parameters = zstandard.get_frame_parameters(block)
        assert parameters.content_size == len(content)
        assert parameters.has_checksum


def test_lz4_blocks_are_frames_that_tell_their_size() -> None:
    """Independent blocks, content size and checksum: each is one block, then the end mark."""
    one = frame("lz4")
    for block, content in zip(packed_blocks(one, CONTENT, 40_000), blocks(CONTENT, 40_000)):
        magic, flags, size_code, sized = struct.unpack_from("<IBBQ", block)
        assert magic == 0x184D2204
        assert flags == 0x40 | 0x20 | 0x08 | 0x04
        assert 64 << 10 <= 1 << (2 * (size_code >> 4) + 8) <= 4 << 20
        assert sized == len(content)
        (size,) = struct.unpack_from("<I", block, 15)
        assert block[19 + (size & 0x7FFFFFFF) :][:4] == bytes(4)
        assert len(block) == 19 + (size & 0x7FFFFFFF) + 8
    (largest,) = packed_blocks(one, bytes(one.block), one.block)
    assert struct.unpack_from("<I", largest, 15)[0] + 27 == len(largest)


def test_gzip_members_tell_their_size_in_an_extra_field() -> None:
    """As RFC 1952 defines, and identical from run to run."""
    one = frame("gzip")
    for member, content in zip(packed_blocks(one, CONTENT, 40_000), blocks(CONTENT, 40_000)):
        assert member[:10] == b"\x1f\x8b\x08\x04" + bytes(4) + b"\x00\xff"
        assert struct.unpack_from("<H2sHII", member, 10) == (12, b"VS", 8, len(member), len(content))
        assert zlib.decompress(member[24:-8], -15) == content
        assert struct.unpack("<II", member[-8:]) == (zlib.crc32(content), len(content))


def test_gzip_without_isal_is_packed_by_zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Different bytes, the same content."""
    one = frame("gzip")
    monkeypatch.setitem(sys.modules, "isal", None)
    for level in (1, 3, 9):
        assert unpacked("gzip", written(one, CONTENT, level=level)) == CONTENT


@pytest.mark.parametrize(("name", "package"), [("zstd", "zstandard"), ("lz4", "lz4")])
def test_a_missing_package_is_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes before anything is written."""
    for module in (package, f"{package}.frame"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnsupportedError, match=f"pip install {package}"):
        frame(name).packer(1)


def test_an_unknown_frame_names_the_known() -> None:
    with pytest.raises(UsageError, match=r"'xz'.*gzip or lz4 or zstd"):
        frame("xz")


@each
def test_blocks_are_of_a_size_that_is_read_at_random(one: Frame) -> None:
    """A frame whose blocks are too large for its index would be unpacked as a whole."""
    data = written(one, text(one.block + 1000), one.block)
    assert len(Index(one, MemoryFile(data)).sizes) == 2
