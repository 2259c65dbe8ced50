"""The zstd encoder, implemented as a loop: every frame is unpacked by libzstd, from Python's package or the system."""

from __future__ import annotations

import ctypes
import random
import struct
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.codecs import codec_kit as kit
from tests.formats.codecs.codec_kit import BACKENDS
from vmsieve.formats.codecs import codec
from vmsieve.formats.codecs import zstd as zstd_codec
from vmsieve.formats.compiler import loop
from vmsieve.formats.loops.zstd import zstd_pack
from vmsieve.formats.loops.zstd_memory import constants, memory_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmsieve.formats.codecs import State

PAGE = 4096
#: Boundary sizes: too small, the first with a header of our own, counts of literals and sequences, large pages.
SIZES = [64, 255, 256, 257, 300, 512, 1030, 4096, 16384, 16390, 65536]
LEVELS = pytest.mark.parametrize("level", [0, 1])


@loop
def pack_frame(level: int, memory: int, source: int, size: int, out: int, room: int) -> int:
    """A packed page."""
    return zstd_pack(memory, level, source, size, out, room)


def _pack_to(level: int, page: bytes, room: int, pack: Callable[..., int] | None = None) -> bytes:
    """``page`` packed into ``room`` bytes, empty if it does not fit; nothing beyond is written or read."""
    pytest.importorskip("numba")
    memory = kit.Watched(memory_size(len(page)))
    start = constants("=")
    ctypes.memmove(memory.address, start.ljust(memory.size, b"\xee"), memory.size)
    source, out = kit.Guarded(page), kit.Watched(room)
    run = pack or kit.on("jit", pack_frame)
    size = run(level, memory.address, source.address, len(page), out.address, room)
    assert memory.content().startswith(start)
    return out.content()[:size]


def _own(level: int, page_size: int = PAGE) -> State:
    state = codec("zstd").open_compressor(level, page_size)
    assert state.provider == "built in"
    return state


def _check(packed: bytes, page: bytes) -> None:
    """Libzstd unpacks ``packed`` to ``page``, and to nothing of another size."""
    state = codec("zstd").open_decompressor(len(page))
    assert kit.unpack_one("aot", "zstd", state, packed, len(page)) == page
    state.close()


@BACKENDS
@LEVELS
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_packed_page_is_smaller_and_libzstd_unpacks_it(backend: str, level: int, data: st.DataObject) -> None:
    page = data.draw(kit.contents(st.sampled_from([s for s in SIZES if backend != "python" or s <= 512])))
    ((flag, packed),) = kit.pack(backend, "zstd", _own(level, len(page)), [page], skip_zero=False)
    if flag == 0:
        assert packed == page
    else:
        assert len(packed) < len(page)
        _check(packed, page)


@LEVELS
@pytest.mark.parametrize("size", SIZES)
def test_odd_pages_are_unpacked_by_libzstd(level: int, size: int) -> None:
    chance = random.Random(size)
    skew = [1000 >> min(i, 9) for i in range(256)]
    kinds = [
        bytes(size), b"\xff" * size, (b"ab" * size)[:size], bytes(range(256)) * (size // 256) + bytes(size % 256),
        chance.randbytes(size), bytes(chance.choices(b"\0\1", k=size)),
        bytes(chance.choices(range(128), skew[:128], k=size)),
        bytes(chance.choices(range(256), skew, k=size)), bytes(chance.choices([0, 255], [9, 1], k=size)),
        bytes(chance.choices(range(256), range(256), k=size)), bytes(chance.choices(range(17), range(17), k=size)),
        b"".join(bytes([i % 251]) * (i % 99) for i in range(2000))[:size],
        b"".join(chance.randbytes(1) + bytes(3) for _ in range(size))[:size],
        b"".join(struct.pack("<Q", 0xFFFF888000000000 + i * 192) for i in range(size // 8)).ljust(size, b"z"),
        (chance.randbytes(100) * 700)[:size], (chance.randbytes(size // 2) * 2).ljust(size, b"\0")[:size],
        b"".join(chance.choice([b"quick", b"brown", b"fox\0\0"]) for _ in range(size))[:size],
    ]  # fmt: skip
    packed = [_pack_to(level, page, 2 * size) for page in kinds]
    for page, frame in zip(kinds, packed):
        if frame:
            assert len(frame) < size
            _check(frame, page)
    assert [bool(frame) for frame in packed[:3]] == [size >= 256] * 3
    assert packed[4] == b""


@LEVELS
@settings(deadline=None, max_examples=100)
@given(page=kit.contents(st.sampled_from([256, 300, 512, 4096])), less=st.integers(-200, 20))
def test_a_frame_that_does_not_fit_is_not_written_beyond_its_room(level: int, page: bytes, less: int) -> None:
    whole = _pack_to(level, page, 2 * len(page) + 400)
    room = max(len(whole) - less, 0)
    part = _pack_to(level, page, room)
    assert len(part) <= room
    if part:
        _check(part, page)


@LEVELS
@pytest.mark.parametrize("backend", ["jit", "aot"])
@settings(deadline=None, max_examples=20)
@given(page=kit.contents(st.sampled_from([256, 300, 512])))
def test_backends_pack_alike_whatever_was_packed_before(backend: str, level: int, page: bytes) -> None:
    if backend == "jit" and find_spec("numba") is None:
        pytest.skip("numba is not installed")
    state = _own(level)
    other = bytes(reversed(page))
    expected = kit.pack("python", "zstd", _own(level), [page, other], skip_zero=False)
    assert kit.pack(backend, "zstd", state, [page, other], skip_zero=False) == expected
    assert kit.pack(backend, "zstd", state, [other, page], skip_zero=False) == expected[::-1]


def test_a_page_larger_than_the_state_was_made_for_stays_as_it_is() -> None:
    page = bytes(8192)
    assert kit.pack("aot", "zstd", _own(1, 4096), [page], skip_zero=False) == [(0, page)]


def test_the_header_tells_the_size_and_no_checksum() -> None:
    for size in (256, 4096, 65536):
        frame = _pack_to(1, bytes(size), size)
        assert frame[:7] == b"\x28\xb5\x2f\xfd\x60" + struct.pack("<H", size - 256)
        assert frame[7] & 7 == 5  # the last block, and a compressed one
        assert int.from_bytes(frame[7:10], "little") >> 3 == len(frame) - 10


def test_pages_are_packed_no_worse_than_by_libzstd_or_not_by_much() -> None:
    chance = random.Random(5)
    names = [bytes(chance.choices(b"abcdefghijklmnop_", k=chance.randrange(3, 12))) for _ in range(40)]
    records = b"".join(
        struct.pack("<QQII", 0xFFFF888000000000 + chance.randrange(99) * 64, 0, chance.randrange(9), i)
        for i in range(170)
    )
    text = b" ".join(chance.choice(names) for _ in range(900))
    state = codec("zstd@" + _library()).open_compressor(1, PAGE)
    for page in (records[:PAGE], text[:PAGE], (records[:2048] + text)[:PAGE]):
        ((_, theirs),) = kit.pack("aot", "zstd", state, [page])
        assert len(_pack_to(1, page, PAGE)) < 1.04 * len(theirs)
        assert 0 < len(_pack_to(0, page, PAGE)) < 1.4 * len(theirs)


def _library() -> str:
    """A name of the library that packs the higher levels."""
    return codec("zstd").open_compressor(3, PAGE).provider.split()[0]


@pytest.mark.parametrize("level", [-1, 0, 1, 3])
def test_libzstd_by_name(level: int) -> None:
    state = codec("zstd@" + _library()).open_compressor(level, PAGE)
    assert state.provider.startswith(_library())
    page = bytes(range(64)) * 64
    ((_, frame),) = kit.pack("aot", "zstd", state, [page])
    _check(frame, page)
    state.close()


def test_without_libzstd_the_fastest_levels_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zstd_codec, "_WHEEL", "")
    monkeypatch.setattr(zstd_codec, "_SONAMES", ())
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    for level in (0, 1):
        assert kit.pack("aot", "zstd", _own(level), [bytes(PAGE)], skip_zero=False)[0][0] == 1
