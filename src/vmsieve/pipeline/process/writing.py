"""Opens files for writing, for all commands.

* An input is never written to, also not by another path, a link, a hard link, a bind mount, a file descriptor, or a
  loop device. A partition and its disk count as one file.
* Existing files are not overwritten unless that was asked for. Devices that store nothing (/dev/null, terminals) are
  always written to.
* Only the owner has access: a dump holds passwords and keys.
* A file is written under another name, synced, and renamed: it is complete, or the old file is still there. A new dump
  has its name from the start and is marked torn until it is whole, so that a partial one can be read.

The first process of a capture loads this module: it imports next to nothing, and raises only OSError.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Union

    Bytes = Union[bytes, bytearray, memoryview]

#: A disk that can't be opened exclusively: EBUSY, see open(2), O_EXCL.
BUSY = "busy: mounted, or a part of LVM, RAID or the like"
_MODE = 0o600
#: Bytes of a file's name used in its temporary name, which must not exceed 255 with its suffix.
_NAME = 200
#: Temporary names to try for one file: earlier processes with the same number may have left some.
_TRIES = 100
#: Devices that store nothing: null, zero and full (drivers/char/mem.c), and the majors of terminals
#: (Documentation/admin-guide/devices.txt).
_SINKS, _TERMINALS = ((1, 3), (1, 5), (1, 7)), (4, 5, *range(136, 144))
#: Block devices by number (Documentation/ABI/stable/sysfs-block).
_DISKS = "/sys/dev/block"


class RefusedError(OSError):
    """The output must not be written to: it exists (EEXIST), or it is an input or a disk in use (EBUSY)."""


class Output:
    """A file, device or stream that is open for writing; ``path``: as the user named it."""

    def __init__(self, path: str, fd: int, made: str = "", final: str = "", *, force: bool = False) -> None:
        self.path, self.fd, self.mode = path, fd, os.fstat(fd).st_mode
        self.beside = made != final  # it has a temporary name until keep()
        self._made, self._final, self._force = made, final, force
        self._kept = False

    def write(self, data: Bytes) -> None:
        """Write all of ``data``; raises OSError."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]

    def keep(self) -> None:
        """Sync the file and give it its name; does nothing when called again. RefusedError: the name was taken."""
        if self._kept:
            return
        if stat.S_ISREG(self.mode) or stat.S_ISBLK(self.mode):
            os.fsync(self.fd)
        self._kept = True
        if not self._made:
            return
        if self._made != self._final:
            _rename(self._made, self._final, force=self._force)
        made, self._made = self._made, ""
        sync_directory(os.path.dirname(made) or ".")

    def drop(self) -> None:
        """Remove the file, unless it was kept; a file that it was to replace is unchanged."""
        if self._made:
            try:  # noqa: SIM105 - contextlib takes half a megabyte
                os.unlink(self._made)
            except OSError:
                pass
            self._made = ""

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Keep the file; after an exception, drop it."""
        try:
            if error is None:
                self.keep()
        finally:
            self.drop()
            self.close()


def open_output(
    path: str,  # a file to create or replace, a device, a FIFO, or the pipe of a file descriptor
    inputs: Iterable[str] = (),  # the files that are read; "-": standard input
    *,
    force: bool = False,  # replace an existing file, or write to an existing device
    beside: bool = True,  # write a new file, too, under a temporary name
    follow: bool = True,  # replace the file that a symbolic link leads to, not the link
    wait: bool = True,  # wait for a reader of a FIFO
) -> Output:
    """Open ``path`` for writing; raises RefusedError if it is an input, exists, or is a disk in use, or OSError."""
    there = _allowed(path, inputs, force=force, follow=follow)
    if there is not None and not (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
        flags = (0 if wait else os.O_NONBLOCK) | (0 if follow else os.O_NOFOLLOW)
        return Output(path, _open_special(path, there, flags))
    final = os.path.realpath(path) if there is not None and follow else path
    if there is None and not beside:
        return Output(path, os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE), final, final)
    made, fd = _make_beside(final)
    return Output(path, fd, made, final, force=force)


def check_output(path: str, inputs: Iterable[str] = (), *, force: bool = False) -> None:
    """Raise what :func:`open_output` would raise, as far as that is known without creating a file."""
    if _allowed(path, inputs, force=force, follow=True) is None:
        folder = os.path.dirname(path) or "."
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)


def check_stream(fd: int, inputs: Iterable[str]) -> None:
    """Raise RefusedError if writing to ``fd``, standard output, would change an input."""
    there = os.fstat(fd)
    if any(_harms(there, one) for one in inputs):
        raise RefusedError(errno.EBUSY, "the output is the input")


def write_file(path: str, data: Bytes, inputs: Iterable[str] = (), *, force: bool = False, follow: bool = True) -> None:
    """Write a whole file; a device or FIFO in place. Raises as :func:`open_output`, also if a FIFO has no reader."""
    with open_output(path, inputs, force=force, follow=follow, wait=False) as output:
        output.write(data)


def _allowed(path: str, inputs: Iterable[str], *, force: bool, follow: bool) -> os.stat_result | None:
    """The status of ``path``, which may be written to or replaced; None if it does not exist; raises OSError."""
    try:
        there = os.stat(path, follow_symlinks=follow)
    except FileNotFoundError:
        if not os.path.basename(path):
            raise
        if os.path.lexists(path):
            raise RefusedError(errno.EEXIST, "the output is a symbolic link that leads to nothing") from None
        return None
    if any(_harms(there, one) for one in inputs):
        raise RefusedError(errno.EBUSY, "the output is the input")
    if stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not force and not _stores_nothing(path, there):
        raise RefusedError(errno.EEXIST, "the output exists already")
    if stat.S_ISREG(there.st_mode) and follow and not _same(there, os.path.realpath(path)):
        # The file descriptor (/dev/fd) of a deleted file.
        raise RefusedError(errno.ENOENT, "the output is a file without a name: it can't be replaced")
    return there


def _harms(there: os.stat_result, path: str) -> bool:
    """True if writing to ``there`` changes the input at ``path``."""
    try:
        one = os.fstat(0) if path == "-" else os.stat(path)
    except OSError:
        return False
    if stat.S_ISCHR(there.st_mode):
        return False
    here, other = _storage(there), _storage(one)
    return here[0] in other or other[0] in here


def _storage(found: os.stat_result) -> list[object]:
    """Identify what stores the bytes of ``found``: itself, and for a partition also its disk."""
    return _disks(found.st_rdev) if stat.S_ISBLK(found.st_mode) else [(found.st_dev, found.st_ino)]


def _disks(number: int) -> list[object]:
    """As :func:`_storage`, for a block device; for a loop device, its backing file."""
    entry = os.path.realpath(f"{_DISKS}/{os.major(number)}:{os.minor(number)}")
    try:
        if behind := _line(f"{entry}/loop/backing_file"):
            return _storage(os.stat(behind))
        if _line(f"{entry}/partition"):
            major, minor = map(int, _line(f"{os.path.dirname(entry)}/dev").split(b":"))
            return [number, *_disks(os.makedev(major, minor))]
    except (OSError, ValueError):
        pass  # sysfs has another form, or the file is gone
    return [number]


def _line(path: str) -> bytes:
    """The line in a sysfs file; empty if there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read().rstrip(b"\n")
    except FileNotFoundError:
        return b""


def _stores_nothing(path: str, there: os.stat_result) -> bool:
    """True if nothing can be overwritten: a sink, a terminal, an unnamed pipe."""
    if stat.S_ISCHR(there.st_mode):
        major = os.major(there.st_rdev)
        return major in _TERMINALS or (major, os.minor(there.st_rdev)) in _SINKS
    # /dev/fd/63 of a shell's >(command): the link target is not a path.
    return stat.S_ISFIFO(there.st_mode) and not os.path.lexists(os.path.realpath(path))


def _same(there: os.stat_result, path: str) -> bool:
    try:
        return os.path.samestat(there, os.stat(path))
    except OSError:
        return False


def _open_special(path: str, there: os.stat_result, flags: int) -> int:
    flags |= os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY
    if stat.S_ISBLK(there.st_mode):
        # Fails for a device that is mounted or part of another one: open(2), O_EXCL.
        flags |= os.O_EXCL
    try:
        fd = os.open(path, flags)
    except OSError as error:
        if stat.S_ISBLK(there.st_mode) and error.errno == errno.EBUSY:
            raise RefusedError(errno.EBUSY, f"the disk is {BUSY}") from error
        raise
    if os.path.samestat(os.fstat(fd), there):
        return fd
    os.close(fd)
    raise RefusedError(errno.EBUSY, "the output was replaced while it was opened")


def _make_beside(final: str) -> tuple[str, int]:
    """Create a file with a temporary name beside ``final``; returns its path and file descriptor."""
    folder, name = os.path.split(final)
    start = os.path.join(folder, os.fsdecode(os.fsencode(name)[:_NAME])) + f".incomplete-{os.getpid()}"
    for number in range(1, _TRIES + 1):
        made = start if number == 1 else f"{start}-{number}"
        try:
            return made, os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        except FileExistsError:
            if number == _TRIES:
                raise
    raise AssertionError


def _rename(made: str, final: str, *, force: bool) -> None:
    """Rename ``made`` to ``final``; without ``force``, only if that name is still free."""
    if not force:
        try:
            os.link(made, final)
        except FileExistsError:
            raise RefusedError(errno.EEXIST, "the output exists already") from None
        except OSError:
            # A file system without hard links. Between check and rename another process could take the name: accepted.
            if os.path.lexists(final):
                raise RefusedError(errno.EEXIST, "the output exists already") from None
        else:
            os.unlink(made)
            return
    os.rename(made, final)


def same_output(one: str, other: str) -> bool:
    """True if two outputs are the same file or, before it exists, the same name in the same directory."""
    here, there = _identity(one), _identity(other)
    return here == there and here is not None


def _identity(path: str) -> object:
    """A key of an output that does not depend on its path; None for a character device, which takes several outputs."""
    try:
        found = os.fstat(1) if path == "-" else os.stat(path)
    except OSError:
        pass
    else:
        if stat.S_ISCHR(found.st_mode):
            return None
        return found.st_rdev if stat.S_ISBLK(found.st_mode) else (found.st_dev, found.st_ino)
    try:
        folder = os.stat(os.path.dirname(path) or ".")
    except OSError:
        return path
    return folder.st_dev, folder.st_ino, os.path.basename(path)


def sync_directory(path: str) -> None:
    """Sync the names in a directory; file systems that can't are ignored."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)


def open_standard_fds() -> None:
    """Reopen file descriptors 0 to 2 if they are closed: a file opened later would get our messages."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            try:
                os.open(os.devnull, os.O_RDWR)
            except OSError:
                os.open("/", os.O_RDONLY)  # without /dev; a directory can't be written to either
