"""Files mapped into memory: pages are read where the page cache or the crashed machine holds them.

A copy takes a twentieth of the time of the fastest codec. Of ``/proc/vmcore`` it takes more: its ``read`` maps and
unmaps each page (``copy_oldmem_page`` of arch/x86/kernel/crash_dump_64.c).

Touching a mapped page that is unavailable (medium error, file truncated) raises SIGBUS. In a :class:`Window`,
:mod:`~vmsieve.formats.bus_error` replaces it with zeros and :meth:`Window.lost` reports it: the result is discarded and
the range is read instead, which fails page by page with a reason. Without machine code nothing handles the signal, so
nothing is mapped.
"""

from __future__ import annotations

import ctypes
import mmap

from vmsieve.formats import bus_error
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.loops.bus_error import ANONYMOUS, FIXED, PRIVATE, READ
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    #: File descriptor, offset and bytes of a piece of a plain file; the descriptor is -1 for zeros.
    FilePiece = tuple[int, int, int]

# The same on all targets of the loops: asm-generic/mman-common.h, asm-generic/mman.h.
_WRITE: Final = 2
_POPULATE: Final = 0x8000
_FAILED: Final = (1 << 64) - 1


class Mappable(Protocol):
    """A source whose file can be mapped; see :class:`vmsieve.formats.source.Source`."""

    def file_pieces(self, paddr: int, size: int) -> list[FilePiece] | None: ...
    def shrunk(self) -> bool: ...


class Window:
    """Memory that pages are copied into, or files are mapped over."""

    _guard: bus_error.Guard | None = None

    def __init__(self, size: int, *, mapped: bool = True) -> None:
        """Reserve ``size`` bytes of zeros, allocated on first touch; ``mapped``: allow mapping of files."""
        self.raw = memoryview(anonymous(size))  # the memory; read-only while a file is mapped
        self.address = address_of(self.raw)  # its first byte
        self._guard = bus_error.guard(self.address, size) if mapped else None
        self._source: Mappable | None = None  # currently mapped

    def __del__(self) -> None:
        if self._guard is not None:
            self._guard.close()

    def map(self, source: Mappable, pieces: Iterable[tuple[int, int]]) -> bool:
        """Map pieces of physical memory (address, size) one behind the other; False: read them instead."""
        if self._guard is None or not self._guard.armed():
            return False
        at, self._source = self.address, source
        for paddr, size in pieces:
            found = source.file_pieces(paddr, size)
            if found is None:
                return False
            for fd, offset, length in found:
                if (offset | at) % mmap.PAGESIZE:
                    return False
                if not map_piece(fd, offset, length, at):
                    return False
                at += length
        return True

    def prefault(self, size: int) -> bool:
        """Prefault the first ``size`` bytes; True if all are available. For callers that can't repeat their work."""
        bytes(self.raw[: size : mmap.PAGESIZE])  # touches each page
        return not self.lost()

    def lost(self) -> bool:
        """True if mapped memory was unavailable, or may not be the file's: read it instead. Call it after the work.

        A truncated file reads as zeros up to the end of its last page without a signal, so its size is compared too.
        After that no more of it is mapped.
        """
        if self._guard is None or self._source is None:
            return False
        if self._source.shrunk():
            self._guard.close()
            self._guard = None
            return True
        return self._guard.lost()

    def writable(self) -> memoryview:
        """Unmap any file; return the memory for writing."""
        if self._source is not None:
            unmap(len(self.raw), self.address)
            self._source = None
        return self.raw


def anonymous(size: int) -> mmap.mmap:
    """Reserve ``size`` bytes of zeros, allocated on first touch."""
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


_found: Any = None


def _mmap() -> Any:
    """The C library's mmap: unlike :mod:`mmap`, it can replace a mapping (MAP_FIXED)."""
    global _found  # noqa: PLW0603 - looked up once
    if _found is None:
        found = ctypes.CDLL(None).mmap
        found.restype = ctypes.c_uint64
        found.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
        _found = found
    return _found


def map_piece(fd: int, offset: int, size: int, address: int) -> bool:
    """Map a piece of a file (-1: zeros) at ``address`` in a :class:`Window`, read-only, over the existing mapping.

    Returns False on failure, as if ``offset`` or ``address`` is not a multiple of this machine's page size; ``address``
    must then not be read. Unavailable pages show only when touched.
    """
    flags = PRIVATE | FIXED | (_POPULATE if fd >= 0 else ANONYMOUS)
    return bool(_mmap()(address, size, READ, flags, fd, offset) != _FAILED)


def unmap(size: int, address: int) -> None:
    """Undo :func:`map_piece` at ``address``: ``size`` bytes of zeros again.

    Raises MemoryError if there is no memory left; ``address`` must then not be touched.
    """
    if _mmap()(address, size, READ | _WRITE, PRIVATE | FIXED | ANONYMOUS, -1, 0) == _FAILED:
        raise MemoryError("mmap")
