"""All modules of an image in one file, and what imports them from there.

To look for a module in folders, and to read it, takes a dozen calls of the kernel; for a hundred and fifty modules that
is a third of the time of a small capture under emulation. The file: the index's size (8 bytes, little-endian), the
index (``marshal``: name -> whether it is a package, offset, size), then each module's code (``marshal``).

An image's launchers import this module first; it imports nothing that has to be looked for.
"""

from __future__ import annotations

import _collections_abc
import gc
import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

__all__ = ["NAME", "Bundle", "install", "pack"]

#: The file's name, beside this module's.
NAME = "modules"
_HEAD = 8
#: New objects after which Python looks for cycles. The usual 700 come a dozen times while modules are loaded, which
#: leave none: an eighth of that time.
_NEW_OBJECTS = 20_000
_Spec: Any = type(sys.__spec__)


class Bundle:
    """Finds and loads the modules of the file at ``path``, as if each was in a file below ``folder``."""

    def __init__(self, path: str, folder: str) -> None:
        self._path, self._folder = path, folder
        size = int.from_bytes(self._read(0, _HEAD), "little")
        self.index: dict[str, tuple[bool, int, int]] = marshal.loads(self._read(_HEAD, size))

    def _read(self, offset: int, size: int) -> bytes:
        # Opened each time: whoever started this may have left descriptors 0 to 2 closed, which nothing must take.
        fd = posix.open(self._path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            return posix.pread(fd, size, offset)
        finally:
            posix.close(fd)

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        """See importlib.abc.MetaPathFinder."""
        del path, target
        found = self.index.get(name)
        if found is None:
            return None
        spec: Any = _Spec(name, self, is_package=found[0])
        if found[0]:
            spec.submodule_search_locations = [self._file(name)]
        return spec

    def _file(self, name: str) -> str:
        return f"{self._folder}/{name.replace('.', '/')}"

    def create_module(self, spec: object) -> None:
        """See importlib.abc.Loader."""

    def exec_module(self, module: ModuleType) -> None:
        """See importlib.abc.Loader."""
        name = module.__name__
        package, offset, size = self.index[name]
        # Said here, and not in the spec, which would make up a place for bytecode too.
        module.__file__ = self._file(name) + ("/__init__.py" if package else ".py")
        exec(marshal.loads(self._read(offset, size)), module.__dict__)

    def names(self, package: str) -> set[str]:
        """Names of the modules in ``package``, which no folder tells."""
        start = f"{package}."
        return {name[len(start) :] for name in self.index if name.startswith(start) and "." not in name[len(start) :]}


def pack(modules: dict[str, tuple[bool, bytes]]) -> bytes:
    """The file of these modules: name -> whether it is a package, code."""
    index: dict[str, tuple[bool, int, int]] = {}

    def laid_out(start: int) -> bytes:
        at = start
        for name, (package, code) in modules.items():
            index[name] = package, at, len(code)
            at += len(code)
        return marshal.dumps(index, 2)

    # Numbers take the same room whatever they are, up to 2 GiB.
    start = _HEAD + len(laid_out(0))
    head = laid_out(start)
    return len(head).to_bytes(_HEAD, "little") + head + b"".join(code for _, code in modules.values())


def install() -> None:
    """Import from the bundle beside this file, behind what is built in and before all else."""
    gc.set_threshold(_NEW_OBJECTS)
    folder = __file__.rpartition("/")[0]
    # For one line in it, ``array`` imports ``collections``, which takes more than any module of ours.
    names = ("collections", "collections.abc")
    if not any(name in sys.modules for name in names):
        sys.modules.update(dict.fromkeys(names, _collections_abc))
        import array  # noqa: F401 - loaded, not used

        for name in names:
            del sys.modules[name]
    sys.meta_path.insert(2, Bundle(f"{folder}/{NAME}", folder))
