"""Tools that read and write dumps too, where there are any."""

from __future__ import annotations

import os
import shutil

import pytest


def tool(name: str) -> str:
    """Path of ``name``: what ``VMSIEVE_<NAME>`` says, else what is in the search path; skips the test without it."""
    path = os.environ.get(f"VMSIEVE_{name.upper()}") or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (VMSIEVE_{name.upper()} or PATH)")
    return path
