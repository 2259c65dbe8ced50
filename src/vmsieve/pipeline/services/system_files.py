"""Files of a system, written so that they are whole or as they were, whenever the power fails."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import OutputError

if TYPE_CHECKING:
    from vmsieve.pipeline.services.system import System

__all__ = ["make_folders", "put", "remove", "remove_folders", "remove_unfinished"]

#: Ends the name of a file that is not in its place yet; the number is the process that makes it.
_UNFINISHED: Final = re.compile(r"\.vmsieve-[0-9]+\Z")


def put(system: System, name: str, content: bytes, mode: int) -> None:
    """Make ``name`` hold ``content``. A file that is there keeps its owner, permissions and labels.

    Raises:
        OutputError: It can't be written.
    """
    path = system.resolve(name)
    new = f"{path}.vmsieve-{os.getpid()}"
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(fd, "wb") as file:
            file.write(content)
            if os.path.lexists(path):
                there = os.stat(path, follow_symlinks=False)
                os.fchown(fd, there.st_uid, there.st_gid)
                shutil.copystat(path, new, follow_symlinks=False)
                os.utime(new)  # what is made from it must be made again
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
    """Remove what a killed :func:`put` to ``name`` left; to any file in the folder ``name`` if it ends with a slash."""
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
    """Make the folder ``name`` and those above it.

    Raises:
        OutputError: It can't be made.
    """
    try:
        os.makedirs(system.resolve(name), mode=0o755, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder can't be made: {error.strerror}", file=name) from error


def remove(system: System, name: str) -> None:
    """Remove the file ``name``, if it is there.

    Raises:
        OutputError: It can't be removed.
    """
    path = system.resolve(name)
    try:
        os.unlink(path)
        _sync_folder(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"can't be removed: {error.strerror}", file=name) from error


def remove_folders(system: System, names: list[str]) -> None:
    """Remove those of the folders that are empty."""
    for name in names:
        with contextlib.suppress(OSError):
            os.rmdir(system.resolve(name))
