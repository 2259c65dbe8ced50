"""Where a capture leaves what it has: a directory, a block device, a stream.

What touches a directory runs in children that work in it: where its path leads may change.
"""

from __future__ import annotations

import os
import stat

from vmsieve.pipeline.process.writing import open_output, sync_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["DUMP", "LOG", "PARTIAL_LOG", "RECORD", "Target"]

#: Names in a directory: of the dump once it is whole and until then, of the kernel log, of the record.
DUMP, _PARTIAL = "vmcore", "vmcore-incomplete"
LOG, PARTIAL_LOG = "vmcore-dmesg.txt", "vmcore-dmesg-incomplete.txt"
RECORD = "vmcore-status.json"
#: Bytes that a dump leaves for the record.
_RESERVE = 128 << 10


class Target:
    """The target, opened as far as it has to be.

    Attributes:
        path: Of the directory that all goes to, or of the device or stream.
        directory, device, stream: Which of them it is.
        asked: Where the record was asked to go; empty: beside the dump.
        notes: What has to be said of it.
        medium: Device number of the directory's file system.
        volatile: What is written there is in this machine's memory.
        held: Descriptor of the directory, or of the FIFO that its reader waits for; open as long as the capture lives.
        partial: Where the next dump is written until it is whole: a name in the directory.
        kept: A dump that a step could not finish: its name, and which part of it is there, 0 to 1; or None.
        hangs: The target does not answer: it is not touched any more.
    """

    def __init__(
        self, path: str, kind: str, asked: str, notes: list[str], medium: int = 0, *, volatile: bool = False,
        held: int | None = None,
    ) -> None:  # fmt: skip
        self.path, self.asked, self.notes = path, asked, notes
        self.directory, self.device, self.stream = (kind == one for one in ("directory", "device", "stream"))
        self.medium, self.volatile, self.held = medium, volatile, held
        self.partial = _PARTIAL if self.directory else path
        self.kept: tuple[str, float] | None = None
        self.hangs = False

    def facts(self) -> dict[str, Any]:
        """What another process makes the same of, ``held`` apart."""
        kind = "directory" if self.directory else "device" if self.device else "stream"
        named = ("path", "asked", "notes", "medium", "volatile")
        return {"kind": kind, **{name: getattr(self, name) for name in named}}

    @property
    def state(self) -> tuple[str, tuple[str, float] | None]:
        """What a child may have changed."""
        return self.partial, self.kept

    @state.setter
    def state(self, state: tuple[str, tuple[str, float] | None]) -> None:
        self.partial, self.kept = state

    def enter(self) -> None:
        """Make the directory this process's own."""
        if self.directory and self.held is not None:
            os.fchdir(self.held)

    def full(self, name: str) -> str:
        """Path of ``name``, for people."""
        return os.path.join(self.path, name) if self.directory else self.path

    @property
    def record(self) -> str:
        """Where the record belongs, seen from the directory; empty: nowhere."""
        return self.asked or (RECORD if self.directory else "")

    def room(self) -> int | None:
        """Bytes that a dump may take if what was kept goes; None: that can't be told, or does not matter."""
        if not self.directory or self.held is None:
            return None
        try:
            told = os.statvfs(self.held)
        except OSError:
            return None
        free = told.f_bavail * told.f_frsize
        return max(free - min(_RESERVE, free // 8), 0) + (self.bytes_in(self.kept[0]) if self.kept is not None else 0)

    def release(self) -> None:
        """Let others have the target."""
        if self.held is not None:
            os.close(self.held)
            self.held = None

    def there(self) -> bool:
        """Whether the directory is still one that names lead to."""
        if not self.directory or self.held is None:
            return True
        try:
            return os.fstat(self.held).st_nlink > 0
        except OSError:
            return False

    def moved(self) -> bool:
        """Whether its path leads elsewhere by now."""
        if not self.directory or self.held is None:
            return False
        try:
            return not os.path.samestat(os.stat(self.path), os.fstat(self.held))
        except OSError:
            return True

    def gone(self) -> bool:
        """Whether the directory was removed."""
        return not self.there() or (self.moved() and not self.alive())

    def alive(self) -> bool:
        """Whether anything can be written at all."""
        try:
            self.probe()
        except OSError:
            return False
        return True

    def probe(self) -> None:
        """Write to the directory, and leave nothing.

        Raises:
            OSError: That can't be done.
        """
        if self.directory:
            with open_output(f".vmsieve-{os.urandom(4).hex()}", beside=False) as made:
                # Before all else: a process killed here leaves nothing. What was made is synced all the same.
                made.drop()

    def keep(self, share: float) -> None:
        """A step ended before its dump was whole: of this and what was kept before, keep what there is more of."""
        if not self.directory or not self.there():
            return
        new, old = self.partial, self.kept
        status = self._status(new)
        if not share or status is None or not status.st_size or (old is not None and share <= old[1]):
            self.remove(new)
            return
        if old is not None:
            self.remove(old[0])
        self.kept = (new, share)
        number = 2
        while self._status(self.partial) is not None:
            self.partial = f"{_PARTIAL}-{number}"
            number += 1

    def drop_kept(self) -> None:
        """Delete what was kept: it is superseded."""
        if self.kept is not None:
            self.remove(self.kept[0])
            self.kept = None

    def settle(self) -> int:
        """Nothing better will come: what was kept gets the usual name. Returns the bytes that it takes up."""
        if self.kept is None:
            return 0
        if self.kept[0] != _PARTIAL:
            try:
                os.rename(self.kept[0], _PARTIAL)
            except OSError:
                return self.bytes_in(self.kept[0])
            sync_directory(".")
            self.kept = (_PARTIAL, self.kept[1])
        return self.bytes_in(_PARTIAL)

    def yield_record(self) -> bool:
        """Remove the record, so that a dump has its place; whether there was one."""
        return self.directory and self.bytes_in(self.record) > 0 and self.remove(self.record)

    def tidy(self) -> None:
        """Remove the empty record that held a new directory's place, if the record is elsewhere."""
        if self.directory and self.asked:
            status = self._status(RECORD)
            if status is not None and not status.st_size:
                self.remove(RECORD)

    def bytes_in(self, name: str) -> int:
        """Bytes that a file takes up; 0 if it is not there."""
        status = self._status(name)
        return status.st_blocks * 512 if status is not None and stat.S_ISREG(status.st_mode) else 0

    def _status(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, follow_symlinks=False)
        except OSError:
            return None

    def remove(self, name: str) -> bool:
        """Remove ``name``; whether that was done."""
        try:
            os.unlink(name)
        except OSError:
            return False
        return True
