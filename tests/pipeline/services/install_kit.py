"""``vmsieve install-kdump`` on a made-up system, and the changes that it made."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from vmsieve.pipeline.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


MODULE = "usr/lib/dracut/modules.d/99vmsieve"


OURS = "core_collector vmsieve-makedumpfile"


def install(root: Path, *more: str, status: int = 0) -> None:
    """Run it on the system below ``root``, and check its exit status."""
    assert main(["install-kdump", "--root", str(root), *more]) == status


def snapshot(root: Path) -> dict[str, tuple[int, str]]:
    """Mode and content hash of every file and folder."""
    found = {}
    for path in sorted(root.rglob("*")):
        kind = path.lstat().st_mode
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        plain = content.encode() if isinstance(content, str) else content
        found[str(path.relative_to(root))] = (kind, hashlib.sha256(plain).hexdigest())
    return found
