"""Build hook: compile the loops for all target machines, on any machine; write man pages and completion."""

from __future__ import annotations

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
        from vmsieve.formats.compiler import lowering as lower
        from vmsieve.pipeline.manual.make import shared_files

        for path in lower.refresh(OBJECTS):
            print(f"loops: {path.name}, {path.stat().st_size} bytes")
        for target in lower.TARGETS:
            name = f"{target.name}.so"
            build_data["force_include"][str(OBJECTS / name)] = f"vmsieve/formats/compiler/objects/{name}"

        for name, text in shared_files(self.metadata.version).items():
            path = SHARE / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="ascii")
            build_data["shared_data"][str(path)] = f"share/{name}"


def _find_package() -> None:
    """Make ``vmsieve`` of this source tree importable, whether installed or not, without its version from metadata."""
    package = types.ModuleType("vmsieve")
    package.__path__ = [str(ROOT / "src" / "vmsieve")]
    package.__dict__["__version__"] = "0"
    sys.modules["vmsieve"] = package
