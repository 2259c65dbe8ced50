"""Standard streams that are closed, full, or read by nobody: no dump is lost because nothing can be said about it."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

from vmsieve.formats.contexts import suppress
from vmsieve.formats.errors import OutputError
from vmsieve.pipeline.descriptors import fill_standard

__all__ = ["give_up_stdout", "leave", "need_stdout", "stdout_fd", "steady"]


class _Voice:
    """Standard error, where what can't be said is not said."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Say ``text``, or not."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Every ``write`` does it already, as far as it can be done."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def steady() -> None:
    """Make the standard streams safe to use, whatever they are connected to.

    Of the descriptors 0 to 2, those that are closed are opened on nothing: else the next file to be opened would take
    their place, and messages would end up in it.
    """
    fill_standard()
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - lives as long as the process
    if not isinstance(sys.stderr, _Voice):
        sys.stderr = _Voice(sys.stderr or open(2, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def need_stdout() -> None:
    """Make sure that what is written to standard output goes somewhere.

    Raises:
        OutputError: It was closed when the process began.
    """
    if sys.__stdout__ is None:
        raise OutputError("standard output is closed")


def stdout_fd() -> int:
    """The descriptor of standard output, which :func:`need_stdout` needs too."""
    need_stdout()
    return sys.stdout.fileno()


def give_up_stdout() -> None:
    """Nothing more may be written to standard output, what is gathered neither: not now, nor at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave(status: int) -> NoReturn:
    """End the process.

    The interpreter would take itself apart first, object by object: a twentieth of the time of a small dump. Files are
    closed by then.
    """
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(status)
