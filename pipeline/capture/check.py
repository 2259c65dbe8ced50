"""``vmsieve capture --check``: would these options and this target make a dump? Asked when a service is configured."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from vmsieve.formats.codecs import codec as find_codec
from vmsieve.formats.errors import UsageError, VmsieveError
from vmsieve.pipeline.capture.site import refuse_in_use

if TYPE_CHECKING:
    from vmsieve.pipeline.capture.wish import Wish

__all__ = ["problem_of"]

_PAGE_SIZE = 4096  # of the packer that is tried: any will do


def problem_of(wish: Wish) -> str:
    """What is wrong with ``wish`` as far as this machine can tell, in a sentence; empty: nothing. Makes nothing."""
    try:
        _try_codec(wish.codec)
        _look_at(wish.target)
        if wish.status:
            _look_at(os.path.dirname(wish.status) or ".")
    except VmsieveError as error:
        return str(error)
    except OSError as error:
        return f"{wish.target}: {error.strerror}"
    return ""


def _try_codec(text: str) -> None:
    name, _, given = text.partition(":")
    codec = find_codec(name)
    level = int(given) if given else codec.default_level
    if not codec.levels[0] <= level <= codec.levels[1]:
        raise UsageError(f"codec {codec.name} has levels {codec.levels[0]} to {codec.levels[1]}", found=str(level))
    codec.open_compressor(level, _PAGE_SIZE).close()


def _look_at(path: str) -> None:
    if path == "-":
        return
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        path = os.path.realpath(path)
        if path.startswith("/dev/"):
            raise
        # It would be made, with all that is missing above it.
        while not os.path.exists(path):
            path = os.path.dirname(path)
        mode = os.stat(path).st_mode
    if stat.S_ISBLK(mode):
        refuse_in_use(path)
    elif stat.S_ISREG(mode):
        raise UsageError("a capture takes a directory, a disk or a stream, not a file", file=path)
    elif not os.access(path, os.W_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        raise UsageError("it can't be written to", file=path)
