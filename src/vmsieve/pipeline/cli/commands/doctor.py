"""``vmsieve doctor``: would a crash now leave a dump?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from vmsieve.formats.errors import UsageError
from vmsieve.pipeline.cli.commands import Command
from vmsieve.pipeline.cli.commands._shared import print_json
from vmsieve.pipeline.process.progress import progress_for
from vmsieve.pipeline.services.doctor.examine import examine, exit_status
from vmsieve.pipeline.services.system import System

if TYPE_CHECKING:
    import argparse

    from vmsieve.pipeline.services.doctor.checks import Check, Finding

__all__ = ["COMMAND"]

_EXAMPLES = """\
  vmsieve doctor            as root: others see less
  vmsieve doctor --quick    without reading memory
  vmsieve doctor --json     the same for machines

exit status:
  0  a crash now would leave a dump    1  it would not    3  it may not, or can't be told
"""


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="don't read memory: what depends on it is told less well")
    parser.add_argument("--root", metavar="DIR", default="/", help="a system below this folder, not the running one")


def _print(check: Check, found: Finding) -> None:
    print(f"{found.state:<10}  {check.title}: {found.what}.", flush=True)
    if found.then:
        print(f"{'':<10}  Next: {found.then}.", flush=True)


def _run(arguments: argparse.Namespace) -> int:
    if not os.path.isdir(arguments.root):
        raise UsageError("there is no such folder", file=arguments.root)
    facts: list[dict[str, Any]] = []
    for check, found in examine(System(arguments.root), progress_for(quiet=arguments.json), quick=arguments.quick):
        facts.append({"name": check.name, "state": found.state, "what": found.what, "next": found.then or None})
        if not arguments.json:
            _print(check, found)
    status = exit_status([one["state"] for one in facts])
    if arguments.json:
        print_json({"status": status, "checks": facts})
    return status


COMMAND: Final = Command(
    "doctor", 58, "check that a crash of this machine would leave a dump", _EXAMPLES, _configure, _run
)
