"""Writes reproducible cpio archives for an initramfs."""

from __future__ import annotations

import os
import stat

from vmsieve.formats.layouts import cpio as layout
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def archive(root: str, names: Iterable[str]) -> Iterator[bytes]:
    """Yield an archive of the files ``names`` below directory ``root``, in pieces.

    ``names`` are relative paths of regular files, directories and symbolic links; parent directories are added. All
    entries belong to root and have time 0.
    """
    listed = sorted(_with_folders(names))
    for number, name in enumerate(listed, 1):
        path = os.path.join(root, name)
        mode = os.lstat(path).st_mode
        yield from _entry(number, name, mode, _content(path, mode))
    yield from _entry(0, layout.TRAILER, 0, b"")


def _with_folders(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        while name and name not in found:
            found.add(name)
            name = os.path.dirname(name)
    return found


def _content(path: str, mode: int) -> bytes:
    if stat.S_ISLNK(mode):
        return os.fsencode(os.readlink(path))
    if stat.S_ISDIR(mode):
        return b""
    with open(path, "rb") as file:
        return file.read()


def _entry(number: int, name: str, mode: int, content: bytes) -> Iterator[bytes]:
    links = 2 if stat.S_ISDIR(mode) else 1
    encoded = os.fsencode(name) + b"\0"
    fields = [number, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(encoded), 0]
    head = (layout.MAGIC + "".join(f"{value:08X}" for value in fields)).encode() + encoded
    yield head + bytes(-len(head) % layout.ALIGN)
    yield content + bytes(-len(content) % layout.ALIGN)
