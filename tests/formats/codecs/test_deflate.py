"""The deflate encoder, implemented as a loop: compared with a strict twin and with the libraries."""

from __future__ import annotations

import ctypes
import random
import struct
import zlib
from array import array
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.codecs import codec_kit as kit
from tests.formats.codecs.codec_kit import BACKENDS
from tests.formats.loops.twins import deflate
from vmsieve.formats.codecs import _isal
from vmsieve.formats.codecs import zlib as zlib_codec
from vmsieve.formats.compiler import loop
from vmsieve.formats.loops.adler import adler32
from vmsieve.formats.loops.deflate import deflate_fast, deflate_pack
from vmsieve.formats.loops.deflate_memory import constants, fast_constants, memory_size
from vmsieve.formats.loops.huffman import WORK_SIZE, make_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmsieve.formats.codecs import State

PAGE = 4096
#: Boundary sizes: no match possible, one, blocks of a checksum, the longest match, large pages.
SIZES = [1, 2, 3, 4, 7, 16, 17, 18, 19, 21, 127, 128, 129, 258, 259, 260, 261, 262, 300, 512, 4096, 16384, 65536]
LEVELS = pytest.mark.parametrize("level", [0, 1])
REVERSED = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))


@loop
def pack_one(level: int, memory: int, source: int, size: int, out: int, room: int) -> int:
    """A packed page."""
    if level == 0:
        return deflate_fast(memory, source, size, out, room)
    return deflate_pack(memory, source, size, out, room)


@loop
def check_one(source: int, size: int) -> int:
    """A page's checksum."""
    return adler32(source, size)


@loop
def code_one(counts: int, size: int, limit: int, lengths: int, codes: int, reverse: int, work: int) -> int:
    """An alphabet's code."""
    return make_code(counts, size, limit, lengths, codes, reverse, work)


def _compiled(this: Callable[..., int]) -> Callable[..., int]:
    """A loop of this module that has no machine code."""
    pytest.importorskip("numba")
    return kit.on("jit", this)


def _own(level: int, page_size: int = PAGE) -> State:
    state = zlib_codec._open_own(level, page_size)
    assert state.provider == "built in"
    return state


def _sizes(backend: str) -> st.SearchStrategy[int]:
    """Sizes that the backend handles in reasonable time."""
    return st.sampled_from([s for s in SIZES if backend != "python" or s <= 512])


def _check(packed: bytes, page: bytes) -> None:
    """The twin and zlib unpack ``packed``, and find the end where it ends."""
    assert deflate.unpack(packed, len(page)) == page
    decoder = zlib.decompressobj()
    assert decoder.decompress(packed) == page
    assert decoder.eof
    assert decoder.unused_data == b""


@BACKENDS
@LEVELS
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_packed_page_is_smaller_and_its_twin_unpacks_it(backend: str, level: int, data: st.DataObject) -> None:
    page = data.draw(kit.contents(_sizes(backend)))
    ((flag, packed),) = kit.pack(backend, "zlib", _own(level, len(page)), [page], skip_zero=False)
    if flag == 0:
        assert packed == page
    else:
        assert len(packed) < len(page)
        _check(packed, page)


@LEVELS
@pytest.mark.parametrize("size", SIZES)
def test_odd_pages_are_unpacked_by_the_twin_and_by_zlib(level: int, size: int) -> None:
    chance = random.Random(size)
    kinds = [
        bytes(size), b"\xff" * size, (b"ab" * size)[:size], chance.randbytes(size), bytes(range(256)) * (size // 256),
        bytes(chance.choices(b"\0\1", k=size)), bytes(chance.choices(range(256), range(256), k=size)),
        b"".join(bytes([i % 251]) * i for i in range(370))[:size],
        b"".join(struct.pack("<Q", 0xFFFF888000000000 + i * 192) for i in range(size // 8)),
        (chance.randbytes(258) * 300)[:size], (chance.randbytes(32768) * 2)[:size],
        (chance.randbytes(32769) * 2)[:size],
    ]  # fmt: skip
    for page in kinds:
        packed = _pack_to(level, page, 2 * size + 400)
        if packed:
            _check(packed, page)
        else:
            assert level == 0
            assert size < 64 or page not in kinds[:3]


def _pack_to(level: int, page: bytes, room: int) -> bytes:
    """``page`` packed into ``room`` bytes, empty if it does not fit; nothing beyond is written or read."""
    start = constants("=") if level else fast_constants("=")
    memory = ctypes.create_string_buffer(start, memory_size(len(page)))
    source, out = kit.Guarded(page), kit.Watched(room)
    size = _compiled(pack_one)(level, ctypes.addressof(memory), source.address, len(page), out.address, room)
    return out.content()[:size]


@LEVELS
@settings(deadline=None, max_examples=100)
@given(page=kit.contents(st.sampled_from([16, 300, 512, 4096])), less=st.integers(-20, 20))
def test_a_stream_that_does_not_fit_is_not_written_beyond_its_room(level: int, page: bytes, less: int) -> None:
    whole = _pack_to(level, page, 2 * len(page) + 400)
    part = _pack_to(level, page, max(len(whole) - less, 0))
    assert part in (b"", whole)
    assert less <= 0 or part == b""
    if level:
        _check(whole, page)
        assert less > -8 or part == whole


@LEVELS
@pytest.mark.parametrize("backend", ["jit", "aot"])
@settings(deadline=None, max_examples=20)
@given(page=kit.contents(st.sampled_from([64, 300, 512])))
def test_backends_pack_alike_whatever_was_packed_before(backend: str, level: int, page: bytes) -> None:
    if backend == "jit" and find_spec("numba") is None:
        pytest.skip("numba is not installed")
    state = _own(level)
    other = bytes(reversed(page))
    expected = kit.pack("python", "zlib", _own(level), [page, other], skip_zero=False)
    assert kit.pack(backend, "zlib", state, [page, other], skip_zero=False) == expected
    assert kit.pack(backend, "zlib", state, [other, page], skip_zero=False) == expected[::-1]


@settings(deadline=None, max_examples=150)
@given(
    counts=st.lists(st.one_of(st.just(0), st.integers(0, 9), st.integers(0, 4000)), min_size=19, max_size=286),
    seven=st.booleans(),
)
def test_a_code_is_complete_and_no_better_one_exists_within_its_limit(counts: list[int], seven: bool) -> None:
    counts = counts[:19] if seven else counts
    _check_code(counts, 7 if seven else 14)


@pytest.mark.parametrize("limit", [7, 14])
def test_codes_of_the_strangest_counts(limit: int) -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 19:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    for counts in (
        [0] * 19,
        [5] + [0] * 18,
        [0] * 18 + [5],
        [1] * 19,
        fibonacci,
        fibonacci[::-1],
        [65535] * 16 + [1] * 3,
    ):
        _check_code(counts, limit)


def _check_code(counts: list[int], limit: int) -> None:
    size = len(counts)
    lengths, codes = kit.Watched(-(-size // 8) * 8), array("I", [0] * size)
    work, given_counts = kit.Watched(WORK_SIZE), array("H", counts)
    reverse = ctypes.create_string_buffer(REVERSED, 256)
    cost = _compiled(code_one)(
        given_counts.buffer_info()[0], size, limit, lengths.address, codes.buffer_info()[0], ctypes.addressof(reverse),
        work.address,
    )  # fmt: skip
    work.content()
    found = list(lengths.content()[:size])
    assert max(found) <= limit
    assert all(length for length, count in zip(found, counts) if count)
    assert sum(length > 0 for length in found) == max(2, sum(count > 0 for count in counts))
    for bits, symbol in deflate.make_code(found).items():
        assert codes[symbol] == len(bits) << 16 | int(bits[::-1], 2)
    assert cost == sum(length * count for length, count in zip(found, counts))
    if max(found) < limit and sum(count > 0 for count in counts) > 1:
        assert cost == deflate.least_cost(counts)


@pytest.mark.parametrize("backend", ["python", "jit"])
@settings(deadline=None, max_examples=60)
@given(data=st.binary(max_size=700), end=st.sampled_from([b"", b"\xff" * 128, b"\xff" * 300]))
def test_the_checksum_is_zlibs(backend: str, data: bytes, end: bytes) -> None:
    page = data + end
    source, check = kit.Guarded(page), _compiled(check_one) if backend == "jit" else kit.on(backend, check_one)
    assert check(source.address, len(page)) == zlib.adler32(page)


def test_the_checksum_of_the_largest_page_of_the_largest_bytes() -> None:
    page = b"\xff" * 65536
    assert _compiled(check_one)(kit.Guarded(page).address, len(page)) == zlib.adler32(page)


@pytest.mark.oracle
@LEVELS
@settings(deadline=None, max_examples=100)
@given(page=kit.contents(st.sampled_from(SIZES)))
def test_libdeflate_and_isal_unpack_our_streams(level: int, page: bytes) -> None:
    unpackers = [zlib_codec._open_libdeflate(None), zlib_codec._open_isal(_isal.open_inflate())]
    present = [state for state in unpackers if state is not None]
    if not present:
        pytest.skip("neither libdeflate nor ISA-L is installed")
    packed = _pack_to(level, page, 2 * len(page) + 400)
    for state in present if packed else []:
        assert kit.unpack_one("aot", "zlib", state, packed, len(page)) == page
        state.close()


def test_pages_are_packed_no_worse_than_by_zlib_or_not_by_much() -> None:
    chance = random.Random(5)
    names = [bytes(chance.choices(b"abcdefghijklmnop_", k=chance.randrange(3, 12))) for _ in range(40)]
    records = b"".join(
        struct.pack("<QQII", 0xFFFF888000000000 + chance.randrange(99) * 64, 0, chance.randrange(9), i)
        for i in range(170)
    )
    text = b" ".join(chance.choice(names) for _ in range(900))
    for page in (records[:PAGE], text[:PAGE], (records[:2048] + text)[:PAGE]):
        size = len(zlib.compress(page, 1))
        assert len(_pack_to(1, page, PAGE)) < 1.03 * size
        assert 0 < len(_pack_to(0, page, PAGE)) < 1.5 * size
