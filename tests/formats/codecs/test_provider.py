"""A requested codec provider is used exclusively."""

from __future__ import annotations

import ctypes
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.build.layouts import LAYOUTS
from tests.build.machine import EVERYTHING, Machine
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.codecs import codec, codec_number
from vmsieve.formats.codecs._libraries import call_back
from vmsieve.formats.codecs._pack import pack_pages
from vmsieve.formats.errors import UsageError
from vmsieve.pipeline.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

_PAGE = 4096


def packed_by(name: str, level: int) -> tuple[str, bytes]:
    """The provider of codec ``name``, and a page that it packed."""
    chosen = codec(name)
    state = chosen.open_compressor(level, _PAGE)
    page = bytearray(bytes(range(64)) * (_PAGE // 64))
    out, index, sizes, flags = bytearray(2 * _PAGE), (ctypes.c_uint32 * 1)(), (ctypes.c_uint32 * 1)(), ctypes.c_uint32()
    which = codec_number(chosen.name)
    size = pack_pages(
        which, state.address, 1, address_of(page), ctypes.addressof(index), _PAGE, 0, chosen.flag,
        ctypes.addressof(sizes), ctypes.addressof(flags), address_of(out), 0,
    )  # fmt: skip
    state.close()
    return state.provider, bytes(out[:size])


@pytest.mark.parametrize("level", [0, 1, 6])
def test_zlib_instead_of_the_loop(level: int) -> None:
    """Python always has zlib; its stream differs from the loop's and unpacks to the page."""
    try:
        provider, stream = packed_by("zlib@libz", level)
    except UsageError:
        pytest.skip("no libz.so.1")
    assert provider.startswith("libz.so.1 ")
    assert zlib.decompress(stream) == bytes(range(64)) * (_PAGE // 64)
    assert len(stream) < _PAGE // 4


def test_our_own_by_name() -> None:
    assert packed_by("zlib@built-in", 1)[0] == "built in"
    assert packed_by("lzo@built-in", 1)[0] == "built in"
    assert packed_by("zstd@built-in", 0)[0] == "built in"


@pytest.mark.parametrize("name", ["zlib@libnothing", "zlib@wheel", "lzo@liblzo2", "zstd@libnothing", "none@libz"])
def test_a_missing_provider(name: str) -> None:
    """An unavailable provider is an error with a hint; the next request gets the best provider again."""
    with pytest.raises(UsageError, match=f"can't come from {name.partition('@')[2]}"):
        codec(name).open_compressor(1, _PAGE)
    assert packed_by("zlib", 1)[0] == "built in"


def test_our_own_has_no_high_levels() -> None:
    with pytest.raises(UsageError, match="zlib pages of level 6 can't come from built-in"):
        codec("zlib@built-in").open_compressor(6, _PAGE)
    with pytest.raises(UsageError, match="zstd pages of level -1 can't come from built-in"):
        codec("zstd@built-in").open_compressor(-1, _PAGE)


def test_an_unknown_codec_with_a_provider() -> None:
    with pytest.raises(UsageError, match="no codec is called 'zlob'"):
        codec("zlob@libz")


def test_nothing_is_written_without_the_provider(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    core, out = Machine(LAYOUTS["6.12"], EVERYTHING).write(tmp_path / "core"), tmp_path / "out"
    assert main(["dump", "-q", "--codec", "zlib@libnothing:1", str(core), str(out)]) == 2
    assert "zlib pages of level 1 can't come from libnothing" in capsys.readouterr().err
    assert not out.exists()


def test_an_interruption_within_a_callback_leaves_the_page_as_it_is() -> None:
    """An exception in a callback can't pass through machine code: the page counts as unpackable."""

    def interrupted(_data: bytes, _room: int) -> bytes:
        raise KeyboardInterrupt

    where, keep = call_back(interrupted)
    function = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * 4)(where)
    page = ctypes.create_string_buffer(_PAGE)
    assert function(ctypes.addressof(page), _PAGE, ctypes.addressof(page), _PAGE) == 0
    del keep
