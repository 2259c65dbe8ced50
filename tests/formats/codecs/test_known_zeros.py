"""Pages that are known to be zeros are not read, and come without bytes."""

from __future__ import annotations

from array import array

import pytest

from tests.formats.codecs import codec_kit as kit
from vmsieve.formats.codecs import codec
from vmsieve.formats.codecs._pack import pack_pages
from vmsieve.formats.loops.bits import ZERO_PAGE

PAGE = 4096


@pytest.mark.parametrize("backend", ["python", "aot"])
@pytest.mark.parametrize("skip_zero", [0, 1])
def test_known_zero_pages(skip_zero: int, backend: str) -> None:
    """Whatever is to be done with other pages of zeros."""
    memory, count = kit.Guarded(b"x" * PAGE + bytes(PAGE)), 5
    index = array("I", [ZERO_PAGE, 0, ZERO_PAGE, 1, ZERO_PAGE])
    sizes, flags, out = array("I", [77] * count), array("I", [77] * count), kit.Watched(count * PAGE)
    state = codec("none").open_compressor(0, PAGE)
    total = kit.on(backend, pack_pages)(
        kit.number("none"), state.address, count, memory.address, index.buffer_info()[0], PAGE, skip_zero, 7,
        sizes.buffer_info()[0], flags.buffer_info()[0], out.address, 0,
    )  # fmt: skip
    stored = 0 if skip_zero else PAGE
    assert (total, sizes.tolist()) == (PAGE + stored, [0, PAGE, 0, stored, 0])
    assert flags.tolist() == [0] * count
    assert out.content().startswith(b"x" * PAGE + bytes(PAGE))
