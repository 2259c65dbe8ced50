"""Order of events: ask the interpreter, lay out, try, hand over."""

from __future__ import annotations

import json
import os
import tempfile
from typing import TYPE_CHECKING, Any, Final

import vmsieve
from vmsieve.formats.codecs._libraries import wheel_files
from vmsieve.formats.errors import VmsieveError
from vmsieve.pipeline.initramfs.closure import Closure, package_folder
from vmsieve.pipeline.initramfs.interpreter import Interpreter
from vmsieve.pipeline.initramfs.sample import write_sample
from vmsieve.pipeline.initramfs.tree import MANIFEST, Tree, digest
from vmsieve.pipeline.initramfs.trial import SAMPLE, runs, try_image

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["build", "changed"]

#: Packages that a capture does without, where the system has the library.
_PACKAGES: Final = ("zstandard", "isal", "lz4", "tqdm")
#: Programs: the module and function that each starts.
_LAUNCHERS: Final = {
    "vmsieve": ("vmsieve.pipeline.cli.start", "run"),
    "vmsieve-makedumpfile": ("vmsieve.pipeline.makedumpfile.main", "run"),
}
#: Module whose ``main`` runs a command line in the other interpreter. A name: this room is below the command line's.
_MAIN: Final = "vmsieve.pipeline.cli.main"


def build(root: str, program: str | None, *, trial: bool = True) -> tuple[Tree, dict[str, Any]]:
    """Lay out an image in the empty folder ``root``; returns it and its manifest.

    Args:
        root: The folder.
        program: The Python that it is for; None: the one that runs this.
        trial: Run its commands in it.

    Raises:
        VmsieveError: It can't be made, or does not work.
    """
    python = Interpreter(program)
    closure = Closure(python.machine)
    told = _probe(python, closure)
    tree = Tree(root)
    own = next(iter(vmsieve.__path__))
    tree.modules(python, closure, told["modules"])
    tree.objects(python, os.path.join(own, "formats", "compiler", "objects"))
    tree.program(python, [(name, *where) for name, where in _LAUNCHERS.items() if where[0] in closure.ours])
    inside = os.path.realpath(os.path.join(own, "formats")) + os.sep, python.library + os.sep
    tree.libraries(python, [path for path in told["mapped"] if not path.startswith(inside)])
    _add_zstd(tree, python)
    manifest = {
        "vmsieve": vmsieve.__version__,
        "python": python.version,
        "machine": python.machine,
        "commands": closure.commands,
        "made_of": tree.digests(),
    }
    tree.write(MANIFEST, json.dumps(manifest, indent=1) + "\n")
    if trial:
        try_image(root, closure.commands)
    return tree, manifest


def changed(manifest: Mapping[str, Any]) -> list[str]:
    """Files that an image was made of and that are gone or others since: with any, it is time to make it again."""
    return [path for path, then in manifest["made_of"].items() if not os.path.exists(path) or digest(path) != then]


def _probe(python: Interpreter, closure: Closure) -> dict[str, Any]:
    """What the commands load, when the system's libraries are all there is."""
    with tempfile.TemporaryDirectory() as folder:
        write_sample(os.path.join(folder, SAMPLE))
        os.mkdir(os.path.join(folder, "level31"))
        return python.ask(
            "probe",
            hidden=_PACKAGES,
            path=[package_folder()],
            modules=sorted(closure.others - set(_PACKAGES)) + sorted(closure.ours),
            main=_MAIN,
            runs=[command for command, _, _ in runs(closure.commands, folder)],
        )


def _add_zstd(tree: Tree, python: Interpreter) -> None:
    """The library in the zstandard package, where the system has none."""
    if any("libzstd" in name for name in tree.sources):
        return
    found = wheel_files("zstandard", "_cffi")
    if not found:
        raise VmsieveError("zstd pages need libzstd.so.1 or the zstandard package, and neither is here")
    for _, path in found[:1]:
        tree.copy(path, f"{tree.library(python)}/zstandard/{os.path.basename(path)}", strip=True)
