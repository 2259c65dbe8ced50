"""Outputs of commands: :mod:`vmsieve.pipeline.process.writing` with errors of :mod:`vmsieve.formats.errors`."""

from __future__ import annotations

import errno
import sys

from vmsieve.formats.errors import OutputError, UsageError, output_error
from vmsieve.formats.inputs import input_paths
from vmsieve.formats.slim.contexts import contextmanager
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.process import writing
from vmsieve.pipeline.process.streams import require_stdout
from vmsieve.pipeline.process.writing import Output, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO


def files_read(dump: str, *others: str | None) -> tuple[str, ...]:
    """The files that a command reads: those named in ``dump``, and each of ``others`` that is not None."""
    return (*input_paths(dump), *(one for one in others if one is not None))


def refusal(error: OSError, path: str, what: str = "output") -> OutputError:
    """The error to raise if ``path``, the ``what``, can't be opened, written or replaced."""
    if not isinstance(error, RefusedError):
        return output_error(error, path, what=what)
    hint = "-f overwrites it" if error.errno == errno.EEXIST else None
    return OutputError(str(error.strerror), file=path, hint=hint)


@contextmanager
def _explained(path: str, what: str = "output") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise refusal(error, path, what) from error


def opened_output(path: str, inputs: Iterable[str], *, force: bool, beside: bool = True) -> Output:
    """As :func:`vmsieve.pipeline.process.writing.open_output`; raises OutputError."""
    with _explained(path):
        return writing.open_output(path, inputs, force=force, beside=beside)


@contextmanager
def saved(path: str, inputs: Iterable[str], *, force: bool, what: str = "output") -> Iterator[Output]:
    """Open a file, the ``what``, that gets its name at the end of the block; an OSError becomes an OutputError.

    After an exception, the file that was there before is unchanged.
    """
    with _explained(path, what), writing.open_output(path, inputs, force=force) as output:
        yield output


@contextmanager
def saved_stream(path: str, inputs: Iterable[str], *, force: bool, what: str = "output") -> Iterator[BinaryIO]:
    """As :func:`saved`, but buffered; ``-``: standard output."""
    if path == "-":
        require_stdout()
        check_standard_output(inputs)
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with saved(path, inputs, force=force, what=what) as output, open(output.fd, "wb", closefd=False) as out:
        yield out


def check_standard_output(inputs: Iterable[str]) -> None:
    """Raise OutputError if standard output is an input."""
    try:
        writing.check_stream(sys.stdout.fileno(), inputs)
    except RefusedError as error:
        raise refusal(error, "standard output") from error
    except (OSError, ValueError):
        return  # no file is connected to it


def standard_output(inputs: Iterable[str]) -> int:
    """The file descriptor of standard output; raises OutputError if it is closed, or is an input."""
    require_stdout()
    check_standard_output(inputs)
    return sys.stdout.fileno()


def check_no_terminal(path: str) -> None:
    """Raise UsageError if ``path`` is standard output and a terminal, which a dump would only garble."""
    if path == "-" and sys.stdout is not None and sys.stdout.isatty():
        hint = "name a file, or pipe it: ... - | ssh HOST 'cat > vmcore.flat'"
        raise UsageError("a dump is binary, and standard output is a terminal", hint=hint)


def check_saved(path: str, inputs: Iterable[str], *, force: bool, what: str = "output") -> None:
    """Raise the OutputError that :func:`saved` would raise, as far as that is known in advance."""
    with _explained(path, what):
        writing.check_output(path, inputs, force=force)


def is_stdout(path: str) -> bool:
    """True if ``path`` names standard output; a terminal or another character device is not compared."""
    return path == "-" or writing.same_output("-", path)


class SideFile:
    """A file written beside a dump. If it can't be written, the dump is still made."""

    def __init__(self, path: str, inputs: Iterable[str], outputs: Iterable[str], *, force: bool) -> None:
        """Check in advance that it can be written; raises UsageError if it is an input or another output."""
        self.problem = ""  # why it can't be written
        self._path, self._inputs, self._force = path, tuple(inputs), force
        if any(writing.same_output(path, one) for one in outputs):
            raise UsageError("one file can't be the dump and the report", file=path)
        try:
            writing.check_output(path, self._inputs, force=force)
        except OSError as error:
            problem = refusal(error, path, "report")
            if isinstance(error, RefusedError) and error.errno == errno.EBUSY:
                raise UsageError(problem.message, file=path) from error
            self.problem = str(problem)

    def write(self, data: bytes) -> None:
        if not self.problem:
            try:
                writing.write_file(self._path, data, self._inputs, force=self._force)
            except OSError as error:
                self.problem = str(refusal(error, self._path, "report"))
