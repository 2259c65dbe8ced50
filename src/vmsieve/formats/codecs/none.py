"""No compression: pages are stored as they are."""

from __future__ import annotations

from vmsieve.formats.codecs import Codec, open_nothing, opener
from vmsieve.formats.compiler import inline


@inline
def refuse(state: int, source: int, size: int, out: int, room: int) -> int:  # noqa: ARG001 - the codecs' signature
    """Return 0: no page shrinks, and a page marked as packed is damaged."""
    return 0


CODEC = Codec(
    name="none", title="pages as they are", flag=0, option=None, default_level=0, levels=(0, 0),
    compress=refuse, decompress=refuse, open_compressor=opener(0), open_decompressor=open_nothing,
)  # fmt: skip
