"""zlib: one complete zlib stream per page (RFC 1950), known to every reader of kdump files.

Levels 0 and 1 are loops of our own: level 1 is as small as zlib's in a quarter of the time; level 0 is an eighth larger
in a ninth of the time (not "stored"). No library is faster at these sizes. Higher levels come from libdeflate or zlib.
Pages are unpacked by libdeflate, ISA-L or zlib, in order of speed.
"""

from __future__ import annotations

import ctypes

from vmsieve.formats.codecs import Codec, State, _isal
from vmsieve.formats.codecs._isal import inflate
from vmsieve.formats.codecs._libraries import address, call_back, is_requested, libraries, open_context, words
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import call1, call2, call4, call5, call6, load32, load64, store32, store64
from vmsieve.formats.errors import UsageError
from vmsieve.formats.loops.deflate import deflate_fast, deflate_pack
from vmsieve.formats.loops.deflate_memory import constants, fast_constants, memory_size
from vmsieve.formats.slim.typing import Any, Final

_MASK32: Final = 0xFFFFFFFF
_LIBDEFLATE: Final = ("libdeflate.so.0",)
_LIBZ: Final = ("libz.so.1",)
_FINISH, _STREAM_END = 4, 1  # zlib.h: Z_FINISH, Z_STREAM_END
_STREAM: Final = 112  # size of z_stream on a 64-bit machine

# Words of the state: provider, then its own words.
_OWN, _FAST, _PYTHON, _ISAL, _DEFLATE, _ZLIB = 0, 1, 2, 3, 4, 5


@inline
def compress_zlib(state: int, source: int, size: int, out: int, room: int) -> int:
    """Pack one stream with the state's provider."""
    kind = load64(state, 0)
    if kind <= _FAST:
        if size > load64(state, 16):
            return 0
        if kind == _FAST:
            return deflate_fast(load64(state, 8), source, size, out, room)
        return deflate_pack(load64(state, 8), source, size, out, room)
    if kind == _DEFLATE:
        return call5(load64(state, 8), load64(state, 16), source, size, out, room)
    if kind == _ZLIB:
        return _run_zlib(state + 8, source, size, out, room)
    return call4(load64(state, 8), source, size, out, room)


@inline
def decompress_zlib(state: int, source: int, size: int, out: int, room: int) -> int:
    """Unpack one stream and verify its checksum."""
    kind = load64(state, 0)
    if kind == _ISAL:
        return inflate(state + 8, source, size, out, room)
    if kind == _DEFLATE:
        done = state + 24
        if call6(load64(state, 8), load64(state, 16), source, size, out, room, done) & _MASK32 != 0:
            return 0
        return load64(done, 0)
    if kind == _ZLIB:
        return _run_zlib(state + 8, source, size, out, room)
    return call4(load64(state, 8), source, size, out, room)


@inline
def _run_zlib(own: int, source: int, size: int, out: int, room: int) -> int:
    """Reset a z_stream and run it over one page. ``own``: words of stream, reset function, run function."""
    stream = load64(own, 0)
    call1(load64(own, 8), stream)
    store64(stream, 0, source)
    store32(stream, 8, size)
    store64(stream, 24, out)
    store32(stream, 32, room)
    if call2(load64(own, 16), stream, _FINISH) & _MASK32 != _STREAM_END:
        return 0
    return room - load32(stream, 32)


def _open_compressor(level: int, page_size: int) -> State:
    if level <= 1 and is_requested("built in"):
        return _open_own(level, page_size)
    level = max(level, 1)  # the libraries' level 0 is "stored"
    return _open_libdeflate(level) or _open_libz(level) or _open_python(level)


def _open_decompressor(page_size: int) -> State:
    del page_size
    return _open_libdeflate(None) or _open_isal(_isal.open_inflate()) or _open_libz(None) or _open_python(None)


def _open_own(level: int, page_size: int) -> State:
    start = constants("=") if level else fast_constants("=")
    memory = ctypes.create_string_buffer(start, memory_size(page_size))
    return State("built in", words(_OWN if level else _FAST, ctypes.addressof(memory), page_size), [memory])


def _open_isal(state: State | None) -> State | None:
    return None if state is None else State(state.provider, words(_ISAL, *state.words), state.keep)


def _open_libdeflate(level: int | None) -> State | None:
    """Open libdeflate's compressor of ``level``, or its decompressor for None."""
    side = "decompress" if level is None else "compress"
    symbols = (f"libdeflate_alloc_{side}or", f"libdeflate_free_{side}or", f"libdeflate_zlib_{side}")
    for name, library in libraries("", _LIBDEFLATE, symbols):
        context, close = open_context(library, *symbols[:2], *([] if level is None else [level]))
        if context:
            return State(name, words(_DEFLATE, address(library, symbols[2]), context, 0), [library], close)
    return None


def _open_libz(level: int | None) -> State | None:
    """Open zlib's compressor of ``level``, or its decompressor for None; one stream serves all pages."""
    side = "inflate" if level is None else "deflate"
    for name, library in libraries("", _LIBZ, ("zlibVersion", f"{side}Init_", f"{side}Reset", side, f"{side}End")):
        version, end = library.zlibVersion, getattr(library, f"{side}End")
        version.restype = ctypes.c_char_p
        end.argtypes = [ctypes.c_void_p]
        stream = ctypes.create_string_buffer(_STREAM)
        if getattr(library, f"{side}Init_")(stream, *([] if level is None else [level]), version(), _STREAM) == 0:
            functions = [address(library, f"{side}Reset"), address(library, side)]
            state = words(_ZLIB, ctypes.addressof(stream), *functions)
            return State(f"{name} {version().decode()}", state, [library, stream], lambda: end(stream))  # noqa: B023
    return None


def _open_python(level: int | None) -> State:
    try:
        import zlib
    except ImportError as error:
        raise UsageError("no zlib is installed", hint="choose another codec") from error
    run: Any = _expand if level is None else lambda data, _: zlib.compress(data, level)
    where, keep = call_back(run)
    return State("python zlib", words(_PYTHON, where), [keep])


def _expand(data: bytes, room: int) -> bytes:
    import zlib

    decoder = zlib.decompressobj()
    content = decoder.decompress(data, room + 1)  # with one byte to spare it reads on to the checksum
    if not decoder.eof:
        raise ValueError("the stream is cut off, or longer than a page")
    return content


CODEC = Codec(
    name="zlib", title="zlib streams", flag=0x1, option="c", default_level=1, levels=(0, 9), compress=compress_zlib,
    decompress=decompress_zlib, open_compressor=_open_compressor, open_decompressor=_open_decompressor,
)  # fmt: skip
