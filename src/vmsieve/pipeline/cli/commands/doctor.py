"""``vmsieve doctor``: checks that a crash would leave a dump."""

from __future__ import annotations

import os

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import Any, Final
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.cli.options import JSON, ROOT
from vmsieve.pipeline.cli.printing import print_json
from vmsieve.pipeline.process.options import Option
from vmsieve.pipeline.process.progress import progress_for
from vmsieve.pipeline.services.doctor.examine import examine, exit_status
from vmsieve.pipeline.services.system import System

_EXAMPLES = """\
  vmsieve doctor            as root: others can read less
  vmsieve doctor --quick    without reading memory
  vmsieve doctor --json     the same as JSON

exit status:
  0  a crash now would leave a dump    1  it would not    3  it may not, or is uncertain
"""
_OPTIONS: Final = (
    JSON,
    Option("--quick", "don't read memory: checks that depend on it know less"),
    ROOT,
)


def _run(arguments: Arguments) -> int:
    if not os.path.isdir(arguments.root):
        raise UsageError("there is no such directory", file=arguments.root)
    checks: list[dict[str, Any]] = []
    for check, found in examine(System(arguments.root), progress_for(quiet=arguments.json), quick=arguments.quick):
        checks.append({"name": check.name, "state": found.state, "what": found.what, "next": found.then or None})
        if not arguments.json:
            print(f"{found.state:<10}  {check.title}: {found.what}.", flush=True)
            if found.then:
                print(f"{'':<10}  Next: {found.then}.", flush=True)
    status = exit_status([one["state"] for one in checks])
    if arguments.json:
        print_json({"status": status, "checks": checks})
    return status


COMMAND: Final = Command(
    "doctor", 58, "check that a crash of this machine would leave a dump", _EXAMPLES, _OPTIONS, _run
)
