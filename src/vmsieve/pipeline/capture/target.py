"""The target of a capture: a directory, a block device or a stream.

Whatever touches a directory runs in children that have it as working directory, because its path may change meaning.
"""

from __future__ import annotations

import os
import stat

from vmsieve.pipeline.process.writing import open_output, sync_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: File names in a directory: the dump when whole and while incomplete, the kernel log, the record.
DUMP, _PARTIAL = "vmcore", "vmcore-incomplete"
LOG, PARTIAL_LOG = "vmcore-dmesg.txt", "vmcore-dmesg-incomplete.txt"
RECORD = "vmcore-status.json"
_RESERVE = 128 << 10  # bytes of free space reserved for the record


class Target:
    """An opened target."""

    def __init__(
        self, path: str, kind: str, asked: str, notes: list[str], medium: int = 0, *, volatile: bool = False,
        held: int | None = None,
    ) -> None:  # fmt: skip
        self.path = path
        self.kind = kind  # ``directory``, ``device`` or ``stream``
        self.directory, self.stream = kind == "directory", kind == "stream"
        self.asked = asked  # path of the record as requested; empty: beside the dump
        self.notes = notes  # remarks for the user
        self.medium = medium  # device number of the directory's file system
        self.volatile = volatile  # the file system is in this machine's memory
        # File descriptor of the directory, or of a FIFO, whose reader must not see an end of file between steps. Open
        # until release().
        self.held = held
        self.partial = _PARTIAL if self.directory else path  # name of the next dump until it is whole
        self.kept: tuple[str, float] | None = None  # partial dump of an earlier step, and the share of pages in it
        self.ordered = False  # ``kept`` is in the order of importance, of the pages that were asked for
        self.hangs = False  # it did not answer; nothing touches it any more

    def facts(self) -> dict[str, Any]:
        """Arguments of the constructor that recreate this target in another process, except ``held``."""
        return {name: getattr(self, name) for name in ("path", "kind", "asked", "notes", "medium", "volatile")}

    @property
    def state(self) -> tuple[str, tuple[str, float] | None, bool]:
        """The attributes that a child may change."""
        return self.partial, self.kept, self.ordered

    @state.setter
    def state(self, state: tuple[str, tuple[str, float] | None, bool]) -> None:
        self.partial, self.kept, self.ordered = state

    def enter(self) -> None:
        """Change to the directory."""
        if self.directory and self.held is not None:
            os.fchdir(self.held)

    def full(self, name: str) -> str:
        """Path of file ``name``, for messages and the record."""
        return os.path.join(self.path, name) if self.directory else self.path

    @property
    def record(self) -> str:
        """Path of the record, relative to the directory; empty: no record is written."""
        return self.asked or (RECORD if self.directory else "")

    def space(self) -> int | None:
        """Bytes that a dump may take, including those of the kept dump; None: unknown or unlimited."""
        if not self.directory or self.held is None:
            return None
        try:
            stats = os.statvfs(self.held)
        except OSError:
            return None
        free = stats.f_bavail * stats.f_frsize
        return max(free - min(_RESERVE, free // 8), 0) + (self.bytes_in(self.kept[0]) if self.kept is not None else 0)

    def release(self) -> None:
        """Close ``held``, which also unlocks the directory."""
        if self.held is not None:
            os.close(self.held)
            self.held = None

    def exists(self) -> bool:
        """True unless the directory was removed."""
        if not self.directory or self.held is None:
            return True
        try:
            return os.fstat(self.held).st_nlink > 0
        except OSError:
            return False

    def moved(self) -> bool:
        """True if the path no longer leads to the directory."""
        if not self.directory or self.held is None:
            return False
        try:
            return not os.path.samestat(os.stat(self.path), os.fstat(self.held))
        except OSError:
            return True

    def gone(self) -> bool:
        """True if the directory was removed, or moved to where nothing can be written."""
        return not self.exists() or (self.moved() and not self.writable())

    def writable(self) -> bool:
        """True if :meth:`probe` succeeds."""
        try:
            self.probe()
        except OSError:
            return False
        return True

    def probe(self) -> None:
        """Create and remove a file; raises OSError if that fails."""
        if self.directory:
            with open_output(f".vmsieve-{os.urandom(4).hex()}", beside=False) as made:
                # Unlinked first, so that a killed process leaves nothing behind; leaving the block still syncs.
                made.drop()

    def keep(self, share: float, *, ordered: bool = False) -> None:
        """Keep the better of this step's partial dump, with ``share`` of its pages, and the one kept before.

        One in the order of importance (``ordered``) is better than one that begins with the lowest page frames,
        whatever their shares.
        """
        if not self.directory or not self.exists():
            return
        new, old = self.partial, self.kept
        status = self._status(new)
        worse = old is not None and (ordered, share) <= (self.ordered, old[1])
        if not share or status is None or not status.st_size or worse:
            self.remove(new)
            return
        if old is not None:
            self.remove(old[0])
        self.kept, self.ordered = (new, share), ordered
        number = 2
        while self._status(self.partial) is not None:
            self.partial = f"{_PARTIAL}-{number}"
            number += 1

    def drop_kept(self) -> None:
        """Delete the superseded partial dump."""
        if self.kept is not None:
            self.remove(self.kept[0])
            self.kept = None

    def settle(self) -> int:
        """Rename the kept dump to its final name; returns the bytes that it occupies."""
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

    def remove_record(self) -> bool:
        """Remove the record to free its inode and blocks; returns True if there was one."""
        return self.directory and self.bytes_in(self.record) > 0 and self.remove(self.record)

    def tidy(self) -> None:
        """Remove the empty record that protected a new directory, if the record is written elsewhere."""
        status = self._status(RECORD) if self.directory and self.asked else None
        if status is not None and not status.st_size:
            self.remove(RECORD)

    def bytes_in(self, name: str) -> int:
        """Bytes that a file occupies on disk; 0 if it does not exist."""
        status = self._status(name)
        return status.st_blocks * 512 if status is not None and stat.S_ISREG(status.st_mode) else 0

    def _status(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, follow_symlinks=False)
        except OSError:
            return None

    def remove(self, name: str) -> bool:
        """Remove ``name``; returns True on success."""
        try:
            os.unlink(name)
        except OSError:
            return False
        return True
