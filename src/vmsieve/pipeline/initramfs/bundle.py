"""All modules of an image in one file, and what imports them from there.

To look for a module in folders, and to read it, takes a dozen calls of the kernel; for a hundred and fifty modules that
is a third of the time of a small capture under emulation. The file: the index's size (8 bytes, little-endian), the
index (``marshal``: name -> whether it is a package, offset, size), then each module's code (``marshal``).

An image's launchers import this module first; it imports nothing that has to be looked for.
"""

from __future__ import annotations

import _frozen_importlib
import _thread
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
#: The highest of the standard descriptors.
_STANDARD = 2
#: New objects after which Python looks for cycles. The usual 700 come a dozen times while modules are loaded, which
#: leave none: an eighth of that time.
_NEW_OBJECTS = 20_000
_Spec: Any = type(sys.__spec__)
_Module: Any = type(sys)
_importlib: Any = _frozen_importlib


class Bundle:
    """Finds and loads the modules of the file at ``path``, as if each was in a file below ``folder``."""

    def __init__(self, path: str, folder: str) -> None:
        self._path, self._folder = path, folder
        # Stays open, unless whoever started this left descriptors 0 to 2 closed, which nothing must take.
        self._fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        if self._fd <= _STANDARD:
            posix.close(self._fd)
            self._fd = -1
        size = int.from_bytes(self._read(0, _HEAD), "little")
        self.index: dict[str, tuple[bool, int, int]] = marshal.loads(self._read(_HEAD, size))

    def _read(self, offset: int, size: int) -> bytes:
        if self._fd >= 0:
            return posix.pread(self._fd, size, offset)
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

    def load(self, name: str) -> ModuleType:
        """Import a module of the bundle that was not imported yet, by what Python's way to do it comes down to."""
        parent, _, own = name.rpartition(".")
        if parent and parent not in sys.modules:
            __import__(parent)
            if name in sys.modules:  # by its package
                return sys.modules[name]
        module: Any = _Module(name)
        spec = module.__spec__ = self.find_spec(name)
        spec._initializing = True  # noqa: SLF001 - as importlib does, for what is said of imports in a circle
        module.__loader__ = self
        module.__package__ = parent
        if spec.submodule_search_locations is not None:
            module.__package__, module.__path__ = name, spec.submodule_search_locations
        sys.modules[name] = module
        try:
            self.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        spec._initializing = False  # noqa: SLF001
        if parent:
            setattr(sys.modules[parent], own, module)
        return sys.modules[name]

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
    bundle = Bundle(f"{folder}/{NAME}", folder)
    sys.meta_path.insert(2, bundle)
    _hasten(bundle)
    import _collections_abc

    # For one line in it, ``array`` imports ``collections``, which takes more than any module of ours.
    names = ("collections", "collections.abc")
    if not any(name in sys.modules for name in names):
        sys.modules.update(dict.fromkeys(names, _collections_abc))
        import array  # noqa: F401 - loaded, not used

        for name in names:
            del sys.modules[name]


def _hasten(bundle: Bundle) -> None:
    """Have modules of the bundle imported without Python's own steps: its locks, its finders, and what they ask.

    Those are nine tenths of what an import takes beside the module itself. ``import`` of what was not imported before
    comes down to ``_find_and_load`` (Python/import.c, 3.9 to 3.14). With a second thread, locks are needed again.
    """
    usual: Any = getattr(_importlib, "_find_and_load", None)
    if usual is None:
        return

    def find_and_load(name: str, import_: Any) -> ModuleType:
        if name in bundle.index and not _thread._count():  # noqa: SLF001
            return bundle.load(name)
        module: ModuleType = usual(name, import_)
        return module

    _importlib._find_and_load = find_and_load  # noqa: SLF001 - there is no other way in
