"""LZO1X-1 streams, built in: what RHEL's kdump writes by default, without a library that the user has to find."""

from __future__ import annotations

from vmsieve.formats.codecs import Codec
from vmsieve.formats.codecs._built_in import open_decompressor, opener
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load64
from vmsieve.formats.loops.lzo import TABLE_SIZE, lzo_pack, lzo_unpack


@inline
def compress_lzo(state: int, source: int, size: int, out: int, room: int) -> int:
    """Pack one stream; the state holds the address of scratch memory."""
    return lzo_pack(load64(state, 0), source, size, out, room)


@inline
def decompress_lzo(state: int, source: int, size: int, out: int, room: int) -> int:  # noqa: ARG001 - nothing to keep
    """Unpack one stream."""
    return lzo_unpack(source, size, out, room)


CODEC = Codec(
    name="lzo",
    title="LZO1X-1 streams",
    flag=0x2,
    option="l",
    default_level=1,
    levels=(1, 1),
    compress=compress_lzo,
    decompress=decompress_lzo,
    open_compressor=opener(TABLE_SIZE),
    open_decompressor=open_decompressor,
)
