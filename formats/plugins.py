"""How plugins are found: every module of a room that ends in one typed constant.

A new plugin is one new file; nothing lists them. The constant's name and type belong to the room: ``FORMAT`` of
``formats.inputs``, ``CODEC`` of ``formats.codecs`` and so on.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, TypeVar

from vmsieve.formats.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

__all__ = ["named", "scan"]

T = TypeVar("T")


def scan(room: ModuleType, constant: str, *kinds: type[T]) -> list[T]:
    """The plugins of package ``room``, in order of their modules' names.

    Raises:
        TypeError: A module lacks the constant, or it is of another type, or two plugins have one name.
    """
    found: dict[str, T] = {}
    for own in sorted(_modules(room.__path__)):
        if own.startswith("_"):
            continue
        module = importlib.import_module(f"{room.__name__}.{own}")
        plugin: Any = getattr(module, constant, None)
        if not isinstance(plugin, kinds):
            raise TypeError(
                f"{module.__name__} has no constant {constant} of type {' or '.join(k.__name__ for k in kinds)}"
            )
        name: str = getattr(plugin, "name")  # noqa: B009 - the room types it
        if name in found:
            raise TypeError(f"{module.__name__}: the name {name} is taken")
        found[name] = plugin
    return list(found.values())


def _modules(folders: Iterable[str]) -> set[str]:
    """Names of the modules in ``folders``. Of real folders without pkgutil, whose ``inspect`` takes a megabyte."""
    found: set[str] = set()
    for folder in folders:
        if os.path.isdir(folder):
            found.update(name.partition(".")[0] for name in os.listdir(folder) if name.endswith((".py", ".pyc")))
        else:
            import pkgutil

            found.update(info.name for info in pkgutil.iter_modules([folder]))
    return found


def named(name: str, found: list[T], what: str) -> T:
    """The plugin called ``name`` among ``found``, each of which is a ``what``.

    Raises:
        UsageError: There is none; the message names those there are.
    """
    known: dict[str, T] = {getattr(one, "name"): one for one in found}  # noqa: B009 - the room types it
    if name not in known:
        raise UsageError(f"no {what} is called {name!r}", expected=" or ".join(known))
    return known[name]
