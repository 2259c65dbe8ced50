"""Build hook: compile the loops for all target machines, on any machine."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
OBJECTS = ROOT / "src" / "vmsieve" / "formats" / "compiler" / "objects"


class LoopsHook(BuildHookInterface[Any]):
    """Writes ``formats/compiler/objects/<name>.so`` and adds them to the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is built, or the link of ``pip install -e`` is made."""
        del version
        lower = _import_lower()
        for path in lower.refresh(OBJECTS):
            print(f"loops: {path.name}, {path.stat().st_size} bytes")
        for target in lower.TARGETS:
            name = f"{target.name}.so"
            build_data["force_include"][str(OBJECTS / name)] = f"vmsieve/formats/compiler/objects/{name}"


def _import_lower() -> Any:
    """Import ``vmsieve.formats.compiler.lowering`` of this source tree, whether installed or not."""
    package = types.ModuleType("vmsieve")
    package.__path__ = [str(ROOT / "src" / "vmsieve")]
    package.__dict__["__version__"] = "0"
    sys.modules["vmsieve"] = package
    from vmsieve.formats.compiler import lowering

    return lowering
