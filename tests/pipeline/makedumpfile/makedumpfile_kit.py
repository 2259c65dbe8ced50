"""``vmsieve-makedumpfile`` as scripts run it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from tests.pipeline.cli_kit import environment

PROGRAM = "from vmsieve.pipeline.makedumpfile.main import run; run()"


def run(*words: object, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """The program itself."""
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    return subprocess.run(command, env=environment(), capture_output=True, check=False, **more)
