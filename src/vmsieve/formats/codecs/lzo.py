"""LZO1X-1 streams, built in: what RHEL's kdump writes by default, without a library that the user has to find."""

from __future__ import annotations

from vmsieve.formats.codecs import Codec, open_nothing, opener
from vmsieve.formats.loops.copies import TABLE_SIZE
from vmsieve.formats.loops.lzo import lzo_pack, lzo_unpack

CODEC = Codec(
    name="lzo", title="LZO1X-1 streams", flag=0x2, option="l", default_level=1, levels=(1, 1),
    compress=lzo_pack, decompress=lzo_unpack, open_compressor=opener(TABLE_SIZE), open_decompressor=open_nothing,
)  # fmt: skip
