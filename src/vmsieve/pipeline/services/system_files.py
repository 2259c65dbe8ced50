"""Writes and removes files of a system atomically, also across a power failure."""

from __future__ import annotations

import contextlib
import os
import re
import shutil

from vmsieve.formats.errors import OutputError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.pipeline.services.system import System

#: Suffix of a temporary file; the number is the PID of its writer.
_UNFINISHED: Final = re.compile(r"\.vmsieve-[0-9]+\Z")


def put(system: System, name: str, content: bytes, mode: int) -> None:
    """Write ``content`` to ``name``; an existing file keeps owner, permissions and labels. Raises OutputError."""
    path = system.resolve(name)
    new = f"{path}.vmsieve-{os.getpid()}"
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(fd, "wb") as file:
            file.write(content)
            if os.path.lexists(path):
                status = os.stat(path, follow_symlinks=False)
                os.fchown(fd, status.st_uid, status.st_gid)
                shutil.copystat(path, new, follow_symlinks=False)
                os.utime(new)  # newer than what was built from the old content
            else:
                os.fchmod(fd, mode)
            file.flush()
            os.fsync(fd)
        os.replace(new, path)
        _sync_folder(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise OutputError(f"can't be written: {error.strerror}", file=name) from error


def remove_unfinished(system: System, name: str) -> None:
    """Remove temporary files of a killed :func:`put` to ``name``, or, with a final slash, into that directory."""
    folder, _, own = system.resolve(name).rpartition("/") if name[-1:] != "/" else (system.resolve(name), "", "")
    with contextlib.suppress(OSError):
        for one in os.listdir(folder):
            if _UNFINISHED.search(one) and one.startswith(own and f"{own}.vmsieve-"):
                os.unlink(f"{folder}/{one}")


def _sync_folder(path: str) -> None:
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folders(system: System, name: str) -> None:
    """Create directory ``name`` and its parents; raises OutputError."""
    try:
        os.makedirs(system.resolve(name), mode=0o755, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the directory can't be created: {error.strerror}", file=name) from error


def remove(system: System, name: str) -> None:
    """Remove file ``name`` if it exists; raises OutputError."""
    path = system.resolve(name)
    try:
        os.unlink(path)
        _sync_folder(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"can't be removed: {error.strerror}", file=name) from error


def remove_folders(system: System, names: list[str]) -> None:
    """Remove the empty ones of these directories."""
    for name in names:
        with contextlib.suppress(OSError):
            os.rmdir(system.resolve(name))
