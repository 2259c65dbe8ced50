"""Each parser under random damage, for as long as ``VMSIEVE_FUZZ_SECONDS`` says (2 seconds; CI: 10)."""

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
    """No traceback, no hang, and at most 256 MiB of memory, including interpreter and test data."""
    seconds = float(os.environ.get("VMSIEVE_FUZZ_SECONDS", "2"))
    seed = random.randrange(1 << 48)
    command = [sys.executable, "-m", "tests.fuzz.parsers", name, str(seconds), str(seed)]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True, text=True, timeout=seconds + 300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    tried, _, peak, _ = run.stdout.split()
    assert int(tried) > 0
    assert int(peak) < MOST_KIB
