"""ISA-L's igzip: zlib streams at several times zlib's speed, on x86-64 and AArch64.

Its two structures are written by offset; ``igzip_lib.h`` of ISA-L 2.31 has their layouts (``isal_zstream``,
``inflate_state``). Because those are no promise, what a library makes is tried on one page before it is believed.
"""

from __future__ import annotations

import ctypes
from typing import Final

from vmsieve.formats.codecs import State
from vmsieve.formats.codecs._libraries import PASSED, address, libraries, words
from vmsieve.formats.kernels import inline
from vmsieve.formats.kernels.primitives import call1, load32, load64, store16, store32, store64

__all__ = ["deflate", "inflate", "open_deflate", "open_inflate"]

_WHEEL: Final = "isal/isal_zlib*.so"
_SONAMES: Final = ("libisal.so.2",)
_ODD: Final = "a page that it was tried on came out wrong: its structures are not those of ISA-L 2.31"
_MASK32: Final = 0xFFFFFFFF
_ZLIB_FORMAT: Final = 3  # IGZIP_ZLIB and ISAL_ZLIB: header and checksum are written, or read and verified
_CRC_FLAG: Final = 21172  # of inflate_state
# More than either structure has in any release: isal_zstream 82384, inflate_state about 87000.
_STRUCTURE: Final = 128 << 10
_SMALL, _LARGE = 86016, 282624  # ISAL_DEF_LVL1_SMALL and _LARGE: room for 16384 and 65536 symbols

# The state, in words: structure, function that prepares it, function that runs it, level, level buffer, its size.


@inline
def deflate(state: int, source: int, size: int, out: int, room: int) -> int:
    """isal_deflate_stateless."""
    stream = load64(state, 0)
    call1(load64(state, 8), stream)
    store64(stream, 0, source)
    store32(stream, 8, size)
    store64(stream, 16, out)
    store32(stream, 24, room)
    store32(stream, 40, load64(state, 24))
    store32(stream, 44, load64(state, 40))
    store64(stream, 48, load64(state, 32))
    store16(stream, 56, 1)
    store16(stream, 58, 0)
    store16(stream, 60, _ZLIB_FORMAT)
    if call1(load64(state, 16), stream) & _MASK32 != 0:
        return 0
    return load32(stream, 28)


@inline
def inflate(state: int, source: int, size: int, out: int, room: int) -> int:
    """isal_inflate_stateless."""
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


def open_deflate(level: int, page_size: int) -> State | None:
    """A compressor of level 0 or 1; None if there is no library, or none that can be believed."""
    symbols = ("isal_deflate_stateless_init", "isal_deflate_stateless")
    for name, library in libraries(_WHEEL, _SONAMES, symbols):
        size = 0 if level == 0 else _SMALL if page_size <= 16384 else _LARGE
        buffer = ctypes.create_string_buffer(size)
        state = _state(name, library, symbols, (level, ctypes.addressof(buffer), size))
        state.keep.append(buffer)
        if _trusted_deflate(state):
            return state
        PASSED[name] = _ODD
    return None


def open_inflate() -> State | None:
    """A decompressor; None if there is no library, or none that can be believed."""
    symbols = ("isal_inflate_init", "isal_inflate_stateless")
    for name, library in libraries(_WHEEL, _SONAMES, symbols):
        state = _state(name, library, symbols, ())
        if _trusted_inflate(state):
            return state
        PASSED[name] = _ODD
    return None


def _state(name: str, library: ctypes.CDLL, symbols: tuple[str, str], more: tuple[int, ...]) -> State:
    structure = ctypes.create_string_buffer(_STRUCTURE)
    functions = [address(library, symbol) for symbol in symbols]
    return State(f"ISA-L of {name}", words(ctypes.addressof(structure), *functions, *more), [library, structure])


def _trusted_deflate(state: State) -> bool:
    """Whether the sample comes out as a stream that zlib unpacks to the sample."""
    import zlib

    sample, packed = _sample(), ctypes.create_string_buffer(4096)
    size = deflate(state.address, _at(sample), len(sample), _at(packed), len(packed))
    decoder = zlib.decompressobj()
    try:
        return decoder.decompress(packed.raw[:size], 8192) == sample.raw and decoder.eof
    except zlib.error:
        return False


def _trusted_inflate(state: State) -> bool:
    """Whether the sample is unpacked, and refused with a wrong checksum."""
    import zlib

    sample, page = _sample(), ctypes.create_string_buffer(4096)
    packed = bytearray(zlib.compress(sample.raw, 1))
    for wanted in (len(sample), 0):
        source = ctypes.create_string_buffer(bytes(packed), len(packed))
        if inflate(state.address, _at(source), len(source), _at(page), len(page)) != wanted:
            return False
        packed[-1] ^= 1
    return page.raw == sample.raw


def _sample() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(bytes((i * i >> 5) & 0x7F for i in range(4096)), 4096)


def _at(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)
