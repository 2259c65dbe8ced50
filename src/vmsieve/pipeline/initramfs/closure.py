"""Which modules of this package a capture may ever import, told from the sources."""

from __future__ import annotations

import ast
import os
from typing import TYPE_CHECKING, Final

import vmsieve

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["COMMANDS", "Closure", "package_folder"]

#: What an image can do, as far as this package has it.
COMMANDS: Final = ("capture", "dmesg", "dump", "makedumpfile")
#: Plugins that an image takes along, by room: ``/proc/vmcore`` is an ELF file. Of other rooms all, of architectures
#: that of the machine.
_PLUGINS: Final = {
    "vmsieve.formats.inputs": ("elf", "flattened", "kdump"),
    "vmsieve.formats.outputs": ("elf", "kdump"),
    "vmsieve.formats.frames": (),
    "vmsieve.pipeline.cli.commands": COMMANDS,
}
_ALL_PLUGINS: Final = ("vmsieve.formats.codecs", "vmsieve.filters.rules")
_ARCH: Final = "vmsieve.filters.linux.arch"
#: Other ways to run kernels than machine code, what asks whether that is old, and what reads a vmlinux file.
_LEFT_OUT: Final = (
    "vmsieve.formats.compiler.numba_backend", "vmsieve.formats.compiler.dialect", "vmsieve.formats.compiler.checkout",
    "vmsieve.filters.linux.debuginfo.vmlinux", "vmsieve.filters.linux.debuginfo.dwarf",
)  # fmt: skip
_ROOT: Final = next(iter(vmsieve.__path__))


def package_folder() -> str:
    """The folder that this package is imported from."""
    return os.path.dirname(_ROOT)


class Closure:
    """The modules of an image.

    Attributes:
        ours: Path of the source of each module of this package, by its dotted name.
        others: Modules imported from elsewhere: the standard library, and packages that an image does without.
        commands: Those that the image has.
    """

    def __init__(self, machine: str) -> None:
        self._machine = machine
        self.ours: dict[str, str] = {}
        self.others: set[str] = set()
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
    """Source of the module ``name`` of this package; None if there is no such module."""
    base = os.path.join(_ROOT, *name.split(".")[1:])
    for path in (os.path.join(base, "__init__.py"), f"{base}.py"):
        if os.path.isfile(path):
            return path
    return None


def _imports(tree: ast.AST) -> Iterator[str]:
    """What is imported anywhere but for type checkers; ``from a import b`` may mean ``a.b``."""
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
