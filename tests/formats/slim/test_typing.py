"""The stand-in for ``typing``: the same names, which at run time do no more than this package needs."""

from __future__ import annotations

import typing

from vmsieve.formats.slim import typing as slim

USES = """
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Callable, Generic, Protocol, TypeVar, cast

T = TypeVar("T", bound=Callable[..., int])
Read = Callable[[int, int], Any | None]

class Workers(Generic[T]):
    pass

class Place(Protocol):
    size: int

class Results(dict[int, T]):
    pass

value = cast("Callable[..., int]", 1)
"""


def test_every_name_is_typings() -> None:
    """Type checkers see :mod:`typing` instead, so each name has to exist there."""
    assert set(slim.__all__) <= set(dir(typing))


def test_its_types_work_at_run_time() -> None:
    """As bounds and aliases, and as bases of classes, which inherit nothing from them; no block for type checkers."""
    space: dict[str, typing.Any] = {}
    exec(USES, space)
    assert space["Workers"].__mro__[1:] == space["Place"].__mro__[1:] == (object,)
    assert space["Results"].__mro__[1:] == (dict, object)
    assert space["value"] == 1
    assert space["TYPE_CHECKING"] is False
