"""Build hook: compile the loops for all target machines, on any machine; write man pages and completion.

``VMSIEVE_MACHINE`` (x86_64, ...) limits the wheel to one machine's code: distributions' packages may have no other's.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
OBJECTS = ROOT / "src" / "vmsieve" / "formats" / "compiler" / "objects"
SHARE = ROOT / "build" / "share"


class GeneratedHook(BuildHookInterface[Any]):
    """Adds generated files to the wheel: ``formats/compiler/objects/<name>.so``, and those of ``share``."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate them before the wheel is built, or the link of ``pip install -e`` is made."""
        del version
        _find_package()
        from vmsieve.pipeline.manual.make import shared_files

        machine = os.environ.get("VMSIEVE_MACHINE", "")
        if machine:
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-linux_{machine}"
        for path in _machine_code(machine):
            build_data["force_include"][str(path)] = f"vmsieve/formats/compiler/objects/{path.name}"

        for name, text in shared_files(self.metadata.version).items():
            path = SHARE / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="ascii")
            build_data["shared_data"][str(path)] = f"share/{name}"


def _machine_code(machine: str) -> list[Path]:
    """Machine code for ``machine``, or for all if it is empty; compiled unless it is fresh."""
    from vmsieve.formats.compiler import checkout, lowering

    targets = tuple(t for t in lowering.TARGETS if not machine or t.name.partition("-")[0] == machine)
    if not targets:
        raise ValueError(f"VMSIEVE_MACHINE={machine}: loops can't be compiled for it")
    folder = OBJECTS
    if machine and not checkout.is_fresh(str(OBJECTS)):
        folder = ROOT / "build" / f"objects-{machine}"  # OBJECTS has all or none
        made = lowering.build(folder, targets)
    else:
        made = lowering.refresh(OBJECTS)
    for path in made:
        print(f"loops: {path.name}, {path.stat().st_size} bytes")
    return [folder / f"{target.name}.so" for target in targets]


def _find_package() -> None:
    """Make ``vmsieve`` of this source tree importable, whether installed or not, without its version from metadata."""
    package = types.ModuleType("vmsieve")
    package.__path__ = [str(ROOT / "src" / "vmsieve")]
    package.__dict__["__version__"] = "0"
    sys.modules["vmsieve"] = package
