"""``vmsieve capture --deadline`` and ``--stall``: the steps that are given up, and the times."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.pipeline.capture.capture_kit import breaking, capture, steps
from vmsieve.pipeline.capture import child, run, work

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No OOM protection of the tests' process; the log, which does not exist, counts as written."""
    monkeypatch.setattr(run, "protect", lambda: None)
    monkeypatch.setattr(child, "protect", lambda _: None)
    monkeypatch.setattr(work, "_log", lambda _, __: {"complete": True})


def test_a_step_without_a_page_at_half_time_is_late() -> None:
    """A step is given up if it has no page at half time; one that copies pages continues."""
    for phase, end in ((child.CLASSIFYING, "late"), (child.COPYING, "finished")):

        def classify(board: child.Board, phase: int = phase) -> dict[str, Any]:
            board.tell(phase, 0, 1)
            time.sleep(3)
            return {"end": "finished"}

        watcher = child.Watcher()
        with contextlib.closing(watcher):
            assert watcher.run(classify, child.Board(), child.Limits(first=time.monotonic()))["end"] == end


def test_a_step_that_does_not_end_in_time_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step ignores SIGTERM: it is late and was killed."""
    monkeypatch.setattr(child, "_GRACE", 0.0)

    def ignore(_: child.Board) -> dict[str, Any]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(5)
        return {"end": "finished"}

    watcher = child.Watcher()
    with contextlib.closing(watcher):
        told = watcher.run(ignore, child.Board(), child.Limits(end=time.monotonic()))
    assert (told["end"], told["killed"]) == ("late", True)


def test_steps_that_are_late_make_way_for_those_that_know_less(
    core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is late at once: no other bases are tried; the plain copy has no limit for its first page."""
    monkeypatch.setattr(run, "Limits", lambda **of: child.Limits(**{**of, "first": of.get("first") and 1e-9}))
    breaking(monkeypatch, lambda _: time.sleep(60))
    code, told = capture(core, tmp_path / "out", deadline=1000)
    assert steps(told) == [("as asked", "late"), ("unfiltered", "late"), ("plain copy", "finished")]
    assert (code, (tmp_path / "out" / "vmcore").read_bytes()) == (3, core.read_bytes())


@pytest.mark.parametrize(("deadline", "margin"), [(1, 0.5), (10, 0.5), (100, 5.0), (1000, 10.0)])
def test_time_is_set_aside_for_the_end(
    deadline: int, margin: float, core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reserve is a twentieth of the deadline, 0.5 to 10 s; the first page gets half of the rest."""
    limits: list[dict[str, float]] = []

    def noted(**of: float) -> child.Limits:
        limits.append(of)
        return child.Limits()

    monkeypatch.setattr(run, "Limits", noted)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    capture(core, tmp_path / "out", deadline=deadline)
    assert limits[0] == {"first": 1000 + (deadline - margin) / 2, "end": 1000 + deadline - margin, "stall": 300}
