"""Opens the target of a capture. Loaded in children only.

The contents of a directory are not trusted. In one that others can write to, a new directory for root alone is made,
and the capture writes through its file descriptor, wherever others move it.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time

from vmsieve.pipeline.capture.child import OPENING
from vmsieve.pipeline.capture.status import of_root_alone
from vmsieve.pipeline.capture.target import DUMP, RECORD, Target
from vmsieve.pipeline.process.writing import BUSY, open_output, sync_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmsieve.pipeline.capture.child import Board
    from vmsieve.pipeline.capture.options import Request

#: File systems in memory; an initramfs is rootfs or tmpfs.
_IN_MEMORY = (b"rootfs", b"tmpfs", b"ramfs", b"devtmpfs")
_TRIES = 100  # names to try for a new directory
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: Errors that show that another process took, or removed, a name: link, file, directory.
_TAKEN = (errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)


def open_target(request: Request, board: Board) -> Target:
    """Open the target of ``request``; a missing directory is created. Raises ValueError for a regular file."""
    same = bool(request.status) and os.path.realpath(request.status) == os.path.realpath(request.input)
    notes = [f"{request.status} is the input: the record goes beside the dump"] if same else []
    asked = os.path.abspath(request.status) if request.status and not same else ""
    if request.target == "-":
        if sys.__stdout__ is None:
            raise OSError(errno.EBADF, "standard output was closed when the capture began")
        return Target("-", "stream", asked, notes)
    try:
        mode = os.stat(request.target).st_mode
    except FileNotFoundError:
        # A dangling link is followed, and the directory that it names is created.
        path = os.path.realpath(request.target)
        if path.startswith("/dev/") or os.path.abspath(request.target).startswith("/dev/"):
            # A missing disk: a directory of its name would be in memory (devtmpfs).
            raise
        os.makedirs(path, 0o700)
        mode = stat.S_IFDIR
    if stat.S_ISREG(mode):
        raise ValueError(f"{request.target}: a capture takes a directory, which it creates if missing, not a file")
    if stat.S_ISDIR(mode):
        return _directory(request, asked, notes)
    if stat.S_ISBLK(mode):
        refuse_in_use(request.target)
    target = Target(request.target, "device" if stat.S_ISBLK(mode) else "stream", asked, notes)
    if stat.S_ISFIFO(mode):
        target.held = _open_fifo(request.target, min(request.stall, request.deadline or request.stall), board)
    return target


def refuse_in_use(path: str) -> None:
    """Raise OSError for a disk that is mounted or part of another device: a dump would destroy it (O_EXCL)."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            error.strerror = f"it is {BUSY}"
        raise


def _open_fifo(path: str, timeout: float, board: Board) -> int:
    """Open a FIFO for writing; raises OSError if it has no reader for ``timeout`` seconds.

    The file descriptor stays open between steps, so that the reader sees no end of file.
    """
    until = time.monotonic() + timeout
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
    """Open a directory, or a new one in it if others can write to it, it holds a dump, or another capture locked it."""
    path = os.path.abspath(request.target)
    fd = os.open(path, _DIRECTORY)
    shared = not (of_root_alone(os.fstat(fd)) and _leads_to(path, fd))
    fresh = shared or request.stamp or not _lock(fd) or any(one.startswith(DUMP) for one in os.listdir(fd))
    if fresh:
        path, fd = _make_private(path, fd, _stamp())
    if shared:
        notes = [*notes, f"others can write to {request.target}: all goes to {path}, which is new"]
    if os.path.basename(asked).startswith(DUMP) and _is_folder_of(asked, fd):
        # The record must not replace a dump or a log.
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
    """Recreate the removed directory of ``target``; raises OSError if its medium is gone."""
    parent, name = os.path.split(os.path.abspath(target.path))
    above = os.open(parent, _DIRECTORY)
    if os.fstat(above).st_dev != target.medium:
        raise OSError(errno.ESTALE, "its medium is gone")
    path, fd = _make_private(parent, above, name)
    return Target(path, "directory", target.asked, target.notes, target.medium, volatile=target.volatile, held=fd)


def _leads_to(path: str, fd: int) -> bool:
    """True if ``path`` is the directory itself, or a link to it that belongs to root: others may redirect theirs."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return status.st_uid in (0, os.geteuid())
    return os.path.samestat(status, os.fstat(fd))


def _lock(fd: int) -> bool:
    """Lock a directory; returns False if another process holds the lock."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except OSError as error:
        # A file system without locks: only another machine could use it at the same time, which is accepted.
        return error.errno != errno.EWOULDBLOCK
    return True


def _make_private(parent: str, above: int, name: str) -> tuple[str, int]:
    """Create a directory in ``parent``, open as ``above``; returns its path and file descriptor."""
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
    raise FileExistsError(errno.EEXIST, "all names for a new directory were taken", parent)


def _is_ours(fd: int) -> bool:
    """True if a directory is new and ours; an empty record in it then keeps others from removing it.

    It is ours if a file that we create in it has the same owner: an NFS server may map root to another user.
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
        # A file system without permissions, or another empty directory of root that was moved here.
        os.fchmod(fd, 0o700)
    if ours:
        made.keep()
    made.drop()
    made.close()
    return ours


def _stamp() -> str:
    """A directory name as kdump forms it, with the host name instead of its address, which may be unknown."""
    host = os.uname().nodename.replace("/", "_")
    # "(none)" is the kernel's default (init/Kconfig, DEFAULT_HOSTNAME).
    host = host if host not in ("", "(none)") else "localhost"
    return f"{host}-{time.strftime('%Y-%m-%d-%H:%M:%S')}"


def in_memory(device: int) -> bool:
    """True if the file system with number ``device`` is in memory: no disk is mounted there."""
    wanted = f"{os.major(device)}:{os.minor(device)}".encode()
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            kinds = [line.partition(b" - ")[2].split()[0] for line in file if line.split()[2] == wanted]
    except (OSError, IndexError):
        return False
    return any(kind in _IN_MEMORY for kind in kinds)
