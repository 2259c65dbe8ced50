"""Errors of the three rooms: few, typed, with facts.

Libraries raise them and neither print nor exit; the command line turns one into a line and an exit status.
"""

from __future__ import annotations

import errno
from typing import Final

#: The target is full: file system, quota, or maximum file size.
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _number(value: object) -> str:
    return hex(value) if isinstance(value, int) and abs(value) > 9 else str(value)


class VmsieveError(Exception):
    """An error that ends the work or a part of it, as one sentence.

    Args:
        message: The problem, in the user's words.
        file: The file concerned.
        offset: Byte offset in it, or a physical address if ``message`` says so.
        expected: Expected value.
        found: Actual value.
        hint: Advice for the user's next step.
    """

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
        self.message = message
        self.file = file
        self.offset = offset
        self.expected = expected
        self.found = found
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        parts = [self.message]
        if self.offset is not None:
            parts.append(f"at {_number(self.offset)}")
        if self.expected is not None:
            parts.append(f"expected {_number(self.expected)}")
        if self.found is not None:
            parts.append(f"found {_number(self.found)}")
        line = ", ".join(parts)
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
    """A page of the input is unreadable; ``offset`` is its physical address.

    Attributes:
        span: Bytes from ``offset`` on known to be unreadable, not worth a try; 0 if unknown.
    """

    span: int = 0


class KernelError(VmsieveError):
    """The dump's description of its kernel is missing or implausible."""


class WeakerError(KernelError):
    """Too little is known of the kernel for the requested filtering, and weaker filtering was forbidden."""


class OutputError(VmsieveError):
    """The output can't be written.

    Attributes:
        errno: The system's error number, such as ``errno.ENOSPC``; None if the system was not involved.
    """

    errno: int | None = None

    @property
    def full(self) -> bool:
        """True if the only failure was ENOSPC, EDQUOT or EFBIG."""
        return self.errno in _FULL


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
