"""Run codecs and page loops with the loaded machine code, for emulated processors."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.codecs import codecs
from vmsieve.formats.codecs._pack import pack_pages, unpack_pages
from vmsieve.formats.loops.compare import zero_pages

if TYPE_CHECKING:
    from types import ModuleType

PAGE, COUNT = 4096, 8


def tour(native: ModuleType) -> None:
    """Pack and unpack some pages with the codecs that need no library, and find the zero page."""
    sys.stdout.write(native.object_path())
    pages = bytearray(b"".join((bytes([i, 1, 2, 3]) * 1024 if i else bytes(PAGE)) for i in range(COUNT)))
    index = (ctypes.c_uint32 * COUNT)(*range(COUNT))
    marks = bytearray(COUNT)
    assert zero_pages(address_of(pages), ctypes.addressof(index), COUNT, PAGE, address_of(marks)) == 1
    for which, codec in enumerate(codecs()):
        if codec.name not in ("lzo", "snappy"):
            continue
        sizes, flags = (ctypes.c_uint32 * COUNT)(), (ctypes.c_uint32 * COUNT)()
        packed, out = bytearray((COUNT + 1) * PAGE), bytearray(COUNT * PAGE)
        state = codec.open_compressor(codec.default_level, PAGE)
        pack_pages(
            which, state.address, COUNT, address_of(pages), ctypes.addressof(index), PAGE, 0, codec.flag,
            ctypes.addressof(sizes), ctypes.addressof(flags), address_of(packed), 0,
        )  # fmt: skip
        table, at = (ctypes.c_uint64 * (2 * COUNT))(), 0
        for i in range(COUNT):
            # A 32-bit size and a 32-bit kind share a word.
            kind = int(flags[i] != 0)
            table[2 * i], table[2 * i + 1] = at, sizes[i] | kind << 32
            at += sizes[i]
        back = codec.open_decompressor(PAGE)
        address = ctypes.addressof(table)
        assert unpack_pages(which, back.address, COUNT, address, address_of(packed), PAGE, address_of(out)) == COUNT
        assert out == pages, codec.name
