"""Files mapped into memory: page data are read where the page cache, or the crashed machine, has them.

Copying takes a twentieth of the time of the fastest codec. Of ``/proc/vmcore`` more: its ``read`` maps and unmaps every
page by itself (``copy_oldmem_page`` of arch/x86/kernel/crash_dump_64.c).

A mapped page that can't be had ends the process with SIGBUS. So the pages are asked for when they are mapped
(MADV_POPULATE_READ, Linux 5.14), which says so in time; where that is not known, files are not mapped.
``/proc/vmcore`` is, always: its pages are the machine's, not a medium's.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any, Final

__all__ = ["anonymous", "map_file", "map_nothing"]

# The same on all machines that kernels are lowered for: asm-generic/mman-common.h.
_READ: Final = 1
_WRITE: Final = 2
_PRIVATE, _FIXED, _ANONYMOUS = 2, 16, 32
_POPULATE_READ: Final = 22
_FAILED: Final = (1 << 64) - 1


def anonymous(size: int) -> mmap.mmap:
    """``size`` bytes of zeros, which take no room until they are touched."""
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


_found: tuple[Any, Any] | None = None


def _library() -> tuple[Any, Any]:
    """The C library's mmap and madvise, which can put a mapping over another."""
    global _found  # noqa: PLW0603 - looked for once
    if _found is None:
        _found = _look()
    return _found


def _look() -> tuple[Any, Any]:
    library = ctypes.CDLL(None, use_errno=True)
    mmap_, madvise = library.mmap, library.madvise
    mmap_.restype = ctypes.c_uint64
    mmap_.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return mmap_, madvise


def map_file(fd: int, offset: int, size: int, address: int, *, populate: bool) -> int:
    """Map a piece of a file over what is mapped at ``address``, to be read only.

    Args:
        fd: The file.
        offset: First byte; like ``address`` a multiple of this machine's page size, or it fails.
        size: Bytes; all of them are in the file.
        address: Of memory from :func:`anonymous`, ``size`` bytes at least.
        populate: Make sure that every page is there; else the caller knows.

    Returns:
        0, or the error number. Then nothing must be read at ``address``.
    """
    map_, advise = _library()
    if map_(address, size, _READ, _PRIVATE | _FIXED, fd, offset) == _FAILED:
        return ctypes.get_errno()
    if populate and advise(address, size, _POPULATE_READ):
        return ctypes.get_errno()
    return 0


def map_nothing(size: int, address: int) -> None:
    """Take back what :func:`map_file` did at ``address``: there are ``size`` bytes of zeros again.

    Raises:
        MemoryError: There is no memory for that. Then nothing must be touched at ``address``.
    """
    map_, _ = _library()
    if map_(address, size, _READ | _WRITE, _PRIVATE | _FIXED | _ANONYMOUS, -1, 0) == _FAILED:
        raise MemoryError("mmap")
