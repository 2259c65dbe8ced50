"""Real dumps that tests may use, wherever they are.

``tests/demo`` has one that is always there. ``VMSIEVE_DUMPS`` names folders with more (separated by ``:``); beside the
project, ``../shared/dumps`` is looked at too. A dump is ``NAME``, or ``NAME.zst``, with makedumpfile's answers in
``STEM.answers.json``.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def folders() -> list[Path]:
    named = [Path(p) for p in os.environ.get("VMSIEVE_DUMPS", "").split(":") if p]
    return [p for p in [ROOT / "tests" / "demo", *named, ROOT.parent / "shared" / "dumps"] if p.is_dir()]


@cache
def answers(stem: str) -> dict[str, Any]:
    for folder in folders():
        path = folder / f"{stem}.answers.json"
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text())
            return found
    pytest.skip(f"no makedumpfile answers for {stem} (VMSIEVE_DUMPS names folders to look in)")


def dump(name: str, scratch: Path) -> Path:
    """Path of the dump ``name``, unpacked into ``scratch`` if need be."""
    import zstandard

    for folder in folders():
        plain, packed = folder / name, folder / f"{name}.zst"
        if plain.exists():
            return plain
        if packed.exists():
            out = scratch / name
            if not out.exists():
                unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27)
                with packed.open("rb") as source, out.with_suffix(".part").open("wb") as target:
                    unpacker.copy_stream(source, target)
                out.with_suffix(".part").rename(out)
            return out
    pytest.skip(f"no dump {name} (VMSIEVE_DUMPS names folders to look in)")
