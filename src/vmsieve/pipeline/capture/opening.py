"""Opens the target of a capture. Loaded in children only.

Nothing that lies in a directory is believed. One that others can write to gets a directory of root's alone within it,
and what a capture writes goes through its descriptor, wherever others move it.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time

from vmsieve.pipeline.capture.child import OPENING
from vmsieve.pipeline.capture.target import DUMP, RECORD, Target
from vmsieve.pipeline.capture.status import of_root_alone
from vmsieve.pipeline.process.writing import BUSY
from vmsieve.pipeline.process.writing import open_output, sync_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmsieve.pipeline.capture.child import Board
    from vmsieve.pipeline.capture.options import Request

__all__ = ["in_memory", "open_target", "refuse_in_use", "reopen"]

#: File systems that end with the machine; an initramfs is the first, or the second.
_IN_MEMORY = (b"rootfs", b"tmpfs", b"ramfs", b"devtmpfs")
#: Names that are tried for a new directory.
_TRIES = 100
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: What says that somebody else has the name, or had: a link, a file, a directory, one that is gone.
_TAKEN = (errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)


def open_target(request: Request, board: Board) -> Target:
    """The target that ``request`` names; a directory is made if it is not there.

    Raises:
        OSError: It can't be written to.
        ValueError: It is a file.
    """
    same = bool(request.status) and os.path.realpath(request.status) == os.path.realpath(request.input)
    notes = [f"{request.status} is the input: the record goes beside the dump"] if same else []
    asked = os.path.abspath(request.status) if request.status and not same else ""
    if request.target == "-":
        if sys.__stdout__ is None:
            raise OSError(errno.EBADF, "it was closed when the capture began")
        return Target("-", "stream", asked, notes)
    try:
        mode = os.stat(request.target).st_mode
    except FileNotFoundError:
        # The end of a link that leads to nothing is made as any directory is.
        place = os.path.realpath(request.target)
        if place.startswith("/dev/") or os.path.abspath(request.target).startswith("/dev/"):
            # A disk that is not there: a directory in its place would be in memory.
            raise
        os.makedirs(place, 0o700)
        mode = stat.S_IFDIR
    if stat.S_ISREG(mode):
        raise ValueError(f"{request.target}: a capture takes a directory, which it makes if need be, not a file")
    if stat.S_ISDIR(mode):
        return _directory(request, asked, notes)
    if stat.S_ISBLK(mode):
        refuse_in_use(request.target)
    target = Target(request.target, "device" if stat.S_ISBLK(mode) else "stream", asked, notes)
    if stat.S_ISFIFO(mode):
        target.held = _read_by_someone(request.target, min(request.stall, request.deadline or request.stall), board)
    return target


def refuse_in_use(path: str) -> None:
    """Refuse a disk that is mounted or a part of another one: it holds what the dump would destroy. open(2), O_EXCL."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            error.strerror = f"it is {BUSY}"
        raise


def _read_by_someone(path: str, patience: float, board: Board) -> int:
    """A descriptor that keeps the reader of a FIFO there, from one step to the next.

    Raises:
        OSError: Nobody opens its other end for ``patience`` seconds.
    """
    until = time.monotonic() + patience
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() >= until:
                raise OSError(errno.ENXIO, "nobody reads from it") from error
        board.tell(OPENING, 0, 0)
        time.sleep(0.1)


def _directory(request: Request, asked: str, notes: list[str]) -> Target:
    """The target itself, or a new directory in it if others can write to it, or it holds anything, or is locked."""
    path = os.path.abspath(request.target)
    fd = os.open(path, _DIRECTORY)
    shared = not (of_root_alone(os.fstat(fd)) and _leads_to(path, fd))
    fresh = shared or request.stamp or not _lock(fd) or any(one.startswith(DUMP) for one in os.listdir(fd))
    if fresh:
        path, fd = _own(path, fd, _stamp())
    if shared:
        notes = [*notes, f"others can write to {request.target}: all goes to {path}, which is new"]
    if os.path.basename(asked).startswith(DUMP) and _is_folder_of(asked, fd):
        # By no name does the record take the place of a dump or a log.
        asked = ""
    medium = os.fstat(fd).st_dev
    target = Target(path, "directory", asked, notes, medium, volatile=in_memory(medium), held=fd)
    if not fresh:
        target.enter()
        target.probe()
    return target


def _is_folder_of(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(os.path.dirname(path)), os.fstat(fd))
    except OSError:
        return False


def reopen(target: Target) -> Target:
    """The directory of ``target``, which was removed, made anew on the same medium.

    Raises:
        OSError: It can't be made.
    """
    parent, name = os.path.split(os.path.abspath(target.path))
    above = os.open(parent, _DIRECTORY)
    if os.fstat(above).st_dev != target.medium:
        raise OSError(errno.ESTALE, "its medium is gone")
    path, fd = _own(parent, above, name)
    return Target(path, "directory", target.asked, target.notes, target.medium, volatile=target.volatile, held=fd)


def _leads_to(path: str, fd: int) -> bool:
    """Whether ``path`` is the directory, or a link of root's: where a link of others leads is their choice."""
    there = os.lstat(path)
    return there.st_uid in (0, os.geteuid()) if stat.S_ISLNK(there.st_mode) else os.path.samestat(there, os.fstat(fd))


def _lock(fd: int) -> bool:
    """Lock a directory; False if another process has the lock."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except OSError as error:
        # A file system without locks: one that another machine would have to use at the same time.
        return error.errno != errno.EWOULDBLOCK
    return True


def _own(parent: str, above: int, name: str) -> tuple[str, int]:
    """Make a directory in ``parent``, whose descriptor is ``above``; returns its path and descriptor.

    Raises:
        OSError: It can't be made.
    """
    for number in range(_TRIES):
        chosen = f"{name}-{os.urandom(4).hex()}" if number else name
        try:
            os.mkdir(chosen, 0o700, dir_fd=above)
            fd = os.open(chosen, _DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
        except OSError as error:
            if error.errno in _TAKEN:
                continue
            raise
        if _is_ours(fd):
            sync_directory(parent)
            os.close(above)
            return os.path.join(parent, chosen), fd
        os.close(fd)
    raise FileExistsError(errno.EEXIST, "others take each name for a directory", parent)


def _is_ours(fd: int) -> bool:
    """Whether a directory is new and ours; it holds an empty record then, so that others can't remove it.

    Ours is what belongs to the owner of what we make there: a server may have another one for what root does.
    """
    os.fchdir(fd)
    try:
        made = open_output(RECORD, beside=False)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    ours = os.fstat(made.fd).st_uid == os.fstat(fd).st_uid and os.listdir(".") == [RECORD]
    if ours and os.fstat(fd).st_mode & 0o077:
        # A file system that knows no permissions, or an empty directory of root's that was moved here.
        os.fchmod(fd, 0o700)
    if ours:
        made.keep()
    made.drop()
    made.close()
    return ours


def _stamp() -> str:
    """A name for a directory as kdump names it, but for the host's address, which may not be known."""
    host = os.uname().nodename.replace("/", "_")
    # What the kernel calls itself as long as nobody gave it a name.
    host = host if host not in ("", "(none)") else "localhost"
    return f"{host}-{time.strftime('%Y-%m-%d-%H:%M:%S')}"


def in_memory(device: int) -> bool:
    """Whether what is on ``device`` is in this machine's memory: nothing was mounted where a disk should be."""
    wanted = f"{os.major(device)}:{os.minor(device)}".encode()
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            kinds = [line.partition(b" - ")[2].split()[0] for line in file if line.split()[2] == wanted]
    except (OSError, IndexError):
        return False
    return any(kind in _IN_MEMORY for kind in kinds)
