"""``typing`` in an image: names that mean nothing when a program runs. The real one takes a megabyte."""

# ruff: noqa: ARG001, ARG002 - what is given has no meaning

TYPE_CHECKING = False


class _Anything:
    """Stands for a type, whatever is asked of it."""

    def __getitem__(self, item: object) -> object:
        return self

    def __call__(self, *values: object, **named: object) -> object:
        return self

    def __or__(self, other: object) -> object:
        return self

    def __mro_entries__(self, bases: object) -> tuple[()]:
        return ()


_ANYTHING = _Anything()


def cast(kind: object, value: object) -> object:
    """``value`` as it is."""
    return value


def get_origin(kind: object) -> None:
    """No type here is made of another: ``dataclasses`` asks, which argparse needs since Python 3.14."""


def __getattr__(name: str) -> object:
    return _ANYTHING
