"""Compressed data in memory, verified by its own checksums."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from typing import TYPE_CHECKING, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build.crash_kernel import cpio, flipped, noise
from tests.build.elf_core import Core, Load
from tests.build.memory_file import source
from vmsieve.filters.linux.compressed import all_zeros, verify_archive, verify_stream

if TYPE_CHECKING:
    from vmsieve.formats.inputs import Source

PAGE = 4096
ARCHIVE = cpio({"dir/one": noise(1, 3000), "two": b"", "three": noise(2, 70001)})


def zstd(data: bytes, checksum: bool = True) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    return bytes(zstandard.ZstdCompressor(level=3, write_checksum=checksum).compress(data))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress, "zstd": zstd,
    "xz sha256": lambda data: lzma.compress(data, check=lzma.CHECK_SHA256),
}  # fmt: skip
UNPACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress, "xz": lzma.decompress, "xz sha256": lzma.decompress, "bzip2": bz2.decompress,
    "zstd": lambda data: bytes(pytest.importorskip("zstandard").ZstdDecompressor().decompress(data)),
}  # fmt: skip
NOT_CHECKED: dict[str, Callable[[bytes], bytes]] = {
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_NONE), "zstd": lambda data: zstd(data, False),
    "lz4": lambda data: b"\x02\x21\x4c\x18" + data,
}  # fmt: skip
each_packer = pytest.mark.parametrize("name", PACKERS)


def memory(data: bytes) -> tuple[Source, int]:
    """``data`` at physical address 4096, in whole pages, and its end address."""
    data += bytes(-len(data) % PAGE)
    return source(Core([Load(PAGE, data)]).build()), PAGE + len(data)


@each_packer
def test_stream(name: str) -> None:
    """An intact stream verifies; a truncated one, or one with a changed bit, does not."""
    data = PACKERS[name](ARCHIVE)
    dump, end = memory(data)
    assert verify_stream(dump, PAGE, end) is True
    assert verify_stream(dump, PAGE, PAGE + len(data)) is True
    assert verify_stream(dump, PAGE, PAGE + len(data) - 9) is False
    dice = random.Random(1)
    for at in [len(data) // 2, *(dice.randrange(60, len(data) - 60) for _ in range(8))]:
        dump, end = memory(flipped(data, at))
        assert verify_stream(dump, PAGE, end) is False


@pytest.mark.parametrize("name", NOT_CHECKED)
def test_stream_without_checksum(name: str) -> None:
    """A stream without a checksum is undecided."""
    dump, end = memory(NOT_CHECKED[name](ARCHIVE))
    assert verify_stream(dump, PAGE, end) is None
    assert verify_archive(dump, PAGE, end) is None


@each_packer
def test_archives(name: str) -> None:
    """Compressed archives in a row verify; a plain one leaves the result undecided."""
    packed = PACKERS[name](ARCHIVE)
    for data, right in (
        (packed, True),
        (packed + bytes(512) + packed, True),
        (ARCHIVE.ljust(-(-len(ARCHIVE) // 512) * 512, b"\0") + packed, None),
        (ARCHIVE, None),
        (packed + b"#BOOTCONFIG\n", None),
        (packed + bytes(8) + flipped(packed, len(packed) // 2), False),
        (flipped(ARCHIVE, 110 + 8 + 3000 + 2) + packed, False),
        (ARCHIVE[:400] + packed, False),
    ):
        dump, end = memory(data)
        assert verify_archive(dump, PAGE, end) is right


def test_a_missing_part_of_a_stream() -> None:
    """Memory that is not in the dump leaves the result undecided."""
    data = gzip.compress(noise(3, 9 * PAGE))
    dump = source(Core([Load(PAGE, data[:PAGE]), Load(40 * PAGE * PAGE, bytes(PAGE))]).build())
    end = 17 * PAGE * PAGE
    assert verify_stream(dump, 16 * PAGE * PAGE, end) is None
    assert verify_archive(dump, 16 * PAGE * PAGE, end) is None
    assert all_zeros(dump, 16 * PAGE * PAGE, end) is None


def test_all_zeros() -> None:
    data = bytes(40 * PAGE)
    dump, end = memory(data)
    assert all_zeros(dump, PAGE, end) is True
    for at in (0, len(data) // 2, len(data) - 1):
        dump, end = memory(flipped(data, at))
        assert all_zeros(dump, PAGE, end) is False


@pytest.mark.parametrize("name", ["gzip", "xz", "bzip2", "zstd"])
def test_bombs_take_little_memory(name: str) -> None:
    """64 MiB of zeros are unpacked in pieces."""
    import tracemalloc

    data = PACKERS[name](bytes(64 << 20))
    dump, end = memory(data)
    tracemalloc.start()
    try:
        assert verify_archive(dump, PAGE, end) is True
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.fuzz
@each_packer
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1 << 32))
def test_damage_at_random(name: str, seed: int) -> None:
    """Random bytes give an answer; a changed stream never verifies."""
    dice = random.Random(seed)
    data = bytearray(ARCHIVE.ljust(-(-len(ARCHIVE) // 4) * 4, b"\0") * dice.randrange(2) + PACKERS[name](ARCHIVE))
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(data))
        data[at : at + 8] = dice.choice([bytes(8), b"\xff" * 8, dice.randbytes(8), b"00000000"])[: len(data) - at]
    dump, end = memory(bytes(data))
    found = verify_archive(dump, PAGE, end)
    assert found in (True, False, None)
    assert found is not True or UNPACKERS[name](bytes(data)) == ARCHIVE
