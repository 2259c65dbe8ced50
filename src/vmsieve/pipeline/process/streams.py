"""Standard streams that are safe to use.

They may be closed, full, or without a reader: a message that can't be printed must not cost a dump. Text may come from
a dump or a file's name: its control characters are made visible, so that they can't control a terminal.
"""

from __future__ import annotations

import os
import sys

from vmsieve.formats.errors import OutputError
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import Any, NoReturn
from vmsieve.formats.text import shown
from vmsieve.pipeline.process.writing import open_standard_fds


class _Shown:
    """A standard stream; control characters other than line feed and tab are made visible."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self.draw(shown(text, keep="\n\t"))
        return len(text)

    def draw(self, text: str) -> None:
        """Write ``text`` as it is; characters that the stream can't encode are escaped."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError as error:
            self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Stderr(_Shown):
    """Standard error; text that can't be written is dropped."""

    def draw(self, text: str) -> None:
        with suppress(OSError, ValueError):
            super().draw(text)
            self._stream.flush()

    def flush(self) -> None:
        """Do nothing: each ``write`` flushes."""


class _RawStderr(_Shown):
    """Standard error for a progress bar, which moves the cursor with control characters."""

    def write(self, text: str) -> int:
        self._stream.draw(text)
        return len(text)


def raw_stderr() -> Any:
    """Standard error, for our own control characters."""
    return _RawStderr(sys.stderr) if isinstance(sys.stderr, _Stderr) else sys.stderr


def print_line(line: str) -> None:
    """Print one line on standard output; line feeds within it are made visible, too."""
    sys.stdout.write(shown(line) + "\n")


def set_up_streams() -> None:
    """Make the standard streams safe to use, whatever they are connected to."""
    open_standard_fds()
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - lives as long as the process
    if not isinstance(sys.stdout, _Shown):
        sys.stdout = _Shown(sys.stdout)
    if not isinstance(sys.stderr, _Stderr):
        sys.stderr = _Stderr(sys.stderr or open(2, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def require_stdout() -> None:
    """Raise OutputError if standard output was closed when the process began."""
    if sys.__stdout__ is None:
        raise OutputError("standard output is closed")


def discard_stdout() -> None:
    """Discard what is buffered for standard output, and everything written to it from now on."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_process(status: int) -> NoReturn:
    """Flush standard output and end the process.

    The interpreter's own exit frees every object first, which takes a twentieth of the time of a small dump. All files
    are closed by now.
    """
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(status)
