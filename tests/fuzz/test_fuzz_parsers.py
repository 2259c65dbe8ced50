"""Each parser under random damage, for as long as ``VMSIEVE_FUZZ_SECONDS`` says (2 seconds; CI: a minute)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.parsers import PARSERS

ROOT = Path(__file__).parents[2]
MOST_KIB = 256 << 10


@pytest.mark.fuzz
@pytest.mark.parametrize("name", sorted(PARSERS))
def test_random_damage_gives_results_or_typed_errors(name: str) -> None:
    """No traceback, no hang, and never more than 256 MiB of memory, interpreter and test data included."""
    seconds = float(os.environ.get("VMSIEVE_FUZZ_SECONDS", "2"))
    seed = random.randrange(1 << 48)
    command = [sys.executable, "-m", "tests.fuzz.parsers", name, str(seconds), str(seed)]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    said, complained = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    process.stderr.close()
    assert process.returncode == 0, complained[-3000:]
    assert int(said.split()[0]) > 0
    assert usage.ru_maxrss < MOST_KIB
