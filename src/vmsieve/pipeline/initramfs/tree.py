"""The directory that an image is laid out in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess

from vmsieve.formats.slim.records import field, record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.initramfs import libraries
from vmsieve.pipeline.initramfs.bundle import NAME
from vmsieve.pipeline.initramfs.closure import PACKAGE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vmsieve.pipeline.initramfs.closure import Closure
    from vmsieve.pipeline.initramfs.interpreter import Interpreter

HOME: Final = "usr/lib/vmsieve"  # directory of everything that an initramfs does not have already
MANIFEST: Final = f"{HOME}/manifest.json"
PROGRAM: Final = f"{HOME}/bin/python3"
BUNDLE: Final = "vmsieve_bundle"  # name of the module :mod:`.bundle` in an image
#: Options and environment of the interpreter: no site packages; a fixed hash seed, because getrandom() may block for a
#: second in a kernel that has just booted.
OPTIONS: Final = "-sSB"
ENVIRONMENT: Final = {"PYTHONHASHSEED": "0", "PYTHONHOME": "", "PYTHONPATH": ""}
_LAUNCH: Final = """\
#!/bin/sh
{environment} exec /{program} {options} /{start} "$@"
"""
_START: Final = """\
import {bundle}
{bundle}.install()
from vmsieve.pipeline.cli.start import {function}
{function}()
"""
#: Modules that the interpreter imports before the bundle is installed; it finds its library by ``os``.
_EARLY: Final = (
    "encodings", "os", "codecs", "io", "abc", "_collections_abc", "stat", "posixpath", "genericpath",
)  # fmt: skip
_HERE: Final = os.path.dirname(__file__)
#: Modules of the standard library that an image replaces, and what by.
_SHIMS: Final = {
    "ctypes": os.path.join(_HERE, "shims", "ctypes.py"),
    "encodings.aliases": os.path.join(_HERE, "shims", "aliases.py"),
    "typing": os.path.join(PACKAGE_FOLDER, "vmsieve", "formats", "slim", "typing.py"),
}


@record
class Tree:
    """An image that is being built."""

    root: str  # its directory
    # The host's file that each file was copied from, by path in the image; "" for generated files.
    sources: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)  # target of each symbolic link, by path in the image
    parts: list[str] = field(default_factory=list)  # the host's files in the bundle

    @staticmethod
    def library(python: Interpreter) -> str:
        """Directory of Python's modules, including ours."""
        return f"{HOME}/{python.folder}/{python.short}"

    def path(self, name: str) -> str:
        """Path of ``name`` on the host; creates its directory."""
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        return path

    def copy(self, source: str, name: str, *, strip: bool = False, mode: int = 0o644) -> None:
        """Copy a host's file; ``strip``: without symbols, if the program ``strip`` is available."""
        target = self.path(name)
        shutil.copyfile(source, target)
        os.chmod(target, mode)
        if strip:
            _strip(target)
            os.chmod(target, mode)
        self.sources[name] = source

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a text file."""
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(os.path.join(self.root, name), mode)
        self.sources[name] = ""

    def link(self, target: str, name: str) -> None:
        """Create a symbolic link."""
        os.symlink(target, self.path(name))
        self.links[name] = target

    def size(self) -> int:
        """Size of all files in bytes."""
        return sum(os.path.getsize(os.path.join(self.root, name)) for name in self.sources)

    def digests(self) -> dict[str, str]:
        """SHA-256 of the host's files that the image was made of, by path."""
        return {path: digest(path) for path in sorted({*self.sources.values(), *self.parts}) if path}

    def modules(self, python: Interpreter, closure: Closure, loaded: dict[str, tuple[str, bool]]) -> None:
        """Compile our modules, and those of the standard library that were ``loaded`` (name -> file, is frozen)."""
        library, inside = self.library(python), python.library + os.sep
        wanted = dict(closure.ours)
        for name, (path, frozen) in loaded.items():
            if name.partition(".")[0] == "vmsieve" or not path.startswith(inside):
                continue
            if path.endswith(".so"):
                self.copy(path, f"{library}/lib-dynload/{os.path.basename(path)}", strip=True)
            elif not frozen or name == "os":
                wanted[name] = path
        wanted = {name: path for name, path in wanted.items() if name.partition(".")[0] not in _SHIMS} | _SHIMS
        early = [name for name in wanted if name.partition(".")[0] in _EARLY]
        alone = {name: wanted.pop(name) for name in early}
        alone[BUNDLE] = os.path.join(_HERE, "bundle.py")
        small = {*closure.ours, *_SHIMS, BUNDLE}
        files = []
        for name, path in alone.items():
            made = f"{library}/{name.replace('.', '/')}{'/__init__' if _is_package(path) else ''}.pyc"
            self.sources[made] = path
            files.append((self.path(made), path, name, name in small))
        bundle = self.path(f"{library}/{NAME}")
        self.sources[f"{library}/{NAME}"] = ""
        self.parts = sorted(wanted.values())
        modules = [(name, _is_package(path), path, name, name in small) for name, path in sorted(wanted.items())]
        python.ask("compile", path=[PACKAGE_FOLDER], files=files, modules=modules, bundle=bundle)
        os.makedirs(os.path.join(self.root, library, "lib-dynload"), exist_ok=True)

    def program(self, python: Interpreter, launchers: Mapping[str, str]) -> None:
        """Copy the interpreter, and write scripts that start it: name and function of each."""
        self.copy(python.program, PROGRAM, strip=True, mode=0o755)
        environment = " ".join(f"{name}={value}" for name, value in ENVIRONMENT.items())
        for name, function in launchers.items():
            start = f"{HOME}/{name}"
            self.write(start, _START.format(bundle=BUNDLE, function=function))
            text = _LAUNCH.format(environment=environment, program=PROGRAM, options=OPTIONS, start=start)
            self.write(f"usr/bin/{name}", text, 0o755)

    def objects(self, python: Interpreter, folder: str) -> None:
        """Copy the loops' machine code for this machine: for every processor, as emulators may have the oldest."""
        target = f"{self.library(python)}/vmsieve/formats/compiler/objects"
        for name in (f"{python.machine}{suffix}.so" for suffix in ("", "-v1", "-v3")):
            if os.path.exists(os.path.join(folder, name)):
                self.copy(os.path.join(folder, name), f"{target}/{name}")

    def libraries(self, python: Interpreter, mapped: Iterable[str]) -> None:
        """Copy shared libraries to the paths where the loader looks for them."""
        start = libraries.loader(python.program)
        if start:
            self.copy(os.path.realpath(start), start.lstrip("/"), mode=0o755)
        for path in libraries.shared(mapped):
            if path not in self.sources.values():
                self._library(python, path)

    def _library(self, python: Interpreter, path: str) -> None:
        private = os.path.dirname(python.library) + os.sep
        if not path.startswith(private) or private in ("/usr/lib/", "/usr/lib64/", "/lib/"):
            self.copy(path, path.lstrip("/"), strip=True, mode=0o755)
            for name in list(libraries.names(path))[1:]:
                self.link(os.path.basename(path), name.lstrip("/"))
            return
        # A private library of this Python: found relative to the interpreter, or by its absolute path on the host.
        for name in libraries.names(path):
            own = f"{HOME}/{python.folder}/{os.path.basename(name)}"
            if name == path:
                self.copy(path, own, strip=True, mode=0o755)
            else:
                self.link(os.path.basename(path), own)
            self.link(f"/{own}", name.lstrip("/"))


def _is_package(path: str) -> bool:
    return os.path.basename(path).startswith("__init__.")


def digest(path: str) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _strip(path: str) -> None:
    """Strip symbols from a program or library; if ``strip`` is missing or fails, the file stays as it is."""
    made = f"{path}.stripped"
    try:
        ran = subprocess.run(
            ["strip", "--strip-unneeded", "-o", made, path], check=False, capture_output=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    if ran.returncode == 0:
        os.replace(made, path)
    elif os.path.exists(made):
        os.remove(made)
