"""The record of a capture, for whoever looks after the next boot: one JSON object in a file."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["encode", "replace_file", "sync_directory", "write_record"]

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def encode(value: Any, indent: str = "\n") -> str:
    """``value`` as JSON. The standard module takes a megabyte, which the first process of a capture does without."""
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
    """Write ``record`` to ``path``, so that there is a whole one at any time; returns what went wrong."""
    try:
        replace_file(path, (encode(record) + "\n").encode())
    except OSError as error:
        return f"the record can't be written: {error.strerror}"
    return ""


def replace_file(path: str, data: bytes) -> None:
    """Let ``path`` hold ``data``, or what it held before if that can't be done.

    Raises:
        OSError: It can't.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        _tell_device(path, data)
        return
    made = f"{path}.new"
    try:
        fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not os.path.exists(path):
            raise
        _overwrite(path, data)
        return
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
        os.close(fd)
        fd = -1
        os.replace(made, path)
    except OSError:
        os.unlink(made)
        raise
    finally:
        if fd >= 0:
            os.close(fd)
    sync_directory(os.path.dirname(path) or ".")


def _overwrite(path: str, data: bytes) -> None:
    """The same where there is no place for a second file: what is there has room already."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        end = 0
        while end < len(data):
            end += os.pwrite(fd, data[end:], end)
        os.ftruncate(fd, end)
        os.fsync(fd)
    finally:
        os.close(fd)


def _tell_device(path: str, data: bytes) -> None:
    """Write ``data`` to what is no file and must stay what it is; a FIFO that nobody reads is not waited for."""
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def sync_directory(path: str) -> None:
    """Bring the names in a directory to their medium; not all file systems know how, and those need not."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)
