"""Places for a writer's bytes: a file, a flattened stream, a pipe; see :class:`vmsieve.formats.outputs.Place`.

Belongs here: gathering of small writes, write order, torn marks, writeback. Does not: the content (``outputs``).

Writers alternate small pieces of page descriptors and data; places gather neighbours into big writes. These go out from
the highest offset down: headers and page descriptors point to data behind them, so a torn dump never points at missing
bytes. A format without pointers is written from the lowest offset up, so that a torn dump has no holes.
"""

from __future__ import annotations

import errno
import os
import stat
from abc import ABC, abstractmethod

from vmsieve.formats.errors import OutputError, output_error
from vmsieve.formats.layouts import flattened
from vmsieve.formats.places.writeback import Writeback
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from typing import Union

    Bytes = Union[bytes, bytearray, memoryview]

#: Bytes gathered in all runs before they are written. A larger batch of pages goes out as it is.
GATHERED = 64 * 1024
#: Runs gathered side by side: data, and page descriptors, of which a batch of scattered pages has many.
RUNS = 64

_ZEROS = bytes(64 * 1024)
#: Bytes reserved for the end of a flattened stream: the held status, the last byte, the end mark.
_CLOSING = 128


def _limited(name: str, offset: int) -> OutputError:
    """The error for a write beyond the size limit."""
    refusal = OutputError("the output has reached its size limit", file=name, offset=offset)
    refusal.errno = errno.EFBIG
    return refusal


class _Gathering(ABC):
    """Gathers small neighbouring writes into big ones."""

    def __init__(self, name: str, *, upward: bool) -> None:
        self._name = name
        self._upward = upward
        self._runs: list[tuple[int, bytearray, int]] = []
        self._gathered = 0
        self._size = 0

    @abstractmethod
    def _emit(self, offset: int, data: memoryview, unit: int) -> None:
        """Write one run."""

    def put(self, offset: int, data: Bytes, unit: int = 1) -> None:
        view = memoryview(data).cast("B")
        if len(view) >= GATHERED:
            self.flush()
            self._emit(offset, view, unit)
        elif view:
            self._gather(offset, view, unit)
            if self._gathered >= GATHERED:
                self.flush()

    def _gather(self, offset: int, data: memoryview, unit: int) -> None:
        for start, run, run_unit in self._runs:
            if start + len(run) == offset and run_unit == unit:
                run += data
                break
        else:
            if len(self._runs) == RUNS:
                self.flush()
            self._runs.append((offset, bytearray(data), unit))
        self._gathered += len(data)

    def flush(self) -> None:
        """Write what is gathered. After a failed run the rest is dropped, as it may point there."""
        runs, self._runs, self._gathered = self._runs, [], 0
        for offset, run, unit in sorted(runs, key=lambda s: s[0], reverse=not self._upward):
            self._emit(offset, memoryview(run), unit)

    def sync(self) -> None:
        self.flush()

    def extend(self, size: int) -> None:
        self._size = max(self._size, size)


class FilePlace(_Gathering):
    """A regular file or a block device: ``fd``, open for writing; it stays open.

    ``upward``: the format has no pointers, write from the lowest offset up. ``limit``: largest file size, holes
    included; bytes beyond are refused as by a full disk.
    """

    #: Bytes may be put twice: :meth:`settle` takes any.
    rewrites = True

    def __init__(self, fd: int, name: str, *, upward: bool = False, limit: int | None = None) -> None:
        super().__init__(name, upward=upward)
        self._fd = fd
        self._limit = limit
        self._writeback = Writeback(fd)

    def _emit(self, offset: int, data: memoryview, unit: int) -> None:
        done = 0
        allowed = len(data) if self._limit is None else min(len(data), max(0, self._limit - offset))
        try:
            while done < allowed:
                done += os.pwrite(self._fd, data[done:allowed], offset + done)
            self._writeback.wrote(done)
        except OSError as error:
            self._take_back(offset, done, unit)
            raise output_error(error, self._name, offset + done) from error
        if allowed < len(data):
            self._take_back(offset, done, unit)
            raise _limited(self._name, offset + done)

    def _take_back(self, offset: int, done: int, unit: int) -> None:
        """Zero a partially written record. It is within the file, so overwriting needs no space."""
        with suppress(OSError):
            os.pwrite(self._fd, bytes(done % unit), offset + done - done % unit)

    def sync(self) -> None:
        self.flush()
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise output_error(error, self._name, self._size) from error

    def hold(self, offset: int, torn: bytes, whole: bytes) -> None:  # noqa: ARG002 - a Place's signature
        self.put(offset, torn)

    def settle(self, offset: int, data: bytes) -> None:
        self.flush()
        self._lengthen()
        # Before the dump is marked complete: a power failure must not lose data that the mark covers, and fsync reports
        # the medium's late errors.
        self.sync()
        self._emit(offset, memoryview(data), 1)

    def finish(self) -> None:
        self.flush()
        self._lengthen()

    def _lengthen(self) -> None:
        size = self._size if self._limit is None else min(self._size, self._limit)
        try:
            status = os.fstat(self._fd)
            if stat.S_ISREG(status.st_mode) and status.st_size < size:
                os.ftruncate(self._fd, size)
        except OSError as error:
            raise output_error(error, self._name, self._size) from error


class Sender:
    """Sends bytes through ``write``, which returns the number taken, or None for all.

    After an interrupted send (error, signal) the number of bytes sent is unknown. Anything that followed would be
    misread, so nothing may follow. Beyond ``limit`` bytes one send is refused, whole, as by a full disk. Later sends
    are the end of the stream, for which callers have reserved space.
    """

    def __init__(self, write: Callable[[memoryview], int | None], name: str, limit: int | None = None) -> None:
        self._write = write
        self._name = name
        self._limit = limit
        self._broken = False
        self.sent = 0

    def send(self, *parts: Bytes) -> None:
        """Send all ``parts``, which belong together; raises OutputError also if an earlier send was interrupted."""
        if not any(parts):
            return
        if self._broken:
            raise OutputError("an earlier write to the output was interrupted", file=self._name, offset=self.sent)
        if self._limit is not None and self.sent + sum(map(len, parts)) > self._limit:
            self._limit = None
            raise _limited(self._name, self.sent)
        self._broken = True
        try:
            for part in parts:
                view = memoryview(part)
                while view:
                    taken = self._write(view)
                    taken = len(view) if taken is None else taken
                    self.sent += taken
                    view = view[taken:]
        except OSError as error:
            raise output_error(error, self._name, self.sent) from error
        self._broken = False


class FlattenedPlace(_Gathering):
    """A stream of pieces with their offsets, as ``makedumpfile -F`` writes it.

    Each byte is sent once and no pieces overlap, as not all readers let a later piece replace an earlier one. So held
    bytes are sent when they are settled.

    ``write`` is as for :class:`Sender`, ``upward`` as for :class:`FilePlace`; ``limit``: largest size of the stream.
    """

    def __init__(
        self, write: Callable[[memoryview], int | None], name: str, *, upward: bool = False, limit: int | None = None
    ) -> None:
        super().__init__(name, upward=upward)
        self._sender = Sender(write, name, None if limit is None else limit - _CLOSING)
        self._held: dict[int, bytes] = {}
        self._top = 0

    def _emit(self, offset: int, data: memoryview, unit: int) -> None:  # noqa: ARG002 - a stream can't take back
        self._begin()
        self._sender.send(flattened.PIECE.pack(offset=offset, buf_size=len(data)), data)
        self._top = max(self._top, offset + len(data))

    def _begin(self) -> None:
        if self._sender.sent == 0:
            header = flattened.HEADER.pack(
                signature=flattened.SIGNATURE, type=flattened.TYPE, version=flattened.VERSION
            )
            self._sender.send(header.ljust(flattened.HEADER_SIZE, b"\0"))

    def hold(self, offset: int, torn: bytes, whole: bytes) -> None:  # noqa: ARG002 - a Place's signature
        self._held[offset] = torn

    def settle(self, offset: int, data: bytes) -> None:
        self._held[offset] = data

    def finish(self) -> None:
        self.flush()
        for offset, data in self._held.items():
            self._emit(offset, memoryview(data), 1)
        if self._top < self._size:
            self._emit(self._size - 1, memoryview(b"\0"), 1)
        self._begin()
        self._sender.send(flattened.PIECE.format().pack(*flattened.END))


class PipePlace:
    """A plain stream, for formats written in ascending order of offset.

    It can't go back to mark a dump as torn, so it withholds the last byte, and a torn dump ends without it.

    ``write`` is as for :class:`Sender`; ``limit``: largest size of the stream.
    """

    def __init__(self, write: Callable[[memoryview], int | None], name: str, *, limit: int | None = None) -> None:
        self._sender = Sender(write, name, limit)
        self._hand = bytearray()
        self._at = 0
        self._size = 0
        self._torn = False
        self._held: dict[int, bytes] = {}

    def put(self, offset: int, data: Bytes, unit: int = 1) -> None:  # noqa: ARG002 - a stream can't take back
        """Put bytes; raises ValueError if ``offset`` is behind the stream's position: no pipe suits the format."""
        if offset < self._at:
            raise ValueError(f"offset {offset} of a pipe that is at {self._at}")
        self._fill(offset)
        self._take(memoryview(data).cast("B"))

    def _fill(self, offset: int) -> None:
        while self._at < offset:
            self._take(memoryview(_ZEROS)[: offset - self._at])

    def _take(self, data: memoryview) -> None:
        if self._hand and len(self._hand) + len(data) > GATHERED:
            hand, self._hand = self._hand, bytearray()
            self._sender.send(hand)
        self._hand += data
        self._at += len(data)

    def hold(self, offset: int, torn: bytes, whole: bytes) -> None:  # noqa: ARG002 - a Place's signature
        self.put(offset, whole)
        self._held[offset] = whole

    def settle(self, offset: int, data: bytes) -> None:
        self._torn |= data != self._held.pop(offset, None)

    def extend(self, size: int) -> None:
        self._size = max(self._size, size)

    def sync(self) -> None:
        """See :class:`vmsieve.formats.outputs.Place`."""
        self.flush()

    def flush(self) -> None:
        """Send all but the last byte."""
        hand, self._hand = self._hand, self._hand[-1:]
        self._sender.send(memoryview(hand)[: len(hand) - len(self._hand)])

    def finish(self) -> None:
        if self._torn or self._held:
            del self._hand[-1:]
        else:
            self._fill(self._size)
        hand, self._hand = self._hand, bytearray()
        self._sender.send(hand)
