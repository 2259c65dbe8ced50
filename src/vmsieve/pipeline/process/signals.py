"""SIGINT, SIGTERM and SIGHUP raise an exception, so that the dump so far is finalised and marked incomplete."""

from __future__ import annotations

# The ``signal`` module wraps this one, in enumerations that take a megabyte.
import _signal  # type: ignore[import-not-found]

from vmsieve.formats.slim.contexts import contextmanager
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SIGNALS = {_signal.SIGINT: "SIGINT", _signal.SIGTERM: "SIGTERM", _signal.SIGHUP: "SIGHUP"}


class Interrupted(BaseException):
    """A signal ended the work. A ``BaseException``, so that no handler of errors swallows it."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise :class:`Interrupted` in the main thread on the first signal; a second one kills the process."""

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        for each in _SIGNALS:
            _signal.signal(each, _signal.SIG_DFL)
        raise Interrupted(f"stopped by {_SIGNALS[number]}")

    before = {each: _signal.signal(each, stop) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            _signal.signal(each, handler)
