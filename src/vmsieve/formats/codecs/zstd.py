"""zstd: one Zstandard frame per page, with content size, without checksum.

Functions and numbers are of the stable part of ``zstd.h``.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

from vmsieve.formats.codecs import Codec, State
from vmsieve.formats.codecs._libraries import address, call_back, libraries, words
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import call4, call5, load64
from vmsieve.formats.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

_WHEEL: Final = "zstandard/_cffi"
_SONAMES: Final = ("libzstd.so.1",)
_LEVEL, _CONTENT_SIZE, _CHECKSUM = 100, 200, 201  # ZSTD_c_compressionLevel, _contentSizeFlag, _checksumFlag
#: ZSTD_isError: higher results are negated error codes.
_ERROR: Final = (1 << 64) - 4096

# Words of the state: function, context (0: the function is a Python callback).


@inline
def _run(state: int, source: int, size: int, out: int, room: int) -> int:
    context = load64(state, 8)
    if context == 0:
        return call4(load64(state, 0), source, size, out, room)
    done = call5(load64(state, 0), context, out, room, source, size)
    return 0 if done >= _ERROR else done


@inline
def compress_zstd(state: int, source: int, size: int, out: int, room: int) -> int:
    """Call ZSTD_compress2, or the Python module."""
    return _run(state, source, size, out, room)


@inline
def decompress_zstd(state: int, source: int, size: int, out: int, room: int) -> int:
    """Call ZSTD_decompressDCtx, or the Python module."""
    return _run(state, source, size, out, room)


def _open_compressor(level: int, page_size: int) -> State:
    del page_size
    for name, library in libraries(_WHEEL, _SONAMES, ("ZSTD_createCCtx", "ZSTD_freeCCtx", "ZSTD_compress2")):
        context = _create(library, "ZSTD_createCCtx")
        set_parameter = library.ZSTD_CCtx_setParameter
        set_parameter.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
        for parameter, value in ((_LEVEL, level), (_CONTENT_SIZE, 1), (_CHECKSUM, 0)):
            set_parameter(context, parameter, value)
        return _state(name, library, "ZSTD_compress2", context, "ZSTD_freeCCtx")
    module = _module()
    compressor = module.ZstdCompressor(level=level, write_content_size=True, write_checksum=False)
    return _slow(lambda data, _: compressor.compress(data))


def _open_decompressor(page_size: int) -> State:
    del page_size
    for name, library in libraries(_WHEEL, _SONAMES, ("ZSTD_createDCtx", "ZSTD_freeDCtx", "ZSTD_decompressDCtx")):
        context = _create(library, "ZSTD_createDCtx")
        return _state(name, library, "ZSTD_decompressDCtx", context, "ZSTD_freeDCtx")
    decompressor = _module().ZstdDecompressor()
    return _slow(lambda data, room: _expand(decompressor, data, room))


def _create(library: ctypes.CDLL, symbol: str) -> int:
    create = getattr(library, symbol)
    create.restype = ctypes.c_void_p
    context: int | None = create()
    if context is None:
        raise MemoryError(symbol)
    return context


def _state(name: str, library: ctypes.CDLL, function: str, context: int, free: str) -> State:
    version = library.ZSTD_versionString
    version.restype = ctypes.c_char_p
    release = getattr(library, free)
    release.argtypes = [ctypes.c_void_p]
    return State(
        provider=f"{name} {version().decode()}",
        words=words(address(library, function), context),
        keep=[library],
        close=lambda: release(context),
    )


def _module() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise UsageError(
            "neither the zstandard package nor libzstd is installed", hint="choose another codec"
        ) from error
    return zstandard


def _slow(function: Callable[[bytes, int], bytes]) -> State:
    where, keep = call_back(function)
    return State("python zstandard", words(where, 0), [keep])


def _expand(decompressor: Any, data: bytes, room: int) -> bytes:
    """Unpack a frame whose size is checked before memory is allocated."""
    import zstandard

    size = zstandard.frame_content_size(data)
    if not 0 < size <= room:
        raise ValueError("not the content of one page")
    content: bytes = decompressor.decompress(data, max_output_size=size)
    return content


CODEC = Codec(
    name="zstd",
    title="Zstandard frames",
    flag=0x20,
    option="z",
    default_level=1,
    levels=(-7, 19),
    compress=compress_zstd,
    decompress=decompress_zstd,
    open_compressor=_open_compressor,
    open_decompressor=_open_decompressor,
)
