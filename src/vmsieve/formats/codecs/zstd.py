"""zstd: one Zstandard frame per page, with content size, without checksum.

Levels 0 and 1 are loops of our own: level 1 is as small as libzstd's in two thirds of the time or less; level 0 is a
tenth larger in less than half of it (not libzstd's level 0, which is its default). Other levels come from libzstd, and
so does the unpacker. Its functions and numbers are of the stable part of ``zstd.h``.
"""

from __future__ import annotations

import ctypes

from vmsieve.formats.codecs import Codec, State
from vmsieve.formats.codecs._libraries import address, call_back, is_requested, libraries, open_context, words
from vmsieve.formats.compiler import inline
from vmsieve.formats.compiler.primitives import call4, call5, load64
from vmsieve.formats.errors import UsageError
from vmsieve.formats.loops.zstd import zstd_pack
from vmsieve.formats.loops.zstd_memory import constants, memory_size
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_WHEEL: Final = "zstandard/_cffi"
_SONAMES: Final = ("libzstd.so.1",)
_LEVEL, _CONTENT_SIZE, _CHECKSUM = 100, 200, 201  # ZSTD_c_compressionLevel, _contentSizeFlag, _checksumFlag
#: ZSTD_isError: higher results are negated error codes.
_ERROR: Final = (1 << 64) - 4096

# Words of the state: function, context (0: the function is a Python callback). Of our own compressor: 0, scratch
# memory, level, page size.


@inline
def compress_zstd(state: int, source: int, size: int, out: int, room: int) -> int:
    """Pack one frame with the state's provider."""
    if load64(state, 0) != 0:
        return run_zstd(state, source, size, out, room)
    if size > load64(state, 24):
        return 0
    return zstd_pack(load64(state, 8), load64(state, 16), source, size, out, room)


@inline
def run_zstd(state: int, source: int, size: int, out: int, room: int) -> int:
    """Call ZSTD_compress2, ZSTD_decompressDCtx, or the Python module."""
    context = load64(state, 8)
    if context == 0:
        return call4(load64(state, 0), source, size, out, room)
    done = call5(load64(state, 0), context, out, room, source, size)
    return 0 if done >= _ERROR else done


def _open_compressor(level: int, page_size: int) -> State:
    if level in (0, 1) and is_requested("built in"):
        memory = ctypes.create_string_buffer(constants("="), memory_size(page_size))
        return State("built in", words(0, ctypes.addressof(memory), level, page_size), [memory])
    level = level or 1  # the library's level 0 is its default
    parameters = {_LEVEL: level, _CONTENT_SIZE: 1, _CHECKSUM: 0}
    if state := _open("ZSTD_createCCtx", "ZSTD_freeCCtx", "ZSTD_compress2", parameters):
        return state
    compressor = _module().ZstdCompressor(level=level, write_content_size=True, write_checksum=False)
    return _slow(lambda data, _: compressor.compress(data))


def _open_decompressor(page_size: int) -> State:
    del page_size
    if state := _open("ZSTD_createDCtx", "ZSTD_freeDCtx", "ZSTD_decompressDCtx", {}):
        return state
    decompressor = _module().ZstdDecompressor()
    return _slow(lambda data, room: _expand(decompressor, data, room))


def _open(create: str, free: str, function: str, parameters: dict[int, int]) -> State | None:
    for name, library in libraries(_WHEEL, _SONAMES, (create, free, function)):
        context, close = open_context(library, create, free)
        if context == 0:
            raise MemoryError(create)
        for parameter, value in parameters.items():
            library.ZSTD_CCtx_setParameter(ctypes.c_void_p(context), parameter, value)
        version = library.ZSTD_versionString
        version.restype = ctypes.c_char_p
        state = words(address(library, function), context)
        return State(f"{name} {version().decode()}", state, [library], close)
    return None


def _module() -> Any:
    try:
        import zstandard
    except ImportError as error:
        why = "neither the zstandard package nor libzstd is installed"
        raise UsageError(why, hint="choose another codec") from error
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
    name="zstd", title="Zstandard frames", flag=0x20, option="z", default_level=1, levels=(-7, 19),
    compress=compress_zstd, decompress=run_zstd, open_compressor=_open_compressor, open_decompressor=_open_decompressor,
)  # fmt: skip
