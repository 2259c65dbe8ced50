"""``vmsieve capture --check``: would these options and this target make a dump? Asked when a service is configured."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from vmsieve.formats.codecs import codec as find_codec
from vmsieve.formats.errors import UsageError, VmsieveError
from vmsieve.pipeline.capture.opening import refuse_in_use
from vmsieve.pipeline.process.streams import require_stdout

if TYPE_CHECKING:
    from vmsieve.pipeline.capture.options import Request

__all__ = ["problem_of"]

_PAGE_SIZE = 4096  # of the packer that is tried: any will do


def problem_of(request: Request) -> str:
    """What is wrong with ``request`` as far as this machine can tell, in a sentence; empty: nothing. Makes nothing."""
    try:
        _try_codec(request.codec)
        _look_at_target(request.target)
        if request.status:
            _look_at_record(request.status, request.target)
    except VmsieveError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return ""


def _try_codec(text: str) -> None:
    name, _, given = text.partition(":")
    codec = find_codec(name)
    level = int(given) if given else codec.default_level
    if not codec.levels[0] <= level <= codec.levels[1]:
        raise UsageError(f"codec {codec.name} has levels {codec.levels[0]} to {codec.levels[1]}", found=str(level))
    codec.open_compressor(level, _PAGE_SIZE).close()


def _look_at_target(path: str) -> None:
    if path == "-":
        require_stdout()
        return
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        place = os.path.realpath(path)
        if not path or place.startswith("/dev/"):
            raise
        # It would be made, with all that is missing above it.
        while not os.path.exists(place):
            place = os.path.dirname(place)
        _demand_writable(place)
        return
    if stat.S_ISBLK(mode):
        refuse_in_use(path)
    elif stat.S_ISREG(mode):
        raise UsageError("a capture takes a directory, a disk or a stream, not a file", file=path)
    else:
        _demand_writable(path)


def _look_at_record(path: str, target: str) -> None:
    if os.path.isdir(path):
        raise UsageError("the record is a file, not a directory", file=path)
    # What is no file is written to; a file is replaced. Its directory is made if it is the target.
    folder = os.path.dirname(path) or "."
    if os.path.exists(path) and not os.path.isfile(path):
        _demand_writable(path)
    elif os.path.realpath(folder) != os.path.realpath(target):
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        _demand_writable(folder)


def _demand_writable(path: str) -> None:
    if not os.access(path, os.W_OK | (os.X_OK if os.path.isdir(path) else 0)):
        raise UsageError("it can't be written to", file=path)
