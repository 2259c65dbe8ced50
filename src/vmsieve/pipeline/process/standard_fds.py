"""Descriptors: 0 to 2, which a process may be started without; and disks that are not to be had."""

from __future__ import annotations

import os

__all__ = ["BUSY", "fill_standard"]

#: What a disk is that can't be opened for itself alone: EBUSY, see open(2), O_EXCL.
BUSY = "busy: mounted, or a part of LVM, RAID or the like"


def fill_standard() -> None:
    """Open those of 0 to 2 that are closed on nothing: else a file that is opened later takes their place.

    Messages would end up in it. Where there is no /dev/null, a directory does: it can't be written to either.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            try:
                os.open(os.devnull, os.O_RDWR)
            except OSError:
                os.open("/", os.O_RDONLY)
