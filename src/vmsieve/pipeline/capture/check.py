"""``vmsieve capture --check``: checks options and target without a dump, when a service is configured."""

from __future__ import annotations

import os
import stat

from vmsieve.formats.codecs import codec as find_codec
from vmsieve.formats.errors import UsageError, VmsieveError
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.capture.opening import refuse_in_use
from vmsieve.pipeline.process.streams import require_stdout

if TYPE_CHECKING:
    from vmsieve.pipeline.capture.options import Request

_PAGE_SIZE = 4096  # for the trial of the packer; any size will do


def find_problem(request: Request) -> str:
    """Return the problem with ``request`` as far as this machine shows it, as a sentence; empty: none was found."""
    try:
        _check_codec(request.codec)
        _check_target(request.target)
        if request.status:
            _check_record(request.status, request.target)
    except VmsieveError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return ""


def _check_codec(text: str) -> None:
    name, _, given = text.partition(":")
    codec = find_codec(name)
    level = int(given) if given else codec.default_level
    if not codec.levels[0] <= level <= codec.levels[1]:
        raise UsageError(f"codec {codec.name} has levels {codec.levels[0]} to {codec.levels[1]}", found=str(level))
    codec.open_compressor(level, _PAGE_SIZE).close()


def _check_target(path: str) -> None:
    if path == "-":
        require_stdout()
        return
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        parent = os.path.realpath(path)
        if not path or parent.startswith("/dev/"):
            raise
        # A capture creates it, with all missing parents.
        while not os.path.exists(parent):
            parent = os.path.dirname(parent)
        _require_writable(parent)
        return
    if stat.S_ISBLK(mode):
        refuse_in_use(path)
    elif stat.S_ISREG(mode):
        raise UsageError("a capture takes a directory, a disk or a stream, not a file", file=path)
    else:
        _require_writable(path)


def _check_record(path: str, target: str) -> None:
    if os.path.isdir(path):
        raise UsageError("the record is a file, not a directory", file=path)
    # A device or FIFO is written to, a file is replaced. Its directory is created if it is the target.
    folder = os.path.dirname(path) or "."
    if os.path.exists(path) and not os.path.isfile(path):
        _require_writable(path)
    elif os.path.realpath(folder) != os.path.realpath(target):
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        _require_writable(folder)


def _require_writable(path: str) -> None:
    if not os.access(path, os.W_OK | (os.X_OK if os.path.isdir(path) else 0)):
        raise UsageError("it can't be written to", file=path)
