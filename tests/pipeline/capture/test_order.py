"""The order of the pages in a captured dump."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.dumps import dump
from tests.pipeline.cli_kit import environment
from vmsieve.formats.inputs import open_source
from vmsieve.formats.layouts import elf
from vmsieve.formats.notes import note_text

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("options", "noted"), [((), True), (("--order", "address"), False)])
def test_importance_is_the_default(options: tuple[str, ...], noted: bool, scratch: Path, tmp_path: Path) -> None:
    """A capture may be cut at any time; the dump's note has the classes."""
    subprocess.run(
        [sys.executable, "-m", "vmsieve", "capture", *options, dump("demo.elf", scratch), tmp_path / "crash"],
        env=environment(), capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    source = open_source(str(tmp_path / "crash" / "vmcore"))
    assert (note_text(source.notes, source.byte_order, elf.NOTE_ORDER) is not None) == noted
    source.close()
