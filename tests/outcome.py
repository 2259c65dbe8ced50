"""The two allowed outcomes of an operation on damaged input: a result or a typed error."""

from __future__ import annotations

from typing import Callable, TypeVar

from vmsieve.formats.errors import VmsieveError

T = TypeVar("T")

_LONGEST = 1000  # characters of a message


def result_or_error(call: Callable[..., T], *arguments: object, **more: object) -> T | VmsieveError:
    """Call, and return the result or the typed error, whose message must be a single line."""
    try:
        return call(*arguments, **more)
    except VmsieveError as error:
        message = str(error)
        assert 0 < len(message) < _LONGEST, message
        assert "\n" not in message, message
        return error
