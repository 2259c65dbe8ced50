"""Errors of the three rooms: few, typed, with facts.

Libraries raise them and neither print nor exit; the command line turns one into a line and an exit status.
"""

from __future__ import annotations

import errno


def _fact(value: object) -> str:
    if isinstance(value, int) and abs(value) > 9:
        return hex(value)
    # Imported here, as few errors are printed. What a damaged input says may have line breaks.
    from vmsieve.formats.text import shown

    return shown(str(value))


class VmsieveError(Exception):
    """An error that ends the work or a part of it, as one sentence."""

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        offset: int | None = None,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
    ) -> None:
        self.message = message  # the problem, in the user's words
        self.file = file
        self.offset = offset  # in the file, or a physical address if the message says so
        self.expected = expected
        self.found = found
        self.hint = hint  # what the user can do next
        super().__init__(message)

    def __str__(self) -> str:
        facts = ("at", self.offset), ("expected", self.expected), ("found", self.found)
        line = ", ".join([self.message, *(f"{name} {_fact(value)}" for name, value in facts if value is not None)])
        if self.file is not None:
            line = f"{self.file}: {line}"
        if self.hint is not None:
            line = f"{line} ({self.hint})"
        return line


class FormatError(VmsieveError):
    """The input violates its format."""


class TruncatedError(FormatError):
    """The input ends so early that none of it can be used; otherwise the source is ``incomplete``."""


class CorruptError(FormatError):
    """The input contradicts itself or its format."""


class UnsupportedError(FormatError):
    """The input is of a known kind that nothing here reads."""


class ReadError(VmsieveError):
    """A page of the input is unreadable; ``offset`` is its physical address."""

    #: Bytes from ``offset`` on known to be unreadable, not worth a try; 0 if unknown.
    span: int = 0


class KernelError(VmsieveError):
    """The dump's description of its kernel is missing or implausible."""


class WeakerError(KernelError):
    """Too little is known of the kernel for the requested filtering, and weaker filtering was forbidden."""


class OutputError(VmsieveError):
    """The output can't be written."""

    #: The system's error number, such as ``errno.ENOSPC``; None if the system was not involved.
    errno: int | None = None

    @property
    def full(self) -> bool:
        """True if the only failure was that the file system, quota or maximum file size is full."""
        return self.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def output_error(error: OSError, name: str, offset: int | None = None, what: str = "output") -> OutputError:
    """Make an OutputError from a failed open or write of ``name``; ``what`` says what it is of the dump."""
    refusal = OutputError(f"can't write the {what}: {error.strerror}", file=name, offset=offset)
    refusal.errno = error.errno
    if error.errno == errno.EPIPE:
        refusal.message = f"nobody reads the {what} any more"
    elif refusal.full:
        refusal.message = f"no space for the {what}"
    return refusal


class UsageError(VmsieveError):
    """The request is contradictory or invalid."""
