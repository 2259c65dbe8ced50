"""A bound on dirty pages, so that a dump leaves memory to others.

A process that writes faster than the medium fills memory with dirty pages until the kernel throttles it and every other
writer (Documentation/admin-guide/sysctl/vm.rst, ``dirty_ratio``). A crash kernel needs that memory.
"""

from __future__ import annotations

import ctypes
import errno
import os

from vmsieve.formats.slim.typing import Final

#: Dirty bytes that are always allowed.
LEAST: Final = 16 << 20
_SHARE: Final = 8  # divisor of the available memory
_MEMINFO: Final = "/proc/meminfo"
# sync_file_range(2): wait for writes in progress, then start the others.
_WAIT_BEFORE, _WRITE = 1, 2


class Writeback:
    """Throttles the writer of one file; no effect on pipes and the like, or without sync_file_range."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._since = 0
        self._step = LEAST // 2
        self._steps = 0

    def wrote(self, size: int) -> None:
        """Account for ``size`` more bytes; may wait for the medium, or raise OSError if that failed earlier."""
        self._since += size
        if self._since < self._step:
            return
        self._since = 0
        self._steps += 1
        if self._steps == 1:
            # Deferred to here: small files do not need /proc/meminfo. Half, as two steps may be in flight.
            self._step = bound(available()) // 2
        failed = _push(self._fd)
        if failed in (errno.ENOSYS, errno.ESPIPE, errno.EINVAL, errno.EBADF):
            self._step = 1 << 62
        elif failed and failed != errno.EINTR:
            raise OSError(failed, os.strerror(failed))


def bound(available: int) -> int:
    """Dirty bytes allowed with ``available`` bytes of memory (0: unknown)."""
    return max(LEAST, available // _SHARE)


def _push(fd: int) -> int:
    """Wait for the last push and start the next; return 0 or the error number."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
    if function is None:
        return errno.ENOSYS
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return 0 if function(fd, 0, 0, _WAIT_BEFORE | _WRITE) == 0 else ctypes.get_errno()


def available() -> int:
    """MemAvailable of this machine in bytes, 0 if unknown."""
    try:
        with open(_MEMINFO, "rb") as file:
            for line in file:
                if line.startswith(b"MemAvailable:"):
                    return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return 0
