"""What commands load: a bounded number of modules, and none that takes long to import."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.pipeline.cli_kit import environment

if TYPE_CHECKING:
    from pathlib import Path

#: Modules of the standard library that take a tenth of a bare interpreter's start, alone or with what they import.
SLOW = {
    "argparse", "collections", "contextlib", "ctypes.util", "dataclasses", "enum", "functools", "importlib.metadata",
    "inspect", "json", "locale", "logging", "platform", "queue", "random", "re", "shutil", "signal", "socket",
    "subprocess", "tempfile", "threading", "typing", "urllib",
}  # fmt: skip
#: Packages that are not Python's.
FOREIGN = {"isal", "lz4", "numba", "numpy", "tqdm", "zstandard"}
#: Command lines; most modules of vmsieve that each loads; whether it reads a dump.
COMMANDS = {
    "--version": 20,
    "info {dump}": 70,
    "dump -l -d 31 {dump} {out}": 121,
    "dump -d 31 {dump} {out}": 126,
    "makedumpfile -l -d 31 {dump} {out}": 121,
}  # fmt: skip


@pytest.mark.parametrize("line", COMMANDS)
def test_what_a_command_loads(line: str, demo: Path, tmp_path: Path) -> None:
    """Without site, which may import anything: its modules are counted when the process ends."""
    words = [word.format(dump=demo, out=tmp_path / "out") for word in line.split()]
    code = "\n".join((
        "import os, sys",
        "from vmsieve.pipeline.cli.start import run",
        "leave = os._exit",
        "def told(status):",
        "    os.write(1, ('\\n' + ' '.join(sys.modules)).encode())",
        "    leave(status)",
        "os._exit = told",
        "run()",
    ))  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-Sc", code, *words], env=environment(), capture_output=True, text=True, check=True
    )
    loaded = run.stdout.splitlines()[-1].split()
    assert not (SLOW | FOREIGN) & set(loaded)
    ours = [name for name in loaded if name.partition(".")[0] == "vmsieve"]
    assert len(ours) <= COMMANDS[line], sorted(ours)
