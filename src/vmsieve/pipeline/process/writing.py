"""The one way to write a file: everything that a command leaves behind is opened here.

* An input is never written to, whatever it is called: by another path, a link, a hard link, a bind mount, a descriptor,
  a loop device. A partition and its disk are one.
* What exists is not written to unless that was asked for. Devices that keep nothing (/dev/null, terminals) may be.
* A file is for its owner alone: a dump holds passwords and keys.
* A file is written beside its place, brought to its medium, and renamed: it is whole, or what was there before stays.
  A new dump has its name from the start, and is marked torn until it is whole: what is there of it can be read.

The first process of a capture loads this: it imports next to nothing, and raises OSError alone.
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

__all__ = [
    "BUSY", "Output", "RefusedError", "check_output", "check_stream", "open_output", "same_place", "sync_directory",
    "write_file",
]  # fmt: skip

#: A disk that can't be opened exclusively: EBUSY, see open(2), O_EXCL.
BUSY = "busy: mounted, or a part of LVM, RAID or the like"
_MODE = 0o600
#: Bytes of a file's name that the name it is written under has of it: with what follows, it must be no longer than 255.
_NAME = 200
#: Files that one process can have beside the same place: leftovers of processes that had its number are passed over.
_TRIES = 100
#: Devices that keep nothing: null, zero and full (drivers/char/mem.c), and the majors of terminals
#: (Documentation/admin-guide/devices.txt).
_SINKS, _TERMINALS = ((1, 3), (1, 5), (1, 7)), (4, 5, *range(136, 144))
#: Block devices by number (Documentation/ABI/stable/sysfs-block).
_DISKS = "/sys/dev/block"


class RefusedError(OSError):
    """What must not be written to: EEXIST, it exists; EBUSY, it is an input, or a disk in use."""


class Output:
    """Something that is open for writing.

    Attributes:
        path: As asked for.
        fd: Its descriptor.
        mode: Type of file, as ``st_mode`` has it.
        beside: It is written beside its place, where something else may be until :meth:`keep`.
    """

    def __init__(self, path: str, fd: int, made: str = "", place: str = "", *, force: bool = False) -> None:
        self.path = path
        self.fd = fd
        self.mode = os.fstat(fd).st_mode
        self.beside = made != place
        self._made, self._place, self._force = made, place, force
        self._kept = False

    def write(self, data: Bytes) -> None:
        """Write all of ``data``.

        Raises:
            OSError: It can't be.
        """
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]

    def keep(self) -> None:
        """Bring what was written to its medium, and give it its name. Once is enough.

        Raises:
            RefusedError: Something else has that name by now.
            OSError: The medium fails.
        """
        if self._kept:
            return
        if stat.S_ISREG(self.mode) or stat.S_ISBLK(self.mode):
            os.fsync(self.fd)
        self._kept = True
        if not self._made:
            return
        if self._made != self._place:
            _rename(self._made, self._place, force=self._force)
        made, self._made = self._made, ""
        sync_directory(os.path.dirname(made) or ".")

    def drop(self) -> None:
        """Remove what was made, unless it was kept: what was there before is there again."""
        if self._made:
            try:  # noqa: SIM105 - contextlib takes half a megabyte
                os.unlink(self._made)
            except OSError:
                pass
            self._made = ""

    def close(self) -> None:
        """Give back the descriptor."""
        os.close(self.fd)

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Keep it if all went well, else drop it."""
        try:
            if error is None:
                self.keep()
        finally:
            self.drop()
            self.close()


def open_output(
    path: str, inputs: Iterable[str] = (), *, force: bool = False, beside: bool = True, follow: bool = True,
    wait: bool = True,
) -> Output:  # fmt: skip
    """Open ``path`` for writing, with care for what is there.

    Args:
        path: A file to be made or replaced, a device, a FIFO, or a descriptor's pipe.
        inputs: The files that are read; ``-``: standard input.
        force: What exists may be replaced, or written to.
        beside: Also a new file is written beside its place.
        follow: The file that a symbolic link leads to is meant, not the link.
        wait: For a reader of a FIFO.

    Raises:
        RefusedError: It is an input, or exists, or is a disk in use.
        OSError: It can't be opened.
    """
    there = _allowed(path, inputs, force=force, follow=follow)
    if there is not None and not (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
        flags = (0 if wait else os.O_NONBLOCK) | (0 if follow else os.O_NOFOLLOW)
        return Output(path, _open_special(path, there, flags))
    place = os.path.realpath(path) if there is not None and follow else path
    if there is None and not beside:
        return Output(path, os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE), place, place)
    made, fd = _make_beside(place)
    return Output(path, fd, made, place, force=force)


def check_output(path: str, inputs: Iterable[str] = (), *, force: bool = False) -> None:
    """Raise what :func:`open_output` would raise, as far as that can be told without making anything."""
    if _allowed(path, inputs, force=force, follow=True) is None:
        folder = os.path.dirname(path) or "."
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)


def check_stream(fd: int, inputs: Iterable[str]) -> None:
    """Raise RefusedError if what is written to ``fd``, standard output, changes an input."""
    there = os.fstat(fd)
    if any(_harms(there, one) for one in inputs):
        raise RefusedError(errno.EBUSY, "the output is the input")


def write_file(path: str, data: Bytes, inputs: Iterable[str] = (), *, force: bool = False, follow: bool = True) -> None:
    """Let ``path`` hold ``data``, or what it held before; a FIFO that nobody reads is not waited for.

    Raises:
        OSError: It can't be done; see :func:`open_output`.
    """
    with open_output(path, inputs, force=force, follow=follow, wait=False) as output:
        output.write(data)


def _allowed(path: str, inputs: Iterable[str], *, force: bool, follow: bool) -> os.stat_result | None:
    """What is at ``path`` and may be written to or replaced; None: nothing is there.

    Raises:
        RefusedError: It may not.
        OSError: It can't be looked at, or can't be made.
    """
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
    if not force and not _keeps_nothing(path, there):
        raise RefusedError(errno.EEXIST, "the output exists already")
    if stat.S_ISREG(there.st_mode) and follow and not _same(there, os.path.realpath(path)):
        # A descriptor of a file that was deleted.
        raise RefusedError(errno.ENOENT, "the output is a file without a name: it can't be replaced")
    return there


def _harms(there: os.stat_result, path: str) -> bool:
    """Whether writing to ``there`` changes the input at ``path``."""
    try:
        one = os.fstat(0) if path == "-" else os.stat(path)
    except OSError:
        return False
    if stat.S_ISCHR(there.st_mode):
        return False
    here, other = _places(there), _places(one)
    return here[0] in other or other[0] in here


def _places(found: os.stat_result) -> list[object]:
    """What holds the bytes of ``found``: itself, and the disk that it is a partition of."""
    return _disks(found.st_rdev) if stat.S_ISBLK(found.st_mode) else [(found.st_dev, found.st_ino)]


def _disks(number: int) -> list[object]:
    """As :func:`_places`, of a block device; instead of a loop device, the file behind it."""
    entry = os.path.realpath(f"{_DISKS}/{os.major(number)}:{os.minor(number)}")
    try:
        if behind := _line(f"{entry}/loop/backing_file"):
            return _places(os.stat(behind))
        if _line(f"{entry}/partition"):
            major, minor = map(int, _line(f"{os.path.dirname(entry)}/dev").split(b":"))
            return [number, *_disks(os.makedev(major, minor))]
    except (OSError, ValueError):
        pass  # the kernel tells something else, or the file is gone
    return [number]


def _line(path: str) -> bytes:
    """The line that a file of sysfs holds; empty: there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read().rstrip(b"\n")
    except FileNotFoundError:
        return b""


def _keeps_nothing(path: str, there: os.stat_result) -> bool:
    """Whether there is nothing that could be overwritten: a sink, a terminal, a pipe without a name."""
    if stat.S_ISCHR(there.st_mode):
        major = os.major(there.st_rdev)
        return major in _TERMINALS or (major, os.minor(there.st_rdev)) in _SINKS
    # /dev/fd/63 of a shell's >(command): its link is no path.
    return stat.S_ISFIFO(there.st_mode) and not os.path.lexists(os.path.realpath(path))


def _same(there: os.stat_result, path: str) -> bool:
    try:
        return os.path.samestat(there, os.stat(path))
    except OSError:
        return False


def _open_special(path: str, there: os.stat_result, flags: int) -> int:
    flags |= os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY
    if stat.S_ISBLK(there.st_mode):
        # Not one that is mounted, or a part of another disk: open(2), O_EXCL.
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


def _make_beside(place: str) -> tuple[str, int]:
    """Make a file in the directory of ``place``; returns its path, and a descriptor."""
    folder, name = os.path.split(place)
    start = os.path.join(folder, os.fsdecode(os.fsencode(name)[:_NAME])) + f".incomplete-{os.getpid()}"
    for number in range(1, _TRIES + 1):
        made = start if number == 1 else f"{start}-{number}"
        try:
            return made, os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        except FileExistsError:
            if number == _TRIES:
                raise
    raise AssertionError


def _rename(made: str, place: str, *, force: bool) -> None:
    """Give the file ``made`` the name ``place``; without ``force``, only if nobody has taken that by now."""
    if not force:
        try:
            os.link(made, place)
        except FileExistsError:
            raise RefusedError(errno.EEXIST, "the output exists already") from None
        except OSError:
            # A file system without hard links. In between, somebody could make it; nobody waits for that.
            if os.path.lexists(place):
                raise RefusedError(errno.EEXIST, "the output exists already") from None
        else:
            os.unlink(made)
            return
    os.rename(made, place)


def same_place(one: str, other: str) -> bool:
    """Whether two outputs are one: the same file, or, if it is not there yet, the same name in the same directory."""
    here, there = _identity(one), _identity(other)
    return here == there and here is not None


def _identity(path: str) -> object:
    """Tells outputs apart, whatever they are called; None for a device that any number may be written to."""
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
    """Bring the names in a directory to their medium; not all file systems know how, and those need not."""
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
