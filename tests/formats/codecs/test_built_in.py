"""LZO and snappy, implemented as loops: compared with twins written from the formats, and with the C libraries."""

from __future__ import annotations

import ctypes
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.codecs import codec_kit as kit
from tests.formats.codecs.codec_kit import BACKENDS
from tests.formats.loops.twins import lzo, snappy
from vmsieve.formats.codecs import codec

if TYPE_CHECKING:
    from types import ModuleType

    from vmsieve.formats.codecs import State

TWINS: dict[str, ModuleType] = {"lzo": lzo, "snappy": snappy}
BUILT_IN = pytest.mark.parametrize("name", TWINS)
#: Boundary sizes: the first possible match, lengths that need another byte, the largest page.
SIZES = [1, 2, 3, 4, 5, 19, 20, 21, 22, 60, 61, 238, 239, 256, 257, 512, 4096, 16384, 65536]


def _sizes(backend: str) -> st.SearchStrategy[int]:
    """Sizes that the backend handles in reasonable time."""
    return st.sampled_from([s for s in SIZES if backend != "python" or s <= 512])


def _packer(name: str) -> State:
    return codec(name).open_compressor(1, 4096)


def _unpacker(name: str) -> State:
    return codec(name).open_decompressor(4096)


@BUILT_IN
@BACKENDS
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_packed_page_is_smaller_and_its_twin_unpacks_it(backend: str, name: str, data: st.DataObject) -> None:
    page = data.draw(kit.contents(_sizes(backend)))
    ((flag, packed),) = kit.pack(backend, name, _packer(name), [page], skip_zero=False)
    if flag == 0:
        assert packed == page
    else:
        assert len(packed) < len(page)
        assert TWINS[name].unpack(packed, len(page)) == page
        assert kit.unpack_one(backend, name, _unpacker(name), packed, len(page)) == page


@BUILT_IN
@pytest.mark.parametrize("backend", ["jit", "aot"])
@settings(deadline=None, max_examples=20)
@given(page=kit.contents(st.sampled_from([64, 300, 512])))
def test_backends_pack_alike_whatever_was_packed_before(backend: str, name: str, page: bytes) -> None:
    state = _packer(name)
    other = bytes(reversed(page))
    expected = kit.pack("python", name, _packer(name), [page, other], skip_zero=False)
    assert kit.pack(backend, name, state, [page, other], skip_zero=False) == expected
    assert kit.pack(backend, name, state, [other, page], skip_zero=False) == expected[::-1]


@BUILT_IN
@BACKENDS
@settings(deadline=None, max_examples=60)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_streams_of_every_kind_of_instruction_are_unpacked(
    backend: str, name: str, data: st.DataObject, seed: int
) -> None:
    packed, plain = TWINS[name].write(random.Random(seed), data.draw(_sizes(backend)))
    assert TWINS[name].unpack(packed, len(plain)) == plain
    if len(plain) > 1:
        assert kit.unpack_one(backend, name, _unpacker(name), packed, len(plain)) == plain
        assert kit.unpack_one(backend, name, _unpacker(name), packed, len(plain) + 1) is None
        assert kit.unpack_one(backend, name, _unpacker(name), packed, len(plain) - 1) is None


@BUILT_IN
@BACKENDS
@pytest.mark.fuzz
@settings(deadline=None, max_examples=300)
@given(
    seed=st.integers(0, 2**32),
    size=st.sampled_from([4, 40, 400]),
    damage=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 600),
    tail=st.binary(max_size=8),
)
def test_damaged_streams_are_taken_or_refused_as_the_twin_does(
    backend: str, name: str, seed: int, size: int, damage: list[tuple[int, int]], cut: int, tail: bytes
) -> None:
    packed, plain = TWINS[name].write(random.Random(seed), size)
    broken = bytearray(packed)
    for at, byte in damage:
        broken[at % len(broken)] = byte
    broken = broken[:cut] + tail
    try:
        expected = TWINS[name].unpack(bytes(broken), len(plain))
    except ValueError:
        expected = None
    if expected is not None and len(expected) != len(plain):
        expected = None
    if plain:
        assert kit.unpack_one(backend, name, _unpacker(name), bytes(broken), len(plain)) == expected


@BUILT_IN
@BACKENDS
@pytest.mark.fuzz
@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=200), size=st.sampled_from([1, 7, 64, 300]))
def test_noise_is_taken_or_refused_as_the_twin_does(backend: str, name: str, data: bytes, size: int) -> None:
    try:
        expected = TWINS[name].unpack(data, size)
    except ValueError:
        expected = b""
    found = kit.unpack_one(backend, name, _unpacker(name), data, size)
    assert found == (expected if len(expected) == size else None)


@BUILT_IN
@BACKENDS
def test_a_size_of_billions_is_no_reason_to_read_or_write_beyond(backend: str, name: str) -> None:
    zeros = bytes(3000)
    hostile = {
        "lzo": [b"\0" + zeros + b"\xff", b"\x20" + zeros + b"\xff\0\0", b"\x16abcde\x20" + zeros + b"\xff\0\0"],
        "snappy": [b"\xff\xff\xff\xff\x0f\xfc\xff\xff\xff\xff", b"\x40\xfc\xff\xff\xff\xffabc", b"\xff" * 20],
    }
    for data in hostile[name]:
        assert kit.unpack_one(backend, name, _unpacker(name), data, 64) is None


@pytest.fixture(scope="module")
def liblzo2() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("liblzo2.so.2")
    except OSError:
        pytest.skip("liblzo2 is not installed")


@pytest.fixture(scope="module")
def libsnappy() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libsnappy.so.1")
    except OSError:
        pytest.skip("libsnappy is not installed")


@pytest.mark.oracle
@settings(deadline=None, max_examples=150)
@given(page=kit.contents(st.sampled_from(SIZES)))
def test_liblzo2_unpacks_our_streams_and_we_unpack_its(liblzo2: ctypes.CDLL, page: bytes) -> None:
    size, room = ctypes.c_size_t(len(page)), len(page) * 2 + 200
    back, packed = ctypes.create_string_buffer(len(page)), ctypes.create_string_buffer(room)
    ((flag, ours),) = kit.pack("aot", "lzo", _packer("lzo"), [page], skip_zero=False)
    if flag:
        source = kit.Guarded(ours)
        unpack = liblzo2.lzo1x_decompress_safe
        assert unpack(ctypes.c_void_p(source.address), ctypes.c_size_t(len(ours)), back, ctypes.byref(size), None) == 0
        assert back.raw[: size.value] == page
    scratch = ctypes.create_string_buffer(1 << 17)
    liblzo2.lzo1x_1_compress(page, ctypes.c_size_t(len(page)), packed, ctypes.byref(size), scratch)
    assert kit.unpack_one("aot", "lzo", _unpacker("lzo"), packed.raw[: size.value], len(page)) == page


@pytest.mark.oracle
@settings(deadline=None, max_examples=150)
@given(page=kit.contents(st.sampled_from(SIZES)))
def test_libsnappy_unpacks_our_blocks_and_we_unpack_its(libsnappy: ctypes.CDLL, page: bytes) -> None:
    size, room = ctypes.c_size_t(len(page)), len(page) * 2 + 200
    back, packed = ctypes.create_string_buffer(len(page)), ctypes.create_string_buffer(room)
    ((flag, ours),) = kit.pack("aot", "snappy", _packer("snappy"), [page], skip_zero=False)
    if flag:
        assert libsnappy.snappy_uncompress(ours, ctypes.c_size_t(len(ours)), back, ctypes.byref(size)) == 0
        assert back.raw[: size.value] == page
    size.value = room
    assert libsnappy.snappy_compress(page, ctypes.c_size_t(len(page)), packed, ctypes.byref(size)) == 0
    assert kit.unpack_one("aot", "snappy", _unpacker("snappy"), packed.raw[: size.value], len(page)) == page
