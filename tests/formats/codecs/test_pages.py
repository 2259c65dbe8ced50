"""Batches of pages packed and unpacked: the contract of every codec from every provider."""

from __future__ import annotations

import random
import struct
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.formats.codecs import codec_kit as kit
from tests.formats.codecs.codec_kit import BACKENDS
from vmsieve.formats.codecs import _isal, _libraries, codec, codecs
from vmsieve.formats.codecs import zlib as zlib_codec
from vmsieve.formats.codecs import zstd as zstd_codec
from vmsieve.formats.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from vmsieve.formats.codecs import State

PAGE = 4096
NAMES = [c.name for c in codecs()]
NOISE = random.Random(4).randbytes(PAGE)
TEXT = (b"the same thing, again and again; " * 200)[:PAGE]
RECORDS = b"".join(struct.pack("<QQ", 0xFFFF888000000000 + i * 192, i % 7) for i in range(PAGE // 16))
ZERO = bytes(PAGE)


def _round_trip(backend: str, name: str, packer: State, unpacker: State) -> None:
    pages = [TEXT, ZERO, NOISE, RECORDS, ZERO, TEXT]
    packed = kit.pack(backend, name, packer, pages, flag=0x20)
    assert packed[1] == packed[4] == (0, b"")
    assert packed[2] == (0, NOISE)
    assert packed[0] == packed[5]
    stored = [(1 if flag else 0, data) for flag, data in packed if data]
    assert kit.unpack(backend, name, unpacker, stored, PAGE) == (4, [TEXT, NOISE, RECORDS, TEXT])
    if name != "none":
        assert packed[0][0] == packed[3][0] == 0x20
        assert len(packed[0][1]) < 300
        assert len(packed[3][1]) < PAGE


@BACKENDS
@pytest.mark.parametrize("name", NAMES)
def test_every_codec_brings_its_pages_back(backend: str, name: str) -> None:
    this = codec(name)
    for level in {this.levels[0], this.default_level, this.levels[1]}:
        packer, unpacker = this.open_compressor(level, PAGE), this.open_decompressor(PAGE)
        try:
            _round_trip(backend, name, packer, unpacker)
        finally:
            packer.close()
            unpacker.close()


@BACKENDS
@pytest.mark.parametrize("name", NAMES)
def test_a_zero_page_is_packed_like_another_unless_it_is_to_be_skipped(backend: str, name: str) -> None:
    this = codec(name)
    ((flag, data),) = kit.pack(backend, name, this.open_compressor(this.default_level, PAGE), [ZERO], skip_zero=False)
    assert (flag, len(data)) == (0, PAGE) if name == "none" else (flag == 1 and 0 < len(data) < 250)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "none"])
@pytest.mark.parametrize("size", [4096, 16384, 65536])
def test_pages_of_any_size_are_packed(name: str, size: int) -> None:
    this = codec(name)
    page = (RECORDS * 16)[: size - 1000] + random.Random(size).randbytes(1000)
    packed = kit.pack("aot", name, this.open_compressor(this.default_level, size), [page])
    assert packed[0][0] == 1
    assert kit.unpack("aot", name, this.open_decompressor(size), packed, size) == (1, [page])


@BACKENDS
@pytest.mark.parametrize("name", NAMES)
def test_the_first_damaged_page_is_named(backend: str, name: str) -> None:
    this = codec(name)
    state = this.open_decompressor(PAGE)
    good = (0, TEXT)
    for bad in [(0, TEXT[:-1]), (2, TEXT), (0xFFFFFFFF, TEXT), (1, b""), (1, b"\x00"), (1, NOISE), (1, NOISE[:9])]:
        assert kit.unpack(backend, name, state, [good, good, bad, good], PAGE) == (2, [TEXT, TEXT])
    assert kit.unpack(backend, name, state, [good], PAGE) == (1, [TEXT])


@pytest.mark.parametrize("name", [n for n in NAMES if n != "none"])
def test_a_stream_that_holds_more_or_less_than_a_page_is_damaged(name: str) -> None:
    this = codec(name)
    unpacker = this.open_decompressor(PAGE)
    for size in (PAGE - 16, PAGE + 16, 2 * PAGE):
        packer = this.open_compressor(this.default_level, size)
        ((flag, data),) = kit.pack("aot", name, packer, [(TEXT * 2)[:size]])
        assert flag == 1
        assert kit.unpack_one("aot", name, unpacker, data, PAGE) is None
        assert kit.unpack_one("aot", name, unpacker, data, size) == (TEXT * 2)[:size]


@pytest.mark.fuzz
@pytest.mark.parametrize("name", [n for n in NAMES if n != "none"])
def test_damage_never_writes_out_of_bounds(name: str) -> None:
    """Changed bytes never cause a write beyond the page; zlib's checksum detects them."""
    this, chance = codec(name), random.Random(name)
    packer, unpacker = this.open_compressor(this.default_level, PAGE), this.open_decompressor(PAGE)
    for _ in range(400):
        page = chance.choice([TEXT, RECORDS])
        broken = bytearray(kit.pack("aot", name, packer, [page])[0][1])
        for _ in range(chance.randint(1, 4)):
            broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        found = kit.unpack_one("aot", name, unpacker, bytes(broken[: chance.choice([9, len(broken), 999999])]), PAGE)
        if name == "zlib":
            assert found in (None, page)


def _without(monkeypatch: pytest.MonkeyPatch, *providers: str) -> None:
    """A machine without the named libraries."""
    sources: dict[str, tuple[ModuleType, dict[str, object]]] = {
        "isal": (_isal, {"_WHEEL": "", "_SONAMES": ()}),
        "libdeflate": (zlib_codec, {"_LIBDEFLATE": ()}),
        "libz": (zlib_codec, {"_LIBZ": ()}),
        "wheel": (zstd_codec, {"_WHEEL": ""}),
        "libzstd": (zstd_codec, {"_SONAMES": ()}),
    }
    for provider in providers:
        module, names = sources[provider]
        for name, value in names.items():
            monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize(
    ("name", "lacking", "packs", "unpacks"),
    [
        ("zlib", [], "libdeflate.so.0", "libdeflate.so.0"),
        ("zlib", ["libdeflate"], "libz.so.1 1.", "ISA-L of "),
        ("zlib", ["isal"], "libdeflate.so.0", "libdeflate.so.0"),
        ("zlib", ["isal", "libdeflate"], "libz.so.1 1.", "libz.so.1 1."),
        ("zlib", ["isal", "libdeflate", "libz"], "python zlib", "python zlib"),
        ("zstd", [], "zstandard (wheel) 1.", "zstandard (wheel) 1."),
        ("zstd", ["wheel"], "libzstd.so.1 1.", "libzstd.so.1 1."),
        ("zstd", ["wheel", "libzstd"], "python zstandard", "python zstandard"),
    ],
)
def test_each_provider_does_the_same(
    monkeypatch: pytest.MonkeyPatch, name: str, lacking: list[str], packs: str, unpacks: str
) -> None:
    this = codec(name)
    reference = this.open_decompressor(PAGE)
    _without(monkeypatch, *lacking)
    # Levels below have their own providers.
    if not this.open_compressor(2, PAGE).provider.startswith(packs):
        pytest.skip(f"{packs} is not installed")
    if not this.open_decompressor(PAGE).provider.startswith(unpacks):
        pytest.skip(f"{unpacks} is not installed")
    for level in range(this.levels[0], this.levels[1] + 1):
        packer, unpacker = this.open_compressor(level, PAGE), this.open_decompressor(PAGE)
        for backend in ("python", "aot"):
            _round_trip(backend, name, packer, unpacker)
        ((_, data),) = kit.pack("aot", name, packer, [RECORDS])
        assert kit.unpack_one("aot", name, reference, data, PAGE) == RECORDS
        if name == "zlib":
            assert zlib.decompress(data) == RECORDS
        for broken in (data[:-1], data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]):
            found = kit.unpack_one("aot", name, unpacker, broken, PAGE)
            assert found is None or (name == "zstd" and len(found) == PAGE)
        packer.close()
        unpacker.close()


def test_zstd_frames_tell_their_size_and_carry_no_checksum() -> None:
    zstandard = pytest.importorskip("zstandard")
    ((_, data),) = kit.pack("aot", "zstd", codec("zstd").open_compressor(1, PAGE), [RECORDS])
    parameters = zstandard.get_frame_parameters(data)
    assert (parameters.content_size, parameters.has_checksum, parameters.dict_id) == (PAGE, False, 0)


def test_zlib_streams_are_near_the_size_of_zlibs_own() -> None:
    this = codec("zlib")
    page = b"".join(bytes(random.Random(i).choices(b"abcdefghijklmnop \0\0\0", k=60)) + bytes(4) for i in range(64))
    for level in range(1, 10):
        ((_, data),) = kit.pack("aot", "zlib", this.open_compressor(level, PAGE), [page])
        assert len(data) < 1.15 * len(zlib.compress(page, level))


def test_a_library_with_another_structure_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    if _isal.open_inflate() is None:
        pytest.skip("ISA-L is not installed")
    real = zlib.compress
    monkeypatch.setattr(zlib, "compress", lambda sample, level: real(bytes(len(sample)), level))
    assert _isal.open_inflate() is None


def test_a_codec_without_a_provider_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "isal", "libdeflate", "libz", "wheel", "libzstd")
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(UsageError, match="neither the zstandard package nor libzstd"):
        codec("zstd").open_compressor(2, PAGE)
    monkeypatch.setitem(__import__("sys").modules, "zlib", None)
    with pytest.raises(UsageError, match="no zlib is installed"):
        codec("zlib").open_decompressor(PAGE)


@pytest.mark.parametrize("backend", ["python", "jit", "aot"])
@pytest.mark.parametrize(
    "function",
    [lambda _, room: bytes(room + 1), lambda *_: bytes(-1), lambda *_: b""],
    ids=["long", "error", "no"],
)
def test_a_python_provider_that_fails_fails_the_page_alone(
    backend: str, function: Callable[[bytes, int], bytes]
) -> None:
    from vmsieve.formats.codecs import State

    address, keep = _libraries.call_back(function)
    state = State("a test", _libraries.words(address, 0), [keep])
    assert kit.pack(backend, "zstd", state, [TEXT]) == [(0, TEXT)]
    assert kit.unpack_one(backend, "zstd", state, TEXT, PAGE) is None


def test_an_unknown_codec_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="lzo or none or snappy or zlib or zstd"):
        codec("lz77")
