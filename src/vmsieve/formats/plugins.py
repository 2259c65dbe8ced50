"""Discovery of plugins: modules of a room that end in one typed constant.

A new plugin is one new file; nothing lists them. The room sets the constant's name and type: ``FORMAT`` of
``formats.inputs``, ``CODEC`` of ``formats.codecs`` and so on.
"""

from __future__ import annotations

import os
import sys

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

T = TypeVar("T")


def scan(room: ModuleType, constant: str, *kinds: type[T]) -> list[T]:
    """Load the plugins of package ``room``, in order of their modules' names.

    Raises TypeError if a module lacks the constant, or it has another type, or two plugins have one name.
    """
    found: dict[str, T] = {}
    for own in names(room):
        plugin = _load(room, constant, own, kinds)
        name: str = getattr(plugin, "name")  # noqa: B009 - T is typed by the room
        if name in found:
            raise TypeError(f"{room.__name__}.{own}: the name {name} is taken")
        found[name] = plugin
    return list(found.values())


def names(room: ModuleType) -> list[str]:
    """List the plugin modules in package ``room``, sorted, without loading them."""
    # An image for a crash kernel has no folders; its loader has the names.
    listed = getattr(room.__loader__, "names", None)
    found = listed(room.__name__) if listed is not None else _modules(room.__path__)
    return [name for name in sorted(found) if not name.startswith("_")]


def load(room: ModuleType, constant: str, name: str, what: str, *kinds: type[T]) -> T:
    """Load the plugin ``name`` from its module of that name, and no other; ``what`` names its kind in a UsageError."""
    whole = f"{room.__name__}.{name}"
    try:
        if not name.isidentifier() or name.startswith("_"):
            raise ModuleNotFoundError(name=whole)
        return _load(room, constant, name, kinds)
    except ModuleNotFoundError as error:
        if error.name != whole:
            raise
        raise UsageError(f"no {what} is called {name!r}", expected=" or ".join(names(room))) from None


def _load(room: ModuleType, constant: str, own: str, kinds: tuple[type[T], ...]) -> T:
    # Not importlib.import_module: importlib is costly to import.
    __import__(f"{room.__name__}.{own}")
    module = sys.modules[f"{room.__name__}.{own}"]
    plugin: Any = getattr(module, constant, None)
    if not isinstance(plugin, kinds):
        raise TypeError(
            f"{module.__name__} has no constant {constant} of type {' or '.join(k.__name__ for k in kinds)}"
        )
    found: T = plugin
    return found


def _modules(folders: Iterable[str]) -> set[str]:
    """Names of modules in ``folders``; of real folders without pkgutil, whose ``inspect`` takes a megabyte."""
    found: set[str] = set()
    for folder in folders:
        if os.path.isdir(folder):
            found.update(name.partition(".")[0] for name in os.listdir(folder) if name.endswith((".py", ".pyc")))
        else:
            import pkgutil

            found.update(info.name for info in pkgutil.iter_modules([folder]))
    return found
