"""No compression: pages are stored as they are."""

from __future__ import annotations

import ctypes

from vmsieve.formats.codecs import Codec, State
from vmsieve.formats.compiler import inline


@inline
def compress_none(state: int, source: int, size: int, out: int, room: int) -> int:  # noqa: ARG001 - the codecs' signature
    """Return 0: never shrinks a page."""
    return 0


@inline
def decompress_none(state: int, source: int, size: int, out: int, room: int) -> int:  # noqa: ARG001 - the codecs' signature
    """Return 0: a page marked as packed is damaged."""
    return 0


def _open_compressor(level: int, page_size: int) -> State:
    del level, page_size
    return State("built in", (ctypes.c_uint64 * 1)())


def _open_decompressor(page_size: int) -> State:
    return _open_compressor(0, page_size)


CODEC = Codec(
    name="none",
    title="pages as they are",
    flag=0,
    option=None,
    default_level=0,
    levels=(0, 0),
    compress=compress_none,
    decompress=decompress_none,
    open_compressor=_open_compressor,
    open_decompressor=_open_decompressor,
)
