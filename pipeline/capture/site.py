"""Where a capture leaves what it has: a directory, a block device, a stream."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time

from vmsieve.pipeline.capture.status import sync_directory
from vmsieve.pipeline.descriptors import BUSY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmsieve.pipeline.capture.wish import Wish

__all__ = ["Site", "file_size", "in_memory", "open_site", "refuse_in_use"]

_DUMP, _PARTIAL = "vmcore", "vmcore-incomplete"
_LOG, _PARTIAL_LOG = "vmcore-dmesg.txt", "vmcore-dmesg-incomplete.txt"
_STATUS = "vmcore-status.json"
#: File systems that end with the machine; an initramfs is the first, or the second.
_IN_MEMORY = (b"rootfs", b"tmpfs", b"ramfs", b"devtmpfs")
#: Bytes that a dump leaves for the record.
_RESERVE = 128 << 10


class Site:
    """The target, opened as far as it has to be.

    Attributes:
        path: Of the directory that all goes to, or of the device or stream.
        directory, device, stream: Which of them it is.
        partial: Where the next dump is written until it is whole.
        kept: A dump that a step could not finish: path, and which part of it is there, 0 to 1; None: there is none.
        hangs: Whoever touches the target waits for ever, as it may be with a server that does not answer.
    """

    def __init__(self, path: str, kind: str) -> None:
        self.path = path
        self.directory, self.device, self.stream = (kind == one for one in ("directory", "device", "stream"))
        self.partial = os.path.join(path, _PARTIAL) if self.directory else path
        self.kept: tuple[str, float] | None = None
        self.hangs = False
        #: Held open as long as the capture lives: the lock on a directory, the end of a FIFO that its reader waits for.
        self.held: int | None = None
        self._medium = os.stat(path).st_dev if self.directory else 0

    @property
    def dump(self) -> str:
        """Where a whole dump is found."""
        return os.path.join(self.path, _DUMP) if self.directory else self.path

    @property
    def log(self) -> str:
        """Where the kernel log is found once it is whole."""
        return os.path.join(self.path, _LOG)

    @property
    def partial_log(self) -> str:
        """Where it is until then."""
        return os.path.join(self.path, _PARTIAL_LOG)

    def status(self, asked: str) -> str:
        """Where the record belongs; empty: nowhere. By no name ``asked`` for does it take a dump's or a log's place."""
        own = os.path.join(self.path, _STATUS) if self.directory else ""
        if own and os.path.basename(asked).startswith(_DUMP):
            here, there = (os.path.realpath(os.path.dirname(path) or ".") for path in (own, asked))
            return own if here == there else asked
        return asked or own

    def room(self) -> int | None:
        """Bytes that a dump may take if what was kept goes; None: that can't be told, or does not matter."""
        if not self.directory:
            return None
        try:
            told = os.statvfs(self.path)
        except OSError:
            return None
        free = told.f_bavail * told.f_frsize
        return max(free - min(_RESERVE, free // 8), 0) + (file_size(self.kept[0]) if self.kept is not None else 0)

    def release(self) -> None:
        """Let others have the target."""
        if self.held is not None:
            os.close(self.held)
            self.held = None

    def there(self) -> bool:
        """Whether the medium is the one that was there at first: else the directory is in the crash kernel's memory."""
        if self.hangs or not self.directory:
            return not self.hangs
        try:
            return os.stat(self.path).st_dev == self._medium
        except OSError:
            return False

    def restored(self) -> bool:
        """Make the directory again if it was removed and its medium is still there; whether that was done."""
        if self.hangs or not self.directory or os.path.lexists(self.path):
            return False
        try:
            if os.stat(os.path.dirname(os.path.abspath(self.path))).st_dev != self._medium:
                return False
            os.mkdir(self.path, 0o700)
        except OSError:
            return False
        self.kept = None
        return True

    def alive(self) -> bool:
        """Whether anything can be written at all."""
        if not self.directory or not self.there():
            return self.there()
        probe = os.path.join(self.path, ".vmsieve-probe")
        try:
            fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.fsync(fd)
            os.close(fd)
            os.unlink(probe)
        except OSError:
            return False
        return True

    def keep(self, share: float) -> None:
        """A step ended before its dump was whole: of this and what was kept before, keep what there is more of."""
        if not self.directory or not self.there():
            return
        new, old = self.partial, self.kept
        if not share or not _bytes_in(new) or (old is not None and share <= old[1]):
            _remove(new)
            return
        if old is not None:
            _remove(old[0])
        self.kept = (new, share)
        number = 2
        while os.path.lexists(self.partial):
            self.partial = os.path.join(self.path, f"{_PARTIAL}-{number}")
            number += 1

    def drop_kept(self) -> None:
        """Something better is there than what was kept."""
        if self.kept is not None:
            _remove(self.kept[0])
            self.kept = None

    def settle(self) -> None:
        """Nothing better will come: what was kept gets the usual name."""
        usual = os.path.join(self.path, _PARTIAL)
        if self.kept is None or self.kept[0] == usual:
            return
        try:
            os.rename(self.kept[0], usual)
            sync_directory(self.path)
        except OSError:
            return
        self.kept = (usual, self.kept[1])


def file_size(path: str) -> int:
    """Bytes that the file takes up; 0 if it is not there."""
    try:
        return os.stat(path).st_blocks * 512
    except OSError:
        return 0


def _bytes_in(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def in_memory(path: str) -> bool:
    """Whether what is written to ``path`` is in this machine's memory: nothing was mounted where a disk should be."""
    try:
        device = os.stat(path).st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}".encode()
        with open("/proc/self/mountinfo", "rb") as file:
            kinds = [line.partition(b" - ")[2].split()[0] for line in file if line.split()[2] == wanted]
    except (OSError, IndexError):
        return False
    return any(kind in _IN_MEMORY for kind in kinds)


def _remove(path: str) -> None:
    try:  # noqa: SIM105 - contextlib takes half a megabyte
        os.unlink(path)
    except OSError:
        pass


def open_site(wish: Wish) -> Site:
    """The target that ``wish`` names; a directory is made if it is not there.

    Raises:
        OSError: It can't be written to.
        ValueError: It is a file.
    """
    if wish.target == "-":
        if sys.__stdout__ is None:
            raise OSError(errno.EBADF, "it was closed when the capture began")
        return Site("-", "stream")
    try:
        mode = os.stat(wish.target).st_mode
    except FileNotFoundError:
        # The end of a link that leads to nothing is made as any directory is.
        place = os.path.realpath(wish.target)
        if place.startswith("/dev/") or os.path.abspath(wish.target).startswith("/dev/"):
            # A disk that is not there: a directory in its place would be in memory.
            raise
        os.makedirs(place, 0o700)
        mode = stat.S_IFDIR
    if stat.S_ISREG(mode):
        raise ValueError(f"{wish.target}: a capture takes a directory, which it makes if need be, not a file")
    if stat.S_ISDIR(mode):
        return _directory(wish)
    if stat.S_ISBLK(mode):
        refuse_in_use(wish.target)
    site = Site(wish.target, "device" if stat.S_ISBLK(mode) else "stream")
    if stat.S_ISFIFO(mode):
        site.held = _read_by_someone(wish.target, min(wish.stall, wish.deadline or wish.stall))
    return site


def refuse_in_use(path: str) -> None:
    """Refuse a disk that is mounted or a part of another one: it holds what the dump would destroy. open(2), O_EXCL."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            error.strerror = f"it is {BUSY}"
        raise


def _read_by_someone(path: str, patience: float) -> int:
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
        time.sleep(0.1)


def _directory(wish: Wish) -> Site:
    """The target itself, or a new directory in it if it holds anything, or is held by another capture."""
    names = (_DUMP, _PARTIAL, _LOG, _PARTIAL_LOG, _STATUS)
    path, held = wish.target, _lock(wish.target)
    if wish.stamp or held is None or any(os.path.lexists(os.path.join(path, name)) for name in names):
        path = _stamped(path)
    site = Site(path, "directory")
    site.held = held
    if not site.alive():
        # Ask once more, for the reason.
        os.close(os.open(site.partial_log, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        os.unlink(site.partial_log)
    return site


def _lock(path: str) -> int | None:
    """A descriptor of the directory, locked; None if another process has the lock."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            os.close(fd)
            return None
        # A file system without locks: one that another machine would have to use at the same time.
    return fd


def _stamped(parent: str) -> str:
    """A new directory for this crash; named as kdump names it, but for the host's address, which may not be known."""
    host = os.uname().nodename.replace("/", "_")
    # What the kernel calls itself as long as nobody gave it a name.
    host = host if host not in ("", "(none)") else "localhost"
    name = os.path.join(parent, f"{host}-{time.strftime('%Y-%m-%d-%H:%M:%S')}")
    for path in (name, *(f"{name}-{number}" for number in range(2, 100))):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue
        sync_directory(parent)
        return path
    raise FileExistsError(17, "there are too many dumps of this second", name)
