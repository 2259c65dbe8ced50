"""State of the page cache before a run: warm, or cold, the same for both tools.

A file is warm if it was read once before, as far as it fits into memory. It is cold if its pages were dropped; files in
memory (tmpfs) can't be cold. The part that is resident is measured, not assumed.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from perf.measure import CommandError

_CHUNK: Final = 1 << 30
_READ: Final = 1 << 22
#: A file with more than this in the page cache is not cold.
_COLD: Final = 0.01
_DROP: Final = Path("/proc/sys/vm/drop_caches")


def resident(path: Path) -> float:
    """Return the part of a file that is in the page cache (mincore(2)), 0 to 1."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    found = pages = 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for at in range(0, size, _CHUNK):
            length = min(_CHUNK, size - at)
            count = -(-length // mmap.PAGESIZE)
            states = ctypes.create_string_buffer(count)
            address = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), at)
            if address == ctypes.c_void_p(-1).value:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
            failed = libc.mincore(address, length, states)
            libc.munmap(address, length)
            if failed:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
            # The least significant bit says it; the others are reserved.
            found += sum(states.raw.count(value) for value in range(1, 256, 2))
            pages += count
    return found / pages if pages else 1.0


def warm(path: Path) -> None:
    """Read a file once."""
    buffer = bytearray(_READ)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def drop(path: Path) -> None:
    """Drop a file from the page cache; with root, if that does not suffice, drop the whole page cache.

    Raises:
        CommandError: Much of it stays, as of a file in tmpfs or one that others have mapped.
    """
    with path.open("rb") as file:
        with suppress(OSError):
            os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(path) > _COLD:
        with suppress(OSError):
            _DROP.write_text("1", encoding="ascii")
    if (left := resident(path)) > _COLD:
        raise CommandError(f"{path} can't be dropped from the page cache: {left:.0%} of it is resident")
