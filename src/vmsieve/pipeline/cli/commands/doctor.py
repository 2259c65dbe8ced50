"""``vmsieve doctor``: checks that a crash would leave a dump.

Checks the running system: is enough memory reserved, is the crash kernel loaded and intact, does its initramfs contain
a current vmsieve, is there space for the dump? Each finding that is not OK says what to do next.
"""

from __future__ import annotations

import os

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.cli.options import JSON, ROOT, force
from vmsieve.pipeline.cli.printing import Report
from vmsieve.pipeline.process.options import Option

if TYPE_CHECKING:
    from vmsieve.pipeline.services.doctor.checks import Check, Finding

_EXAMPLES = """\
  vmsieve doctor            as root: others can read less
  vmsieve doctor --quick    without reading memory
  vmsieve doctor --json     the same as JSON

exit status:
  0  a crash now would leave a dump    1  it would not    3  it may not, or is uncertain
"""
_OPTIONS: Final = (
    JSON,
    force("report"),
    Option("--quick", "don't read memory: checks that depend on it know less"),
    ROOT,
)


def _run(arguments: Arguments) -> int:
    from vmsieve.pipeline.process.progress import progress_for
    from vmsieve.pipeline.services.doctor.examine import examine, exit_status, verdict
    from vmsieve.pipeline.services.system import System

    if not os.path.isdir(arguments.root):
        raise UsageError("there is no such directory", file=arguments.root)
    report = Report(arguments)
    done: list[tuple[Check, Finding]] = []
    for check, found in examine(System(arguments.root), progress_for(quiet=not report.printed), quick=arguments.quick):
        done.append((check, found))
        if report.printed:
            _print(check, found)
    status = exit_status([found.state for _, found in done])
    facts = {"status": status, "verdict": verdict(done), "checks": [_as_json(*one) for one in done]}
    report.show(facts, lambda: print(f"\n{verdict(done)}"))
    return status


def _print(check: Check, found: Finding) -> None:
    print(f"{found.state:<10}  {check.title}: {found.what}.", flush=True)
    if found.then:
        print(f"{'':<10}  Next: {found.then}{':' if found.command else '.'}", flush=True)
    if found.command:
        print(f"{'':<12}{found.command}", flush=True)


def _as_json(check: Check, found: Finding) -> dict[str, Any]:
    then = f"{found.then}: {found.command}" if found.command else found.then
    return {
        "name": check.name, "state": found.state, "what": found.what, "next": then or None,
        "command": found.command or None,
    }  # fmt: skip


COMMAND: Final = Command(
    "doctor", 58, "check that a crash of this machine would leave a dump", _EXAMPLES, _OPTIONS, _run
)
