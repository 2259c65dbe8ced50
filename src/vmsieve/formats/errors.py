"""The errors of the three rooms: few, typed, and holding the facts.

Libraries raise them and neither print nor exit; the command line turns one into one line and an exit status.
"""

from __future__ import annotations

import errno
from typing import Final

__all__ = [
    "CorruptError",
    "FormatError",
    "KernelError",
    "OutputError",
    "ReadError",
    "TruncatedError",
    "UnsupportedError",
    "UsageError",
    "VmsieveError",
    "WeakerError",
    "refused",
]


#: The target is full: the disk, the owner's quota, or what a file may have.
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _number(value: object) -> str:
    return hex(value) if isinstance(value, int) and abs(value) > 9 else str(value)


class VmsieveError(Exception):
    """Something that ends the work or a part of it, said in one sentence.

    Args:
        message: What is wrong, in the user's words.
        file: The file it was found in.
        offset: Byte offset in that file, or a physical address where ``message`` says so.
        expected: What should have been there.
        found: What was there instead.
        hint: What the user can do next.
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
    """The input is not what its format demands."""


class TruncatedError(FormatError):
    """The input ends before what its headers promise."""


class CorruptError(FormatError):
    """The input contradicts itself or its format."""


class UnsupportedError(FormatError):
    """The input is well known but nothing here reads it."""


class ReadError(VmsieveError):
    """A page that the input describes can't be had; ``offset`` is its physical address.

    Attributes:
        span: Bytes from ``offset`` on that can't be had either: need not be tried; 0 when that is not known.
    """

    span: int = 0


class KernelError(VmsieveError):
    """What the dump says of its kernel is missing or not believable."""


class WeakerError(KernelError):
    """Too little is known of the kernel to leave out what was asked for, and that was insisted on."""


class OutputError(VmsieveError):
    """The output can't be written.

    Attributes:
        errno: What the system said, such as ``errno.ENOSPC``; None when it was not asked.
    """

    errno: int | None = None

    @property
    def full(self) -> bool:
        """Nothing is wrong but that there is no room for more."""
        return self.errno in _FULL


def refused(error: OSError, name: str, offset: int | None = None, what: str = "output") -> OutputError:
    """What the system said when ``name``, a dump's ``what``, was opened, or written at ``offset``."""
    refusal = OutputError(f"can't write the {what}: {error.strerror}", file=name, offset=offset)
    refusal.errno = error.errno
    if error.errno == errno.EPIPE:
        refusal.message = f"nobody reads the {what} any more"
    elif refusal.full:
        refusal.message = f"no room for the {what}"
    return refusal


class UsageError(VmsieveError):
    """The request itself makes no sense."""
