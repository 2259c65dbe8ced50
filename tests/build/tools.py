"""Other tools that read and write dumps."""

from __future__ import annotations

import os
import shutil

import pytest


def tool(name: str) -> str:
    """Path of ``name``: ``VMSIEVE_<NAME>``, else from PATH; skips the test without it."""
    path = os.environ.get(f"VMSIEVE_{name.upper()}") or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (VMSIEVE_{name.upper()} or PATH)")
    return path
