"""Names of :mod:`typing`, without meaning at run time. For type checkers it is :mod:`typing`.

The real module costs a tenth of a small dump's start-up, with ``collections``, ``functools`` and ``contextlib``, which
it imports, and 1.9 MiB. An image for a crash kernel has this module under both names. (A shim for
``_collections_abc`` was tried there: mostly below 7 % of the start, which its code was not worth.)
"""

# ruff: noqa: ARG001, ARG002 - arguments have no meaning here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Final, Generic, NoReturn, Protocol, TypeVar, cast
else:

    class _Anything:
        """A type that supports every operation on types."""

        def __call__(self, *values, **named):
            return self

        __getitem__ = __or__ = __call__

        def __mro_entries__(self, bases):
            return ()

    Any = Callable = Final = Generic = NoReturn = Protocol = TypeVar = _Anything()

    def cast(kind, value):
        """Return ``value`` unchanged."""
        return value

    def get_origin(kind):
        """Return None: no type here is generic. ``dataclasses`` of an image needs it, for argparse of Python 3.14."""

    def __getattr__(name):
        return Any


__all__ = ["TYPE_CHECKING", "Any", "Callable", "Final", "Generic", "NoReturn", "Protocol", "TypeVar", "cast"]
