"""A flattened stream on a block device, whose end can be told at any moment.

What a device held before does not go away when a new stream is written over its beginning. Pieces of flattened dumps
are much alike in size: where a new stream broke off, a reader could go on with the pieces of the last crash, and take
both together for one dump. So a piece's data are written first, then a blank behind them, which no reader takes for a
piece, and then the head that makes them count.
"""

from __future__ import annotations

import os

from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.layouts import flattened

__all__ = ["DeviceStream"]

_BLANK = bytes(flattened.PIECE.size)


class DeviceStream:
    """Takes a flattened stream as :class:`vmsieve.formats.places.FlattenedPlace` sends it: each head by itself.

    Args:
        fd: The device, open for writing, positioned where the stream shall begin.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = os.lseek(fd, 0, os.SEEK_CUR)
        self._head: bytes | None = None
        self._left = flattened.HEADER_SIZE

    def write(self, data: memoryview) -> int:
        """Take the next bytes of the stream; returns how many.

        Raises:
            OSError: They can't be written. What was there before them still ends as it should.
        """
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
        # At the end of the device there is nothing to be mistaken for.
        with suppress(OSError):
            os.pwrite(self._fd, _BLANK, at)
