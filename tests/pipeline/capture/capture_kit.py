"""Captures in the tests' process, faults in their steps, and checks of the result."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
from typing import TYPE_CHECKING, Any, Callable

from vmsieve.formats.inputs import open_source
from vmsieve.pipeline.capture import run
from vmsieve.pipeline.capture.options import Request
from vmsieve.pipeline.dump import make as dump_module
from vmsieve.pipeline.dump.make import dump

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from vmsieve.pipeline.dump.plan import Plan
    from vmsieve.pipeline.dump.report import Report
    from vmsieve.pipeline.process.progress import Progress


def capture(source: Path, target: Path, **more: Any) -> tuple[int, dict[str, Any]]:
    """Run a capture in this process, whose children have the test's patches; exit status and record."""
    status = run.capture(Request({"input": str(source), "target": str(target), **more}))
    return status, record(target)


def record(target: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((target / "vmcore-status.json").read_text())
    return found


def names(target: Path) -> set[str]:
    return {path.name for path in target.iterdir()}


def steps(told: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["step"], one["end"]) for one in told["steps"]]


Broken = Callable[["Plan"], None]


def breaking(monkeypatch: pytest.MonkeyPatch, fault: Broken) -> None:
    """Call ``fault`` with the plan before a child makes a dump."""

    def broken(plan: Plan, progress: Progress) -> Report:
        fault(plan)
        return dump(plan, progress)

    monkeypatch.setattr(dump_module, "dump", broken)


def die(number: signal.Signals = signal.SIGSEGV) -> None:
    faulthandler.disable()  # pytest's would report that the tests crashed
    os.kill(os.getpid(), number)


def complete(path: Path) -> bool:
    source = open_source(str(path))
    source.close()
    return not source.incomplete


def limited(plan: Plan, size: int) -> None:
    """Fail with ENOSPC after ``size`` bytes of this dump."""
    vars(plan)["size_limit"] = size
