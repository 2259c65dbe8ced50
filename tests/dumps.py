"""Finds the real dumps that tests may use.

``tests/demo`` has one that is always present. ``VMSIEVE_DUMPS`` names folders with more (separated by ``:``). A dump is
``NAME``, or ``NAME.zst``, with makedumpfile's answers in ``STEM.answers.json``.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "vmsieve"


def folders() -> list[Path]:
    named = [Path(p) for p in os.environ.get("VMSIEVE_DUMPS", "").split(":") if p]
    return [p for p in [ROOT / "tests" / "demo", *named] if p.is_dir()]


@cache
def answers(stem: str) -> dict[str, Any]:
    for folder in folders():
        path = folder / f"{stem}.answers.json"
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text())
            return found
    pytest.skip(f"no makedumpfile answers for {stem} (VMSIEVE_DUMPS names folders to look in)")


def unpacked(packed: Path, scratch: Path) -> Path:
    """Unpack a ``.zst`` file into ``scratch``; if several workers need it, one unpacks it."""
    import zstandard

    out = scratch / packed.stem
    with (scratch / f"{packed.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27)
            part = scratch / f"{packed.stem}.part"
            with packed.open("rb") as source, part.open("wb") as target:
                shutil.copyfileobj(unpacker.stream_reader(source, read_across_frames=True), target, 1 << 20)
            part.rename(out)
    return out


def dump(name: str, scratch: Path) -> Path:
    """Path of the dump ``name``, unpacked into ``scratch`` if need be."""
    for folder in folders():
        plain, packed = folder / name, folder / f"{name}.zst"
        if plain.exists():
            return plain
        if packed.exists():
            return unpacked(packed, scratch)
    pytest.skip(f"no dump {name} (VMSIEVE_DUMPS names folders to look in)")
