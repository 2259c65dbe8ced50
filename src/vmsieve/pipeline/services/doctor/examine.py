"""Runs all checks, and sums up their findings."""

from __future__ import annotations

from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_OK, EXIT_WEAKER
from vmsieve.pipeline.services.doctor.checks import CANT_TELL, FAIL, WARN, Case, Finding, checks
from vmsieve.pipeline.services.flavours import detect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmsieve.pipeline.process.progress import Progress
    from vmsieve.pipeline.services.doctor.checks import Check
    from vmsieve.pipeline.services.system import System

_DOUBTS: Final = {FAIL: "failed", WARN: "doubtful", CANT_TELL: "unknown"}


def examine(system: System, progress: Progress, *, quick: bool) -> Iterator[tuple[Check, Finding]]:
    """Run all checks; yields each with its finding. ``quick``: without reading memory."""
    case = Case(system, detect(system), progress, quick=quick)
    for check in checks():
        try:
            found = check.run(case)
        except VmsieveError as error:
            found = Finding(CANT_TELL, str(error))
        yield check, found


def verdict(found: Sequence[tuple[Check, Finding]]) -> str:
    """Sum up findings in a sentence: would a crash now leave a dump, and which checks doubt it?"""
    titles = {state: [check.title for check, one in found if one.state == state] for state in (FAIL, WARN, CANT_TELL)}
    parts = [f"{what}: {', '.join(titles[state])}" for state, what in _DOUBTS.items() if titles[state]]
    answer = "would leave no dump" if titles[FAIL] else "may leave no dump" if parts else "would leave a dump"
    return f"A crash now {answer}{' (' * bool(parts)}{'; '.join(parts)}{')' * bool(parts)}."


def exit_status(states: list[str]) -> int:
    """0: all OK; 1: a check failed; 3: a warning or an unknown outcome."""
    if FAIL in states:
        return EXIT_FAILED
    return EXIT_WEAKER if {WARN, CANT_TELL} & set(states) else EXIT_OK
