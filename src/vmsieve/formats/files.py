"""Random access to the bytes of an input, however they are stored.

A format reads through :class:`ByteFile`, never through a path or file descriptor, so that a container (a flattened
file, a compressed frame) can replace a plain file.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import stat

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.errors import FormatError, ReadError, TruncatedError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.formats.holes import Holes
    from vmsieve.formats.mapping import FilePiece

#: Bytes that a regular file lacks on its medium if it is worth looking for holes.
_SPARSE = 1 << 20
#: Bytes that are read ahead by one call.
_READAHEAD = 128 << 10
#: Pieces of which the first byte is read, to see whether they are cached.
_SAMPLES = 8


class ByteFile(Protocol):
    """Bytes at offsets ``0 <= offset < size``. Safe to use from several threads at once."""

    name: str
    size: int

    def read_into(self, offset: int, out: memoryview) -> int:
        """Fill ``out`` from ``offset`` on; return bytes read, fewer only at the end of the file.

        Raises ReadError with the position in the file if the medium fails.
        """

    def close(self) -> None:
        """Release the resources."""


class PlainFile:
    """A regular file, block device or /proc file, read with pread."""

    def __init__(self, path: str) -> None:
        """Open ``path``, which must be seekable: no pipe, terminal, directory. ``-``: standard input, from a file."""
        self.name = path if path != "-" else "standard input"
        #: The file is ``/proc/vmcore``: memory of the crashed machine, in its crash kernel.
        self.vmcore = os.path.realpath(path) == "/proc/vmcore"
        try:
            # O_NONBLOCK: a FIFO without a writer is refused below instead of blocking.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK) if path != "-" else os.dup(0)
        except OSError as error:
            hint = "URLs are not read: download it first" if "://" in path else None
            raise FormatError(f"can't open the input: {error.strerror}", file=path, hint=hint) from error
        try:
            if stat.S_ISDIR(os.fstat(self._fd).st_mode):
                inside = os.path.join(path, "vmcore")
                hint = f"name the dump in it{f': {inside}' if os.path.exists(inside) else ''}"
                raise FormatError("a directory, not a dump", file=path, hint=hint)
            if not seekable(self._fd):
                raise FormatError("the input is not seekable", file=path, hint="save it to a file first")
            self.size = os.lseek(self._fd, 0, os.SEEK_END)
            self._at_open = os.fstat(self._fd)
        except OSError as error:
            os.close(self._fd)
            raise FormatError(f"can't find the size of the input: {error.strerror}", file=path) from error
        except FormatError:
            os.close(self._fd)
            raise
        #: The file may have holes.
        self.sparse = not self.vmcore and self._at_open.st_size - self._at_open.st_blocks * 512 >= _SPARSE
        self._holes: Holes | None = None
        self._refuses = False  # to read ahead
        self._tells = True  # what is cached
        self._bytes_read = 0

    def holes(self, start: int, end: int) -> Iterable[tuple[int, int]]:
        """The parts of the file's holes within ``start .. end``, as start and end; short holes are left out."""
        if not self.sparse:
            return ()
        if self._holes is None:
            # Imported here: /proc/vmcore has none.
            from vmsieve.formats.holes import Holes

            self._holes = Holes(self._fd, self._at_open, lambda at: seek_data(self._fd, at, self.size))
        return self._holes.within(start, end)

    def read_into(self, offset: int, out: memoryview) -> int:
        out = out[: max(self.size - offset, 0)]
        if self._is_hole(offset, offset + len(out)):
            clear(out)  # a read would fill the page cache with zeros
            return len(out)
        return read_at(self._fd, offset, out, self.name)

    def _is_hole(self, start: int, end: int) -> bool:
        """True if ``start .. end`` is a hole; small reads are not worth the question."""
        return self.sparse and end - start >= mmap.PAGESIZE and (start, end) in self.holes(start, end)

    def next_data(self, offset: int) -> int:
        """See :func:`next_data`."""
        found = seek_data(self._fd, offset, self.size)
        return offset if self.shrunk() else found

    def pieces(self, offset: int, size: int) -> list[FilePiece] | None:
        """A part of the file for mapping or reading it, with holes as zeros; None if it is not all there."""
        end = offset + size
        if end > self.size:
            return None
        found: list[FilePiece] = []
        at = offset
        for start, stop in self.holes(offset, end) if self.sparse and offset % mmap.PAGESIZE == 0 else ():
            low, high = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, stop // mmap.PAGESIZE * mmap.PAGESIZE
            if low < high:
                found += [(self._fd, at, low - at), (-1, 0, high - low)]
                at = high
        found.append((self._fd, at, end - at))
        return [piece for piece in found if piece[2]]

    def descriptor(self, end: int) -> int | None:
        """The file descriptor, to read up to offset ``end`` with pread.

        None beyond the end, and for devices and files of /proc: ``read`` of ``/proc/vmcore`` maps and unmaps each page.
        """
        on_disk = stat.S_ISREG(self._at_open.st_mode) and self._at_open.st_blocks > 0
        return self._fd if on_disk and not self.vmcore and end <= self.size else None

    def will_read(self, pieces: list[tuple[int, int]]) -> bool:
        """Start to read ``pieces`` (offset, size) into the page cache, unless they are there.

        Returns False if that is impossible, now and later.
        """
        if self.vmcore or self._refuses:
            return False
        try:
            if not self._is_cached(pieces):
                for offset, size in pieces:
                    # The kernel reads no more at a time than the device's readahead, or its largest request.
                    for at in range(offset, offset + size, _READAHEAD):
                        os.posix_fadvise(self._fd, at, min(_READAHEAD, offset + size - at), os.POSIX_FADV_WILLNEED)
        except OSError:
            self._refuses = True
        return not self._refuses

    def _is_cached(self, pieces: list[tuple[int, int]]) -> bool:
        """True if a sample of ``pieces`` is in the page cache.

        If the file system does not tell (tmpfs, NFS): if this process has read nothing from a medium since the last
        call. OSError: the kernel does not tell that either.
        """
        try:
            for offset, _ in pieces[:: max(1, len(pieces) // _SAMPLES)] if self._tells else ():
                os.preadv(self._fd, [bytearray(1)], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except (OSError, AttributeError):  # AttributeError: a C library without preadv2
            self._tells = False
        if self._tells:
            return True
        before, self._bytes_read = self._bytes_read, bytes_read()
        return before == self._bytes_read

    def shrunk(self) -> bool:
        """True if the file has become shorter since it was opened."""
        return os.fstat(self._fd).st_size < self._at_open.st_size  # 0 for a device

    def close(self) -> None:
        os.close(self._fd)


def seekable(fd: int) -> bool:
    """True if ``fd`` is a regular file or a block device."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISREG(mode) or stat.S_ISBLK(mode)


def read_at(fd: int, offset: int, out: memoryview, name: str, failure: str = "can't read the input") -> int:
    """As :meth:`ByteFile.read_into`, from ``fd``, which is called ``name``; ``failure`` is the error's message."""
    done = 0
    try:
        while done < len(out) and (got := os.preadv(fd, [out[done:]], offset + done)):
            done += got
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or "there is no such address"
        raise ReadError(f"{failure}: {why}", file=name, offset=offset + done) from error
    return done


def clear(out: memoryview) -> None:
    """Fill ``out`` with zeros, without an object of its size."""
    if out:
        ctypes.memset(address_of(out), 0, len(out))


def bytes_read() -> int:
    """Bytes that this process has read from media."""
    with open("/proc/self/io", "rb") as file:
        return int(file.read().partition(b"\nread_bytes: ")[2].partition(b"\n")[0] or 0)


def seek_data(fd: int, offset: int, size: int) -> int:
    """Find data at or above ``offset`` by the file system's map of holes; ``size`` if there is none."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        # EINVAL: a device, or a file system without SEEK_DATA.
        return size if error.errno == errno.ENXIO else offset


def next_data(file: ByteFile, offset: int) -> int:
    """Find the first byte at or above ``offset`` that may be other than zero; else the end of the file."""
    known = getattr(file, "next_data", None)
    return min(int(known(offset)), file.size) if known is not None else offset


def file_pieces(file: ByteFile, offset: int, size: int) -> list[FilePiece] | None:
    """A part of a plain file (:meth:`vmsieve.formats.source.Source.file_pieces`); None of other files."""
    pieces = getattr(file, "pieces", None)
    return pieces(offset, size) if pieces is not None else None


def read_as(file: ByteFile, place: int, out: memoryview, at: int, name: str) -> int:
    """Read ``file`` from ``place`` on; a ReadError names ``name``, and the offset if it begins at ``at``."""
    try:
        return file.read_into(place, out)
    except ReadError as error:
        failed = at + (error.offset - place if error.offset is not None else 0)
        raise ReadError(error.message, file=name, offset=failed) from error


def read_memory(file: ByteFile, place: int, out: memoryview, paddr: int) -> None:
    """Fill ``out`` with memory from ``paddr`` on, stored at ``place``; a ReadError has the physical address."""
    got = read_as(file, place, out, paddr, file.name)
    if got < len(out):
        raise ReadError("the file has become shorter", file=file.name, offset=paddr + got)


def read_exactly(file: ByteFile, offset: int, size: int) -> bytes:
    """Read ``size`` bytes at ``offset``; raises TruncatedError if the file ends before. Callers bound ``size``."""
    out = bytearray(size)
    got = file.read_into(offset, memoryview(out)) if 0 <= offset < file.size else 0
    if got != size:
        raise TruncatedError("the file ends too early", file=file.name, offset=offset, expected=size, found=got)
    return bytes(out)
