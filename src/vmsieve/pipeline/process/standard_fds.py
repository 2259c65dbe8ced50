"""File descriptors 0 to 2, which a process may be started without."""

from __future__ import annotations

import os

__all__ = ["open_standard_fds"]


def open_standard_fds() -> None:
    """Open /dev/null as each of 0 to 2 that is closed: the next file opened would get its number, and our messages.

    Where there is no /dev/null, the root directory serves: it can't be written to either.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            try:
                os.open(os.devnull, os.O_RDWR)
            except OSError:
                os.open("/", os.O_RDONLY)
