"""Writes the record of a capture: one JSON object in a file, read after the next boot."""

from __future__ import annotations

import errno
import os
import stat

from vmsieve.pipeline.process.writing import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def encode(value: Any, indent: str = "\n") -> str:
    """Encode ``value`` as JSON. The standard ``json`` costs a megabyte in the first process."""
    if isinstance(value, dict):
        inner = indent + " "
        return "{" + ",".join(f"{inner}{encode(str(k))}: {encode(v, inner)}" for k, v in value.items()) + indent + "}"
    if isinstance(value, (list, tuple)):
        inner = indent + " "
        return "[" + ",".join(inner + encode(one, inner) for one in value) + (indent if value else "") + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.3f}"
    return '"' + "".join(_character(one) for one in str(value)) + '"'


def _character(one: str) -> str:
    code = ord(one)
    if code > 0xFFFF:
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return _ESCAPES.get(one) or (one if 0x20 <= code < 0x7F else f"\\u{code:04x}")


def write_record(path: str, record: dict[str, Any]) -> str:
    """Write ``record`` to ``path`` atomically; returns an error message, or an empty string."""
    try:
        replace_file(path, (encode(record) + "\n").encode())
    except OSError as error:
        return f"the record can't be written: {error.strerror}"
    return ""


def of_root_alone(status: os.stat_result) -> bool:
    """True if only root and this process's user can write to the directory."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def replace_file(path: str, data: bytes) -> None:
    """Replace the content of ``path`` by ``data``; on OSError, the old content stays."""
    alone = of_root_alone(os.stat(os.path.dirname(path) or "."))
    if not alone:
        _clear(path)
    try:
        # In a directory that others can write to, a link is replaced, not followed: it may be theirs. A relative name
        # is not resolved either: the working directory's path changes meaning if others move the directory.
        write_file(path, data, force=True, follow=alone and os.path.isabs(path))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not os.path.lexists(path):
            raise
        _overwrite(path, data)


def _clear(path: str) -> None:
    """Remove a link, which would be followed, or a FIFO of another user, which would block."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode) or (stat.S_ISFIFO(status.st_mode) and status.st_uid not in (0, os.geteuid())):
        os.unlink(path)


def _overwrite(path: str, data: bytes) -> None:
    """Overwrite ``path`` in place, for a full disk: its blocks are already allocated.

    Raises OSError also if the file has hard links or another owner: it may not be a record.
    """
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if status.st_nlink > 1 or status.st_uid not in (0, os.geteuid()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        end = 0
        while end < len(data):
            end += os.pwrite(fd, data[end:], end)
        os.ftruncate(fd, end)
        os.fsync(fd)
    finally:
        os.close(fd)
