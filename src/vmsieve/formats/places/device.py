"""A flattened stream on a block device, always terminated.

The device keeps old content behind a new stream. Pieces of flattened dumps are of similar sizes, so a reader could run
from a torn stream into pieces of the last crash and take both for one dump. Hence each piece is written in this order:
data, a blank behind it, which no reader takes for a piece, then the head that makes it valid.
"""

from __future__ import annotations

import os

from vmsieve.formats.layouts import flattened
from vmsieve.formats.slim.contexts import suppress

_BLANK = bytes(flattened.PIECE.size)


class DeviceStream:
    """Takes a flattened stream as :class:`vmsieve.formats.places.FlattenedPlace` sends it: each head by itself.

    ``fd`` is the device, open for writing, positioned at the stream's start.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = os.lseek(fd, 0, os.SEEK_CUR)
        self._head: bytes | None = None
        self._left = flattened.HEADER_SIZE

    def write(self, data: memoryview) -> int:
        """Write the next bytes of the stream; return the number taken. If it fails, the stream before it has an end."""
        if not self._left:
            return self._begin_piece(data)
        if self._head is None:
            self._blank(self._at + self._left)
        taken = os.pwrite(self._fd, data[: self._left], self._at)
        self._at += taken
        self._left -= taken
        if not self._left and self._head is not None:
            self._blank(self._at)
            os.pwrite(self._fd, self._head, self._at - self._size - len(self._head))
        return taken

    def _begin_piece(self, data: memoryview) -> int:
        head = bytes(data[: flattened.PIECE.size])
        offset, size = flattened.PIECE.format().unpack(head)
        if (offset, size) == flattened.END:
            return os.pwrite(self._fd, head, self._at)
        self._head, self._size, self._left = head, size, size
        self._at += len(head)
        return len(head)

    def _blank(self, at: int) -> None:
        # Fails at the end of the device, where no old piece can follow.
        with suppress(OSError):
            os.pwrite(self._fd, _BLANK, at)
