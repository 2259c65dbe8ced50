"""Outputs of commands: :mod:`vmsieve.pipeline.process.writing`, with the errors of the rooms."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, BinaryIO

from vmsieve.formats.errors import OutputError, UsageError, refused
from vmsieve.formats.inputs import input_paths
from vmsieve.formats.slim.contexts import contextmanager
from vmsieve.pipeline.process.streams import require_stdout, stdout_fd
from vmsieve.pipeline.process.writing import (
    Output,
    RefusedError,
    check_output,
    check_stream,
    open_output,
    same_place,
    write_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "SideFile",
    "check_saved",
    "check_standard_output",
    "files_read",
    "opened_output",
    "refusal",
    "saved",
    "saved_stream",
    "standard_output",
]  # fmt: skip


def files_read(dump: str, *others: str | None) -> tuple[str, ...]:
    """The files that a command reads: those that ``dump`` names, and those of ``others`` that were given."""
    return (*input_paths(dump), *(one for one in others if one is not None))


def refusal(error: OSError, path: str, what: str = "output") -> OutputError:
    """Why ``path``, the ``what``, can't be opened, written to or replaced."""
    if not isinstance(error, RefusedError):
        return refused(error, path, what=what)
    hint = "-f overwrites it" if error.errno == errno.EEXIST else None
    return OutputError(str(error.strerror), file=path, hint=hint)


def opened_output(path: str, inputs: Iterable[str], *, force: bool, beside: bool = True) -> Output:
    """See :func:`vmsieve.pipeline.process.writing.open_output`.

    Raises:
        OutputError: It is an input, exists and must not be overwritten, or can't be opened.
    """
    try:
        return open_output(path, inputs, force=force, beside=beside)
    except OSError as error:
        raise refusal(error, path) from error


@contextmanager
def saved(path: str, inputs: Iterable[str], *, force: bool, what: str = "output") -> Iterator[Output]:
    """A file, the ``what``, that is written within the block and has its name behind it.

    An exception leaves what was there before.

    Raises:
        OutputError: As of :func:`opened_output`, or it can't be written.
    """
    try:
        with open_output(path, inputs, force=force) as output:
            yield output
    except OSError as error:
        raise refusal(error, path, what) from error


@contextmanager
def saved_stream(path: str, inputs: Iterable[str], *, force: bool, what: str = "output") -> Iterator[BinaryIO]:
    """The same, gathering small pieces; ``-``: standard output."""
    if path == "-":
        require_stdout()
        check_standard_output(inputs)
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with saved(path, inputs, force=force, what=what) as output, open(output.fd, "wb", closefd=False) as out:
        yield out


def check_standard_output(inputs: Iterable[str]) -> None:
    """Raise OutputError if standard output is connected to a file that is read."""
    try:
        check_stream(sys.stdout.fileno(), inputs)
    except RefusedError as error:
        raise refusal(error, "standard output") from error
    except (OSError, ValueError):
        return  # no file is connected to it


def standard_output(inputs: Iterable[str]) -> int:
    """The descriptor of standard output.

    Raises:
        OutputError: It is closed, or connected to a file that is read.
    """
    fd = stdout_fd()
    check_standard_output(inputs)
    return fd


def check_saved(path: str, inputs: Iterable[str], *, force: bool, what: str = "output") -> None:
    """Raise the OutputError that :func:`saved` would raise, as far as that is known before the work."""
    try:
        check_output(path, inputs, force=force)
    except OSError as error:
        raise refusal(error, path, what) from error


class SideFile:
    """A file beside a dump. Its failure is told and does not change what becomes of the dump.

    Attributes:
        problem: Why it will not be written, as far as that is known; empty: nothing is.
    """

    def __init__(self, path: str, inputs: Iterable[str], outputs: Iterable[str], *, force: bool) -> None:
        """See whether it can be written, before the work.

        Raises:
            UsageError: It is a file that is read, or an output.
        """
        self.problem = ""
        self._path, self._inputs, self._force = path, tuple(inputs), force
        if any(same_place(path, one) for one in outputs):
            raise UsageError("one file can't be the dump and the report", file=path)
        try:
            check_output(path, self._inputs, force=force)
        except OSError as error:
            told = refusal(error, path, "report")
            if isinstance(error, RefusedError) and error.errno == errno.EBUSY:
                raise UsageError(told.message, file=path) from error
            self.problem = str(told)

    def write(self, data: bytes) -> None:
        """Write it, unless it is known that it can't be; says in ``problem`` what is wrong."""
        if not self.problem:
            try:
                write_file(self._path, data, self._inputs, force=self._force)
            except OSError as error:
                self.problem = str(refusal(error, self._path, "report"))
