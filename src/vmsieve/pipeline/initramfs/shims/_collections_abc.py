"""``_collections_abc`` in an image: what ``os`` and ``array`` ask of it. The real one takes longer than all others.

Whoever asks for more, such as ``collections``, which threads need, gets the real one's.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def _check_methods(kind: type, *names: str) -> Any:
    """Whether a class has methods, for ``os.PathLike``."""
    return True if all(getattr(kind, name, None) for name in names) else NotImplemented


class Mapping:
    """What is looked up by keys: ``os`` knows mappings by it."""


class MutableMapping(Mapping):
    """``os.environ``: what it does not do itself."""

    def __contains__(self, key: object) -> bool:
        try:
            self[key]  # type: ignore[index]
        except KeyError:
            return False
        return True

    def get(self, key: Any, default: Any = None) -> Any:
        """The value of ``key``, or ``default``."""
        try:
            return self[key]  # type: ignore[index]
        except KeyError:
            return default

    def keys(self) -> Iterator[Any]:
        """All keys."""
        return iter(self)  # type: ignore[call-overload,no-any-return]

    def items(self) -> Iterator[Any]:
        """All keys, each with its value."""
        return ((key, self[key]) for key in self)  # type: ignore[attr-defined,index]

    def pop(self, key: Any, *default: Any) -> Any:
        """Take ``key`` out; its value, or ``default``."""
        try:
            value = self[key]  # type: ignore[index]
        except KeyError:
            if default:
                return default[0]
            raise
        del self[key]  # type: ignore[attr-defined]
        return value


class MutableSequence:
    """What ``array`` says of itself."""

    @classmethod
    def register(cls, kind: type) -> type:
        """Nobody will ask."""
        return kind


def __getattr__(name: str) -> Any:
    if name == "__path__":  # every import asks for that
        raise AttributeError(name)
    import _imp

    whole = type(sys)("_collections_abc")
    exec(_imp.get_frozen_object("_collections_abc"), whole.__dict__)
    if not hasattr(whole, name):
        raise AttributeError(name)
    globals().update((key, value) for key, value in vars(whole).items() if not key.startswith("__"))
    return getattr(whole, name)
