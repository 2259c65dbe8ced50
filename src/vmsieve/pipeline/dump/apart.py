"""The search for the order of importance in a process of its own.

It reads what a crashed kernel left, in more ways than anything else: in a crash kernel, a crash or a hang of the search
must cost the order and nothing else, and its memory must be free before the copy begins.
"""

from __future__ import annotations

import marshal
import os
import select
import time

# Not ``signal``, whose enumerations cost a megabyte.
from _signal import SIGKILL  # type: ignore[import-not-found]

from vmsieve.formats.bitmap import Bitmap
from vmsieve.formats.errors import KernelError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final, NoReturn
from vmsieve.pipeline.dump.order import Pass

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds after which the search is given up: it takes a few in an emulated machine.
_MOST: Final = 120.0
_PIECE: Final = 64 << 10


def passes_apart(search: Callable[[], list[Pass]], most: float = _MOST) -> list[Pass]:
    """Call ``search`` in a child process, for ``most`` seconds; KernelError if it fails.

    There must be no other threads: the child has only this one.
    """
    read, wrote = os.pipe()
    child = os.fork()
    if not child:
        _run(search, wrote)
    try:
        os.close(wrote)
        data = _received(read, time.monotonic() + most)
    finally:
        os.close(read)
        os.kill(child, SIGKILL)  # it has ended, as a rule, and is not waited for yet
        os.waitpid(child, 0)
    if not data:
        raise KernelError("the search for the order of importance ended without a result")
    error, found = marshal.loads(data)  # from our own child
    if error:
        raise KernelError(error)
    return [Pass(name, title, Bitmap.unpacked(*pages)) for name, title, pages in found]


def _received(fd: int, until: float) -> bytes:
    """Read to the end; KernelError if that takes too long."""
    parts = []
    while True:
        ready = select.select([fd], [], [], max(until - time.monotonic(), 0))[0]
        if not ready:
            raise KernelError("the search for the order of importance takes too long")
        parts.append(os.read(fd, _PIECE))
        if not parts[-1]:
            return b"".join(parts)


def _run(search: Callable[[], list[Pass]], fd: int) -> NoReturn:
    """Send the result of ``search`` and end the process."""
    try:
        try:
            result = "", [(one.name, one.title, one.pages.packed()) for one in search()]
        except Exception as error:  # whatever it is, the other process goes on
            result = f"{type(error).__name__}: {error}", []
        data = memoryview(marshal.dumps(result))
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os._exit(0)
