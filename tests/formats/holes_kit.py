"""Sparse files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def sparse_copy(content: bytes, path: Path, unit: int = 4096) -> list[tuple[int, int]]:
    """Write ``content`` with a hole for each run of units of zeros; returns the holes. Skips without such holes."""
    holes: list[tuple[int, int]] = []
    with path.open("wb") as file:
        for at in range(0, len(content), unit):
            part = content[at : at + unit]
            if any(part):
                os.pwrite(file.fileno(), part, at)
            elif holes and holes[-1][1] == at:
                holes[-1] = holes[-1][0], at + len(part)
            else:
                holes.append((at, at + len(part)))
        file.truncate(len(content))
    with path.open("rb") as file:
        for start, end in holes:
            try:
                found = os.lseek(file.fileno(), start, os.SEEK_DATA)
            except OSError:
                found = end
            if found < end:
                pytest.skip("this file system has no holes")
    return holes
