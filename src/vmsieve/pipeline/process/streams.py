"""Standard streams, and what goes through them.

They may be closed, full, or read by nobody: no dump is lost because nothing can be said about it. Text may be a dump's,
or a file's name: a terminal is shown it, and never obeys it.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

from vmsieve.formats.errors import OutputError
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.text import shown
from vmsieve.pipeline.process.standard_fds import open_standard_fds

__all__ = ["discard_stdout", "exit_process", "raw_stderr", "require_stdout", "say", "set_up_streams", "stdout_fd"]


class _Shown:
    """A standard stream; of text, only line feeds and tabs mean more than themselves."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write ``text`` so that it can be seen; see :func:`vmsieve.formats.text.shown`."""
        self.draw(shown(text, keep="\n\t"))
        return len(text)

    def draw(self, text: str) -> None:
        """Write ``text`` as it is, but for characters that the stream has no bytes for."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError as error:
            self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Voice(_Shown):
    """Standard error, where what can't be said is not said."""

    def draw(self, text: str) -> None:
        """Say ``text``, or not."""
        with suppress(OSError, ValueError):
            super().draw(text)
            self._stream.flush()

    def flush(self) -> None:
        """Every ``write`` does it already, as far as it can be done."""


class _Drawing:
    """Standard error for a bar, which is drawn over with control characters."""

    def __init__(self, voice: _Voice) -> None:
        self._voice = voice

    def write(self, text: str) -> None:
        """Write ``text`` as it is."""
        self._voice.draw(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._voice, name)


def raw_stderr() -> Any:
    """Standard error, for text of our own that holds control characters."""
    return _Drawing(sys.stderr) if isinstance(sys.stderr, _Voice) else sys.stderr


def say(line: str) -> None:
    """Print one line, whatever it holds, on standard output."""
    sys.stdout.write(shown(line) + "\n")


def set_up_streams() -> None:
    """Make the standard streams safe to use, whatever they are connected to.

    Of the descriptors 0 to 2, those that are closed are opened on nothing: else the next file to be opened would take
    their place, and messages would end up in it.
    """
    open_standard_fds()
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - lives as long as the process
    if not isinstance(sys.stdout, _Shown):
        sys.stdout = _Shown(sys.stdout)
    if not isinstance(sys.stderr, _Voice):
        sys.stderr = _Voice(sys.stderr or open(2, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def require_stdout() -> None:
    """Make sure that what is written to standard output goes somewhere.

    Raises:
        OutputError: It was closed when the process began.
    """
    if sys.__stdout__ is None:
        raise OutputError("standard output is closed")


def stdout_fd() -> int:
    """The descriptor of standard output, which :func:`require_stdout` needs too."""
    require_stdout()
    return sys.stdout.fileno()


def discard_stdout() -> None:
    """Nothing more may be written to standard output, what is gathered neither: not now, nor at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_process(status: int) -> NoReturn:
    """End the process.

    The interpreter would take itself apart first, object by object: a twentieth of the time of a small dump. Files are
    closed by then.
    """
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(status)
