"""ISA-L's igzip, which unpacks zlib streams faster than zlib on x86-64 and AArch64.

Its ``inflate_state`` is written by offset, as laid out in ``igzip_lib.h`` of ISA-L 2.31. The layout is not a stable
ABI, so each library must first unpack a sample page.
"""

from __future__ import annotations

import ctypes

from vmsieve.formats.codecs import State
from vmsieve.formats.codecs._libraries import REJECTED, address, libraries, words
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import call1, load32, load64, store32, store64
from vmsieve.formats.slim.typing import Final

_WHEEL: Final = "isal/isal_zlib"
_SONAMES: Final = ("libisal.so.2",)
_ODD: Final = "it unpacked a sample page wrong: its structure is not that of ISA-L 2.31"
_MASK32: Final = 0xFFFFFFFF
_ZLIB_FORMAT: Final = 3  # ISAL_ZLIB: verify header and checksum
_CRC_FLAG: Final = 21172  # offset in inflate_state
_STRUCTURE: Final = 128 << 10  # every release needs less: about 87000

# Words of the state: structure, init function, run function.


@inline
def inflate(state: int, source: int, size: int, out: int, room: int) -> int:
    """Call isal_inflate_stateless."""
    stream = load64(state, 0)
    call1(load64(state, 8), stream)
    store64(stream, 0, out)
    store32(stream, 8, room)
    store64(stream, 16, source)
    store32(stream, 32, size)
    store32(stream, _CRC_FLAG, _ZLIB_FORMAT)
    if call1(load64(state, 16), stream) & _MASK32 != 0:
        return 0
    return load32(stream, 12)


def open_inflate() -> State | None:
    """Open a decompressor; None without a library that passes the test."""
    symbols = ("isal_inflate_init", "isal_inflate_stateless")
    for name, library in libraries(_WHEEL, _SONAMES, symbols):
        structure = ctypes.create_string_buffer(_STRUCTURE)
        functions = [address(library, symbol) for symbol in symbols]
        state = State(f"ISA-L of {name}", words(ctypes.addressof(structure), *functions), [library, structure])
        if _trusted_inflate(state):
            return state
        REJECTED[name] = _ODD
    return None


def _trusted_inflate(state: State) -> bool:
    """True if the sample is unpacked, and refused with a wrong checksum."""
    import zlib

    sample, page = bytes((i * i >> 5) & 0x7F for i in range(4096)), ctypes.create_string_buffer(4096)
    packed = bytearray(zlib.compress(sample, 1))
    for wanted in (len(sample), 0):
        source = ctypes.create_string_buffer(bytes(packed), len(packed))
        if inflate(state.address, ctypes.addressof(source), len(source), ctypes.addressof(page), len(page)) != wanted:
            return False
        packed[-1] ^= 1
    return page.raw == sample
