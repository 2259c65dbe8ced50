"""Raw snappy blocks, built in; SUSE's kdump offers them."""

from __future__ import annotations

from vmsieve.formats.codecs import Codec
from vmsieve.formats.codecs._built_in import open_decompressor, opener
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import load64
from vmsieve.formats.loops.snappy import TABLE_SIZE, snappy_pack, snappy_unpack


@inline
def compress_snappy(state: int, source: int, size: int, out: int, room: int) -> int:
    """Pack one block; the state holds the address of scratch memory."""
    return snappy_pack(load64(state, 0), source, size, out, room)


@inline
def decompress_snappy(state: int, source: int, size: int, out: int, room: int) -> int:  # noqa: ARG001 - nothing to keep
    """Unpack one block."""
    return snappy_unpack(source, size, out, room)


CODEC = Codec(
    name="snappy",
    title="snappy blocks",
    flag=0x4,
    option="p",
    default_level=1,
    levels=(1, 1),
    compress=compress_snappy,
    decompress=decompress_snappy,
    open_compressor=opener(TABLE_SIZE),
    open_decompressor=open_decompressor,
)
