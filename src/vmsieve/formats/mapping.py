"""Files mapped into memory: page data are read where the page cache, or the crashed machine, has them.

Copying takes a twentieth of the time of the fastest codec. Of ``/proc/vmcore`` more: its ``read`` maps and unmaps every
page by itself (``copy_oldmem_page`` of arch/x86/kernel/crash_dump_64.c).

A mapped page that can't be had (the medium fails, the file has become shorter) is a SIGBUS where it is touched. Within
a :class:`Window`, :mod:`~vmsieve.formats.bus_error` turns it into zeros, and :meth:`Window.lost` says so: what was made
of them is thrown away, and the same is read, which fails page by page and says why. Where there is no machine code,
nothing catches the signal, and nothing is mapped.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import TYPE_CHECKING, Any, Final, Protocol

from vmsieve.formats import bus_error
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.loops.bus_error import ANONYMOUS, FIXED, PRIVATE, READ

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Window", "anonymous", "map_file", "map_nothing"]

# The same on all machines that kernels are lowered for: asm-generic/mman-common.h, asm-generic/mman.h.
_WRITE: Final = 2
_POPULATE: Final = 0x8000
_FAILED: Final = (1 << 64) - 1


class Mappable(Protocol):
    """A source of pages whose file can be mapped; see :class:`vmsieve.formats.source.Source`."""

    def map_at(self, address: int, paddr: int, size: int) -> bool:
        """Map physical memory ``paddr`` to ``address``; False if it must be read instead."""

    def shrunk(self) -> bool:
        """True if the file has become shorter since it was opened."""


class Window:
    """Memory that pages are copied to, or files are mapped to.

    Attributes:
        raw: The memory; where a file is mapped, to be read only.
        address: Of its first byte.
    """

    _guard: bus_error.Guard | None = None

    def __init__(self, size: int, *, mapped: bool = True) -> None:
        """Get ``size`` bytes of zeros, which take no room until they are touched; ``mapped``: files may be mapped."""
        self.raw = memoryview(anonymous(size))
        self.address = address_of(self.raw)
        self._guard = bus_error.guard(self.address, size) if mapped else None
        self._source: Mappable | None = None  # that is mapped

    def __del__(self) -> None:
        if self._guard is not None:
            self._guard.close()

    def map(self, source: Mappable, pieces: Iterable[tuple[int, int]]) -> bool:
        """Map physical memory, address and size of each piece, one behind the other; False: read it instead."""
        if self._guard is None or not self._guard.armed():
            return False
        at, self._source = self.address, source
        for paddr, size in pieces:
            if not source.map_at(at, paddr, size):
                return False
            at += size
        return True

    def there(self, size: int) -> bool:
        """Whether the first ``size`` bytes of what is mapped are there now, for those who can't do their work twice."""
        bytes(self.raw[: size : mmap.PAGESIZE])  # touches each page
        return not self.lost()

    def lost(self) -> bool:
        """Whether any of what is mapped could not be had, or may not be the file's: read it instead.

        To be asked when the work on it is done. A file that has become shorter is zeros from its end to the end of that
        page, without a signal; no more of it is mapped.
        """
        if self._guard is None or self._source is None:
            return False
        if self._source.shrunk():
            self._guard.close()
            self._guard = None
            return True
        return self._guard.lost()

    def copies(self) -> memoryview:
        """The memory with nothing mapped to it, to be written to."""
        if self._source is not None:
            map_nothing(len(self.raw), self.address)
            self._source = None
        return self.raw


def anonymous(size: int) -> mmap.mmap:
    """``size`` bytes of zeros, which take no room until they are touched."""
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


_found: Any = None


def _mmap() -> Any:
    """The C library's mmap, which can put a mapping over another."""
    global _found  # noqa: PLW0603 - looked for once
    if _found is None:
        found = ctypes.CDLL(None).mmap
        found.restype = ctypes.c_uint64
        found.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
        _found = found
    return _found


def map_file(fd: int, offset: int, size: int, address: int) -> bool:
    """Map a piece of a file over what is mapped at ``address``, to be read only.

    Args:
        fd: The file.
        offset: First byte; like ``address`` a multiple of this machine's page size, or it fails.
        size: Bytes. Pages that are not there show when they are touched.
        address: In a :class:`Window`, with ``size`` bytes at least from there on.

    Returns:
        False where that can't be done. Then nothing must be read at ``address``.
    """
    return bool(_mmap()(address, size, READ, PRIVATE | FIXED | _POPULATE, fd, offset) != _FAILED)


def map_nothing(size: int, address: int) -> None:
    """Take back what :func:`map_file` did at ``address``: there are ``size`` bytes of zeros again.

    Raises:
        MemoryError: There is no memory for that. Then nothing must be touched at ``address``.
    """
    if _mmap()(address, size, READ | _WRITE, PRIVATE | FIXED | ANONYMOUS, -1, 0) == _FAILED:
        raise MemoryError("mmap")
