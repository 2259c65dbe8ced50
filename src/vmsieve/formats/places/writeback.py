"""What is written and not yet on the medium is kept small, so that a dump leaves memory to others.

A process that writes faster than the medium fills memory with dirty pages until the kernel stops it, and everybody
else who writes (Documentation/admin-guide/sysctl/vm.rst, ``dirty_ratio``). In a crash kernel that memory is needed.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

__all__ = ["LEAST", "Writeback", "available", "bound"]

#: Bytes on their way to the medium that are always allowed.
LEAST: Final = 16 << 20
_SHARE: Final = 8  # of the available memory, one part of so many
_MEMINFO: Final = "/proc/meminfo"
# sync_file_range(2): wait for what is on its way already, then start on the rest.
_WAIT_BEFORE, _WRITE = 1, 2


class Writeback:
    """Watches one file that is being written.

    Args:
        fd: The file. Of pipes and the like, and where the C library can't do it, nothing is watched.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._since = 0
        self._step = LEAST // 2
        self._steps = 0

    def wrote(self, size: int) -> None:
        """``size`` more bytes were written; may wait for the medium.

        Raises:
            OSError: The medium failed to take what was written before.
        """
        self._since += size
        if self._since < self._step:
            return
        self._since = 0
        self._steps += 1
        if self._steps == 1:
            # Now that this is no small file: the first half of what is allowed.
            self._step = bound(available()) // 2
        failed = _push(self._fd)
        if failed in (errno.ENOSYS, errno.ESPIPE, errno.EINVAL, errno.EBADF):
            self._step = 1 << 62
        elif failed and failed != errno.EINTR:
            raise OSError(failed, os.strerror(failed))


def bound(available: int) -> int:
    """Bytes that may be on their way to the medium, given those of available memory (0: not known)."""
    return max(LEAST, available // _SHARE)


def _push(fd: int) -> int:
    """Wait for what was pushed last time and push the rest; 0, or the error number."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
    if function is None:
        return errno.ENOSYS
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return 0 if function(fd, 0, 0, _WAIT_BEFORE | _WRITE) == 0 else ctypes.get_errno()


def available() -> int:
    """MemAvailable of this machine in bytes, 0 if it does not say."""
    try:
        with open(_MEMINFO, "rb") as file:
            for line in file:
                if line.startswith(b"MemAvailable:"):
                    return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return 0
