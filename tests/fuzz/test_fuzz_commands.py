"""Commands on inputs whose fields are damaged, for as long as ``VMSIEVE_FUZZ_SECONDS`` says (2 seconds; CI: 10)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.commands import FAMILIES, FindingError, Fuzz

ROOT = Path(__file__).parents[2]


@pytest.mark.fuzz
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_commands_survive_damaged_fields(family: str) -> None:
    """No traceback, signal or hang, a documented exit status, bounded memory and output."""
    seconds = float(os.environ.get("VMSIEVE_FUZZ_SECONDS", "2"))
    command = [sys.executable, "-m", "tests.fuzz.commands", family, str(seconds), str(random.randrange(1 << 48))]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True, text=True, timeout=seconds + 900, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    assert " 0 findings" in run.stdout, run.stdout[-5000:]


def test_forbidden_behaviour_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback, a signal and an unknown exit status are findings; the input is restored afterwards."""
    fuzz = Fuzz("formats", tmp_path)
    before = [seed.path.read_bytes() for seed in fuzz.seeds]
    for number in range(3):
        fuzz.one(number)
    assert [seed.path.read_bytes() for seed in fuzz.seeds] == before
    assert fuzz.runs >= 9
    for code in ("raise ValueError", "import os; os.kill(os.getpid(), 9)", "import sys; sys.exit(7)"):
        monkeypatch.setattr("vmsieve.pipeline.cli.main.main", lambda _, code=code: exec(code))
        with pytest.raises(FindingError):
            fuzz.one(0)
