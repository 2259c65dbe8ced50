"""Builds an image: examine the interpreter, lay out the files, test."""

from __future__ import annotations

import json
import os
import tempfile

import vmsieve
from vmsieve.formats.codecs._libraries import wheel_files
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final
from vmsieve.pipeline.initramfs.closure import PACKAGE_FOLDER, Closure
from vmsieve.pipeline.initramfs.interpreter import Interpreter
from vmsieve.pipeline.initramfs.sample import write_sample
from vmsieve.pipeline.initramfs.tree import MANIFEST, Tree, digest
from vmsieve.pipeline.initramfs.trial import SAMPLE, runs, try_image

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Packages that an image leaves out, because the system has the C libraries.
_PACKAGES: Final = ("zstandard", "isal", "lz4", "tqdm")
#: Programs of an image, the function of :mod:`vmsieve.pipeline.cli.start` that each calls, and the module it needs.
_LAUNCHERS: Final = (
    ("vmsieve", "run", "vmsieve.pipeline.cli.main"),
    ("vmsieve-makedumpfile", "run_makedumpfile", "vmsieve.pipeline.makedumpfile.main"),
)
#: Module whose ``main`` runs a command line in the other interpreter. A name: this room is below the command line's.
_MAIN: Final = "vmsieve.pipeline.cli.main"


def build(root: str, program: str | None, *, trial: bool = True) -> tuple[Tree, dict[str, Any]]:
    """Lay out an image in the empty directory ``root``, and test it (``trial``); returns it and its manifest.

    ``program``: path of the target interpreter; None: the running one.
    """
    python = Interpreter(program)
    closure = Closure(python.machine)
    loaded = _probe(python, closure)
    tree = Tree(root)
    own = next(iter(vmsieve.__path__))
    tree.modules(python, closure, loaded["modules"])
    tree.objects(python, os.path.join(own, "formats", "compiler", "objects"))
    tree.program(python, {name: function for name, function, needed in _LAUNCHERS if needed in closure.ours})
    inside = os.path.realpath(os.path.join(own, "formats")) + os.sep, python.library + os.sep
    tree.libraries(python, [path for path in loaded["mapped"] if not path.startswith(inside)])
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
    """Files that an image was made of and that have changed or vanished since; if any, rebuild the image."""
    return [path for path, then in manifest["made_of"].items() if not os.path.exists(path) or digest(path) != then]


def _probe(python: Interpreter, closure: Closure) -> dict[str, Any]:
    """Find what the commands load when only the system's libraries are available."""
    with tempfile.TemporaryDirectory() as folder:
        write_sample(os.path.join(folder, SAMPLE))
        os.mkdir(os.path.join(folder, "level31"))
        return python.ask(
            "probe",
            hidden=_PACKAGES,
            path=[PACKAGE_FOLDER],
            modules=sorted(closure.others - set(_PACKAGES)) + sorted(closure.ours),
            main=_MAIN,
            runs=[command for command, _, _ in runs(closure.commands, folder)],
        )


def _add_zstd(tree: Tree, python: Interpreter) -> None:
    """Add libzstd from the zstandard package if the system has no libzstd."""
    if any("libzstd" in name for name in tree.sources):
        return
    found = wheel_files("zstandard", "_cffi")
    if not found:
        raise VmsieveError("zstd pages need libzstd.so.1 or the zstandard package, and both are missing")
    for _, path in found[:1]:
        tree.copy(path, f"{tree.library(python)}/zstandard/{os.path.basename(path)}", strip=True)
