"""Random access to the bytes of an input, however they are stored.

A format reads through :class:`ByteFile`, never through a path or a descriptor of its own, so that a container (a
flattened file, a compressed frame) can stand in for a plain file.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Protocol

from vmsieve.formats.errors import FormatError, ReadError, TruncatedError
from vmsieve.formats.mapping import map_file

__all__ = ["ByteFile", "PlainFile", "next_data", "read_as", "read_exactly", "read_memory", "seekable"]


class ByteFile(Protocol):
    """Bytes at offsets ``0 <= offset < size``. Safe to use from several threads at once."""

    name: str
    size: int

    def read_into(self, offset: int, out: memoryview) -> int:
        """Fill ``out`` from ``offset`` on; returns how many bytes there were: fewer only at the end of the file.

        Raises:
            ReadError: The medium fails; ``offset`` is the place in the file.
        """

    def close(self) -> None:
        """Give back what was opened."""


class PlainFile:
    """A regular file, block device or /proc file, read by position.

    Attributes:
        vmcore: It is ``/proc/vmcore``: memory of the machine that crashed, in its crash kernel.
    """

    def __init__(self, path: str) -> None:
        """Open ``path``; ``-``: standard input, which a file must be connected to.

        Raises:
            FormatError: It can't be opened, or has no positions (a pipe, a terminal, a directory).
        """
        self.name = path if path != "-" else "standard input"
        self._mappable = True
        self.vmcore = os.path.realpath(path) == "/proc/vmcore"
        try:
            # O_NONBLOCK: a named pipe that nobody writes to is refused below, not waited for.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK) if path != "-" else os.dup(0)
        except OSError as error:
            raise FormatError(f"can't open the input: {error.strerror}", file=path) from error
        try:
            if not seekable(self._fd):
                raise FormatError(
                    "the input can't be read at random positions", file=path, hint="save it to a file first"
                )
            self.size = os.lseek(self._fd, 0, os.SEEK_END)
            self._told = os.fstat(self._fd).st_size  # 0 of a device
        except OSError as error:
            os.close(self._fd)
            raise FormatError(f"can't tell the size of the input: {error.strerror}", file=path) from error
        except FormatError:
            os.close(self._fd)
            raise

    def read_into(self, offset: int, out: memoryview) -> int:
        """See :class:`ByteFile`."""
        size = min(len(out), self.size - offset)
        done = 0
        while done < size:
            try:
                got = os.preadv(self._fd, [out[done:size]], offset + done)
            except OSError as error:
                raise ReadError(
                    f"can't read the input: {error.strerror}", file=self.name, offset=offset + done
                ) from error
            if got == 0:
                break
            done += got
        return done

    def next_data(self, offset: int) -> int:
        """See :func:`next_data`: file systems know the holes of files."""
        try:
            return os.lseek(self._fd, offset, os.SEEK_DATA)
        except OSError as error:
            # EINVAL: this one does not, or it is a device.
            return self.size if error.errno == errno.ENXIO else offset

    def map_at(self, address: int, offset: int, size: int) -> bool:
        """Map ``size`` bytes from ``offset`` on to ``address``, in a :class:`mapping.Window`.

        Returns False where that can't be done: read instead, which says why.
        """
        if offset + size > self.size:
            return False
        # A file at odd offsets, for one. What fails once is not tried again for each batch.
        self._mappable = self._mappable and map_file(self._fd, offset, size, address)
        return self._mappable

    def shrunk(self) -> bool:
        """Whether the file has become shorter since it was opened."""
        return os.fstat(self._fd).st_size < self._told

    def close(self) -> None:
        """See :class:`ByteFile`."""
        os.close(self._fd)


def seekable(fd: int) -> bool:
    """Whether ``fd`` is something that can be read at random positions: a regular file or a block device."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISREG(mode) or stat.S_ISBLK(mode)


def next_data(file: ByteFile, offset: int) -> int:
    """Where bytes begin at or above ``offset`` that are not known to be zeros, or the end of the file."""
    known = getattr(file, "next_data", None)
    return min(int(known(offset)), file.size) if known is not None else offset


def read_as(file: ByteFile, place: int, out: memoryview, at: int, name: str) -> int:
    """Read from ``place`` of ``file`` on what a reader knows as the bytes of ``name`` from ``at`` on.

    Returns how many bytes there were, as :meth:`ByteFile.read_into`.

    Raises:
        ReadError: The medium fails; it tells of ``name``, and of where there.
    """
    try:
        return file.read_into(place, out)
    except ReadError as error:
        failed = at + (error.offset - place if error.offset is not None else 0)
        raise ReadError(error.message, file=name, offset=failed) from error


def read_memory(file: ByteFile, place: int, out: memoryview, paddr: int) -> None:
    """Fill ``out`` with the memory from ``paddr`` on, which is stored at ``place`` of ``file``.

    Raises:
        ReadError: The medium fails, or the file ends before; ``offset`` is the physical address.
    """
    got = read_as(file, place, out, paddr, file.name)
    if got < len(out):
        raise ReadError("the file has become shorter", file=file.name, offset=paddr + got)


def read_exactly(file: ByteFile, offset: int, size: int) -> bytes:
    """The ``size`` bytes at ``offset``; callers bound ``size`` first.

    Raises:
        TruncatedError: The file ends before.
        ReadError: The medium fails.
    """
    out = bytearray(size)
    got = file.read_into(offset, memoryview(out)) if 0 <= offset < file.size else 0
    if got != size:
        raise TruncatedError("the file ends too early", file=file.name, offset=offset, expected=size, found=got)
    return bytes(out)
