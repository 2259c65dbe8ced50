"""Records: classes defined by their fields. For type checkers this is :func:`dataclasses.dataclass`."""

from __future__ import annotations

from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from dataclasses import dataclass as record
    from dataclasses import field, replace
else:

    class _Factory:
        def __init__(self, make: Callable[[], Any]) -> None:
            self.make = make

    def field(*, default_factory: Callable[[], Any]) -> _Factory:
        """Declare a default that is made anew for each record."""
        return _Factory(default_factory)

    def record(cls: type | None = None, *, frozen: bool = False, eq: bool = True) -> Any:
        """Give a class ``__init__``, ``__repr__`` and ``__eq__`` from its annotated fields, those of its bases first.

        ``frozen``: fields are read-only, and equal records have equal hashes. Without ``eq``, a record equals only
        itself.
        """
        return _equip(cls, frozen, eq) if cls is not None else lambda one: _equip(one, frozen, eq)

    def replace(one: Any, **changes: Any) -> Any:
        """Copy ``one`` with some fields changed."""
        return type(one)(**{**vars(one), **changes})

    def _equip(cls: type, frozen: bool, eq: bool) -> type:
        # An attribute, not vars(): since Python 3.14 (PEP 649), annotations are made on access.
        annotated = [getattr(base, "__annotations__", {}) for base in reversed(cls.__mro__)]
        names = tuple(dict.fromkeys(name for one in annotated for name in one))
        defaults = {name: getattr(cls, name) for name in names if hasattr(cls, name)}

        def __init__(self: Any, *values: Any, **named: Any) -> None:
            if len(values) == len(names) and not named:
                self.__dict__.update(zip(names, values))
                return
            given = dict(zip(names, values), **named)
            if len(values) > len(names) or not given.keys() <= set(names):
                raise TypeError(f"{cls.__name__} has no such field: {sorted(given.keys() - set(names))}")
            for name in names:
                if name not in given:
                    if name not in defaults:
                        raise TypeError(f"{cls.__name__} lacks its field {name}")
                    default = defaults[name]
                    given[name] = default.make() if isinstance(default, _Factory) else default
            self.__dict__.update(given)

        def __repr__(self: Any) -> str:
            inner = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
            return f"{type(self).__name__}({inner})"

        def __eq__(self: Any, other: object) -> bool:
            return type(other) is type(self) and all(getattr(self, n) == getattr(other, n) for n in names)

        def __hash__(self: Any) -> int:
            return hash(tuple(getattr(self, name) for name in names))

        def __setattr__(self: Any, name: str, _: Any) -> None:
            raise AttributeError(f"{type(self).__name__} is frozen: {name} can't be set")

        methods = [__init__, __repr__]
        if eq:
            methods.append(__eq__)
            cls.__hash__ = __hash__ if frozen else None
        if frozen:
            methods.append(__setattr__)
        for method in methods:
            if method.__name__ not in vars(cls):
                setattr(cls, method.__name__, method)
        return cls


__all__ = ["field", "record", "replace"]
