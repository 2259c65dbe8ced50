"""The modules of this package that a capture may ever import, found in the import statements of the sources."""

from __future__ import annotations

import ast
import os

import vmsieve
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS: Final = ("capture", "dmesg", "dump", "makedumpfile")  # commands of an image
#: Plugins that an image includes, by package: ``/proc/vmcore`` is an ELF file. Packages in _ALL_PLUGINS come whole; of
#: _ARCH only the machine's own.
_PLUGINS: Final = {
    "vmsieve.formats.inputs": ("elf", "flattened", "kdump"),
    "vmsieve.formats.outputs": ("elf", "kdump"),
    "vmsieve.formats.frames": (),
    "vmsieve.pipeline.cli.commands": COMMANDS,
}
_ALL_PLUGINS: Final = ("vmsieve.formats.codecs", "vmsieve.filters.importance", "vmsieve.filters.rules")
_ARCH: Final = "vmsieve.filters.linux.arch"
#: Backends of loops besides machine code, the check of its age, and readers of vmlinux files.
_LEFT_OUT: Final = (
    "vmsieve.formats.compiler.numba_backend", "vmsieve.formats.compiler.dialect", "vmsieve.formats.compiler.checkout",
    "vmsieve.filters.linux.debuginfo.vmlinux", "vmsieve.filters.linux.debuginfo.dwarf",
)  # fmt: skip
_ROOT: Final = next(iter(vmsieve.__path__))
PACKAGE_FOLDER: Final = os.path.dirname(_ROOT)  # the directory that this package is imported from


class Closure:
    """The modules of an image, and its commands."""

    def __init__(self, machine: str) -> None:
        self._machine = machine
        self.ours: dict[str, str] = {}  # source path of each module of this package, by dotted name
        self.others: set[str] = set()  # other imported modules: Python's, and packages that an image does without
        self.commands = [name for name in COMMANDS if _path(f"vmsieve.pipeline.cli.commands.{name}")]
        self._add("vmsieve.pipeline.cli.start")

    def _add(self, name: str) -> None:
        path = _path(name)
        if path is None or name in self.ours or name in _LEFT_OUT:
            return
        self.ours[name] = path
        if "." in name:
            self._add(name.rpartition(".")[0])
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read(), path)
        for wanted in _imports(tree):
            if wanted.partition(".")[0] == "vmsieve":
                self._add(wanted)
            else:
                self.others.add(wanted)
        for plugin in self._plugins(name, os.path.dirname(path)):
            self._add(f"{name}.{plugin}")

    def _plugins(self, room: str, folder: str) -> list[str]:
        if room in _ALL_PLUGINS:
            names = (entry.partition(".")[0] for entry in os.listdir(folder) if entry.endswith(".py"))
            return [name for name in names if not name.startswith("_")]
        if room == _ARCH:
            return [self._machine]
        return list(_PLUGINS.get(room, ()))


def _path(name: str) -> str | None:
    """Source path of a module of this package, or None."""
    base = os.path.join(_ROOT, *name.split(".")[1:])
    for path in (os.path.join(base, "__init__.py"), f"{base}.py"):
        if os.path.isfile(path):
            return path
    return None


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yield imported names, except those in ``if TYPE_CHECKING``; ``from a import b`` may mean module ``a.b``."""
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        children: list[ast.AST] = list(tree.orelse)
    else:
        children = list(ast.iter_child_nodes(tree))
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom) and tree.module:
        yield tree.module
        yield from (f"{tree.module}.{alias.name}" for alias in tree.names)
    for child in children:
        yield from _imports(child)
