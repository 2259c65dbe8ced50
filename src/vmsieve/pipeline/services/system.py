"""Read access to a Linux system below a directory: ``/``, or a tree in a test or an image build.

The tree is not trusted: a path may be a FIFO without a writer, a link out of the tree, or a file of any size.
"""

from __future__ import annotations

import os
import stat

from vmsieve.formats.errors import FormatError
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import Final

_LINKS_MOST: Final = 40  # as the kernel's MAXSYMLINKS, include/linux/namei.h
_TEXT_MOST: Final = 1 << 20
_MOST: Final = 16 << 20


@record(frozen=True)
class System:
    """The system below directory ``root``."""

    root: str = "/"

    @property
    def running(self) -> bool:
        """True for the system that this process runs on."""
        return os.path.realpath(self.root) == "/"

    def resolve(self, name: str) -> str:
        """Resolve ``name``, a path in the system, to ours; links are relative to its root. A loop: FormatError."""
        parts = [part for part in name.split("/") if part]
        done: list[str] = []
        links = 0
        while parts:
            part = parts.pop(0)
            if part in (".", ".."):
                done = done[:-1] if part == ".." else done
                continue
            try:
                target = os.readlink(os.path.join(self.root, *done, part))
            except (OSError, ValueError):
                done.append(part)
                continue
            links += 1
            if links > _LINKS_MOST:
                raise FormatError("too many symbolic links", file=name)
            done = [] if target.startswith("/") else done
            parts = [one for one in target.split("/") if one] + parts
        return os.path.join(self.root, *done)

    def status(self, name: str) -> os.stat_result | None:
        """Lstat of the resolved ``name``; None on error."""
        try:
            return os.stat(self.resolve(name), follow_symlinks=False)
        except (OSError, ValueError, FormatError):
            return None

    def exists(self, name: str) -> bool:
        """True if :meth:`status` succeeds."""
        return self.status(name) is not None

    def read(self, name: str, most: int = _MOST) -> bytes | None:
        """Read up to ``most`` bytes of ``name``; None if it does not exist, FormatError if it is no regular file."""
        path = self.resolve(name)
        try:
            # O_NONBLOCK: don't wait for the writer of a FIFO.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise FormatError(f"can't be read: {getattr(error, 'strerror', None) or error}", file=name) from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise FormatError("is not a regular file", file=name)
            with open(fd, "rb", closefd=False) as file:
                return file.read(most)
        except OSError as error:
            raise FormatError(f"can't be read: {error.strerror}", file=name) from error
        finally:
            os.close(fd)

    def text(self, name: str) -> str | None:
        """Text of ``name``; None if missing or unreadable."""
        try:
            data = self.read(name, _TEXT_MOST)
        except FormatError:
            return None
        return data.decode("utf-8", "surrogateescape") if data is not None else None

    def number(self, name: str) -> int | None:
        """The number in ``name``, a sysfs file; None if missing or malformed."""
        text = (self.text(name) or "").strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    def release(self) -> str:
        """Release of the running kernel; empty if unknown."""
        text = (self.text("/proc/sys/kernel/osrelease") or "").strip()
        return text if "/" not in text and "\0" not in text else ""

    def first(self, *names: str) -> str | None:
        """The first of ``names`` that exists, or None."""
        return next((name for name in names if self.exists(name)), None)

    def names(self, folder: str) -> list[str]:
        """Sorted entries of ``folder``; empty if unreadable."""
        try:
            return sorted(os.listdir(self.resolve(folder)))
        except (OSError, ValueError, FormatError):
            return []
