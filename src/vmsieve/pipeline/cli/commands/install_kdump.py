"""``vmsieve install-kdump``: have the distribution's kdump service use vmsieve, or as before."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import OutputError, UsageError
from vmsieve.pipeline.cli.commands import Command
from vmsieve.pipeline.cli.commands._shared import tell
from vmsieve.pipeline.dump.plan import EXIT_OK
from vmsieve.pipeline.services.flavours import InstallRequest, choose, flavour_names
from vmsieve.pipeline.services.install import differences, plan_install, plan_undo
from vmsieve.pipeline.services.system import System

if TYPE_CHECKING:
    import argparse

    from vmsieve.pipeline.services.flavours import Flavour
    from vmsieve.pipeline.services.install import Step

__all__ = ["COMMAND"]

_EXAMPLES = """\
  vmsieve install-kdump                     what would be changed; nothing is
  vmsieve install-kdump --apply --rebuild   change it, and make and load the crash kernel's image again
  vmsieve install-kdump --options '-z -d 31' --apply
  vmsieve install-kdump --undo --dry-run    what would be changed back
  vmsieve install-kdump --undo --rebuild    change it back
"""

#: What a shell or the services' own parsing would take for more than a part of a word.
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-=,./_:+% ")


def _configure(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--apply", action="store_true", help="do it; without this, only show it")
    what.add_argument("--undo", action="store_true", help="take back what was done, byte for byte")
    parser.add_argument("--dry-run", action="store_true", help="with --undo: only show it")
    parser.add_argument("--rebuild", action="store_true", help="then run the commands that are shown, too")
    parser.add_argument(
        "--flavour", choices=flavour_names(), help="the kdump service to set up (default: the one that is installed)"
    )
    parser.add_argument("--root", metavar="DIR", default="/", help="a system below this folder, not the running one")
    parser.add_argument("--options", metavar="TEXT", help="makedumpfile's options to use (default: those set now)")
    parser.add_argument(
        "--capture",
        action="store_true",
        help="Debian, SUSE: 'vmsieve capture' in place of the service's own way",
    )


def _program() -> tuple[str, ...]:
    """The words that run vmsieve as it is running now."""
    path = os.path.abspath(sys.argv[0])
    if os.path.basename(path) == "vmsieve" and os.access(path, os.X_OK):
        return (path,)
    return (sys.executable, "-m", "vmsieve")


def _request(arguments: argparse.Namespace) -> InstallRequest:
    if arguments.options is not None and not _PLAIN.issuperset(arguments.options):
        raise UsageError("--options has characters that configuration files give a meaning to", found=arguments.options)
    return InstallRequest(_program(), arguments.options, arguments.capture)


def _install(arguments: argparse.Namespace, system: System) -> tuple[Flavour, list[Step]]:
    """Returns the service, and what is to be changed."""
    flavour = choose(system, arguments.flavour)
    if arguments.capture and not flavour.captures:
        raise UsageError(f"{flavour.title} has no setting for --capture")
    plan = plan_install(system, flavour, _request(arguments))
    if not plan.steps:
        print(f"{flavour.title}: vmsieve is set up already, nothing is to be changed.")
    else:
        print(f"{flavour.title}:\n{differences(plan.steps)}", end="")
    if arguments.apply:
        plan.apply(system)
    if plan.steps and arguments.apply:
        print("Done. 'vmsieve install-kdump --undo' takes it back.")
    return flavour, plan.steps


def _undo(arguments: argparse.Namespace, system: System) -> tuple[Flavour | None, list[Step]]:
    plan = plan_undo(system)
    print(differences(plan.steps), end="")
    if not arguments.dry_run:
        plan.apply(system)
        print("Done: all is as it was.")
    return choose(system, plan.journal.flavour) if plan.steps else None, plan.steps


def _bring_up_to_date(flavour: Flavour, steps: list[Step], *, done: bool, run: bool) -> None:
    """Show, or ``run``, what brings the crash kernel up to date."""
    inside = [step for step in steps if not step.path.startswith(flavour.outside)]
    if not inside:
        print("It counts from the next crash on." if done else "Nothing was changed.")
        return
    commands = (flavour.rebuild, flavour.load)
    if not run:
        when = "Now run" if done else "Nothing was changed. After a change, run"
        print(f"{when}: {' && '.join(commands)}")
        return
    for command in commands:
        tell([f"running {command}"])
        status = subprocess.run(command, shell=True, check=False).returncode
        if status:
            raise OutputError(f"{command} failed with exit status {status}", hint="the files stay changed")


def _run(arguments: argparse.Namespace) -> int:
    system = System(arguments.root)
    done = arguments.apply or (arguments.undo and not arguments.dry_run)
    if not os.path.isdir(arguments.root):
        raise UsageError("there is no such folder", file=arguments.root)
    if arguments.rebuild and not done:
        raise UsageError("--rebuild takes --apply or --undo")
    if arguments.rebuild and not system.running:
        raise UsageError("--rebuild works on the running system alone", hint="run the commands that are shown there")
    flavour, steps = _undo(arguments, system) if arguments.undo else _install(arguments, system)
    if flavour is not None and steps:
        _bring_up_to_date(flavour, steps, done=done, run=arguments.rebuild)
    return EXIT_OK


COMMAND: Final = Command(
    "install-kdump", 60, "have the system's kdump service use vmsieve, or as it did before", _EXAMPLES, _configure, _run
)
