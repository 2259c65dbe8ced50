"""``typing`` of an image: placeholders without meaning at run time.

The real module costs a third of start-up (18 of 60 ms of a small dump, median of 41) and 1.9 MiB. A shim for
``_collections_abc`` was tried too: mostly below 7 %, which its code was not worth.
"""

# ruff: noqa: ARG001, ARG002 - arguments have no meaning here

TYPE_CHECKING = False


class _Anything:
    """A type that supports every operation on types."""

    def __call__(self, *values: object, **named: object) -> object:
        return self

    __getitem__ = __or__ = __call__

    def __mro_entries__(self, bases: object) -> tuple[()]:
        return ()


_ANYTHING = _Anything()


def cast(kind: object, value: object) -> object:
    """Return ``value`` unchanged."""
    return value


def get_origin(kind: object) -> None:
    """Return None: no type here is generic. ``dataclasses`` calls this, which argparse imports since Python 3.14."""


def __getattr__(name: str) -> object:
    return _ANYTHING
