"""Raw snappy blocks, built in; SUSE's kdump offers them."""

from __future__ import annotations

from vmsieve.formats.codecs import Codec, open_nothing, opener
from vmsieve.formats.loops.copies import TABLE_SIZE
from vmsieve.formats.loops.snappy import snappy_pack, snappy_unpack

CODEC = Codec(
    name="snappy", title="snappy blocks", flag=0x4, option="p", default_level=1, levels=(1, 1),
    compress=snappy_pack, decompress=snappy_unpack, open_compressor=opener(TABLE_SIZE), open_decompressor=open_nothing,
)  # fmt: skip
