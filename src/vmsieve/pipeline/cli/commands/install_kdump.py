"""``vmsieve install-kdump``: makes the distribution's kdump service use vmsieve, or restores it.

Shows the changes to the configuration of the installed kdump service. ``--apply`` makes them; ``--undo`` restores the
files byte for byte. ``--rebuild`` then runs the commands that rebuild the crash kernel's initramfs and load it.
"""

from __future__ import annotations

import os
import sys

from vmsieve.formats.errors import OutputError, UsageError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.cli.options import ROOT
from vmsieve.pipeline.cli.printing import print_remarks
from vmsieve.pipeline.process.exits import EXIT_OK
from vmsieve.pipeline.process.options import Group, Option
from vmsieve.pipeline.services.flavours import InstallRequest, choose, flavour_names

if TYPE_CHECKING:
    from vmsieve.pipeline.services.flavours import Flavour
    from vmsieve.pipeline.services.install import FileUpdate
    from vmsieve.pipeline.services.system import System

_EXAMPLES = """\
  vmsieve install-kdump                     show the changes, make none
  vmsieve install-kdump --apply --rebuild   make them, then rebuild and load the crash kernel's initramfs
  vmsieve install-kdump --options '-z -d 31' --apply
  vmsieve install-kdump --undo --dry-run    show what --undo would change
  vmsieve install-kdump --undo --rebuild    restore the service
"""

#: Characters without a meaning to a shell or to a service's configuration parser.
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-=,./_:+% ")
_ACTION: Final = Group()
_OPTIONS: Final = (
    Option("--apply", "make the changes; without it, they are only shown", group=_ACTION),
    Option("--undo", "restore all files, byte for byte", group=_ACTION),
    Option("--dry-run", "with --undo: only show the changes"),
    Option("--rebuild", "then also run the commands that are shown"),
    Option("--flavour", "the kdump service to set up (default: the installed one)", choices=flavour_names()),
    ROOT,
    Option("--options", "makedumpfile's options to use (default: those configured now)", metavar="TEXT"),
    Option("--capture", "Debian, SUSE: 'vmsieve capture' in place of the service's own way"),
)


def _program() -> tuple[str, ...]:
    """The command that runs this vmsieve."""
    path = os.path.abspath(sys.argv[0])
    if os.path.basename(path) == "vmsieve" and os.access(path, os.X_OK):
        return (path,)
    return (sys.executable, "-m", "vmsieve")


def _install(arguments: Arguments, system: System) -> tuple[Flavour, list[FileUpdate]]:
    """Show the changes, with ``--apply`` make them; returns the service and the changes."""
    from vmsieve.pipeline.services.install import differences, plan_install

    flavour = choose(system, arguments.flavour)
    if arguments.capture and not flavour.captures:
        raise UsageError(f"{flavour.title} has no setting for --capture")
    if not _PLAIN.issuperset(arguments.options or ""):
        raise UsageError("--options has characters with a meaning in configuration files", found=arguments.options)
    plan = plan_install(system, flavour, InstallRequest(_program(), arguments.options, arguments.capture))
    if not plan.updates:
        print(f"{flavour.title}: vmsieve is set up already.")
    else:
        print(f"{flavour.title}:\n{differences(plan.updates)}", end="")
    if arguments.apply:
        plan.apply(system)
    if plan.updates and arguments.apply:
        print("Done. 'vmsieve install-kdump --undo' restores the files.")
    return flavour, plan.updates


def _undo(arguments: Arguments, system: System) -> tuple[Flavour | None, list[FileUpdate]]:
    from vmsieve.pipeline.services.install import differences, plan_undo

    plan = plan_undo(system)
    print(differences(plan.updates), end="")
    if not arguments.dry_run:
        plan.apply(system)
        print("Done: all files are restored.")
    return choose(system, plan.journal.flavour) if plan.updates else None, plan.updates


def _rebuild(flavour: Flavour, updates: list[FileUpdate], *, done: bool, run: bool) -> None:
    """Show, or ``run``, the commands that rebuild and load the crash kernel's initramfs."""
    import subprocess

    inside = [update for update in updates if not update.path.startswith(flavour.outside)]
    if not inside:
        print("It takes effect at the next crash." if done else "Nothing was changed.")
        return
    commands = (flavour.rebuild, flavour.load)
    if not run:
        when = "Now run" if done else "Nothing was changed. After a change, run"
        print(f"{when}: {' && '.join(commands)}")
        return
    for command in commands:
        print_remarks([f"running {command}"])
        status = subprocess.run(command, shell=True, check=False).returncode
        if status:
            raise OutputError(f"{command} failed with exit status {status}", hint="the files stay changed")


def _run(arguments: Arguments) -> int:
    from vmsieve.pipeline.services.system import System

    system = System(arguments.root)
    done = arguments.apply or (arguments.undo and not arguments.dry_run)
    if not os.path.isdir(arguments.root):
        raise UsageError("there is no such directory", file=arguments.root)
    if arguments.rebuild and not done:
        raise UsageError("--rebuild needs --apply or --undo")
    if arguments.rebuild and not system.running:
        raise UsageError("--rebuild works on the running system only", hint="run the commands shown on that system")
    flavour, updates = _undo(arguments, system) if arguments.undo else _install(arguments, system)
    if flavour is not None and updates:
        _rebuild(flavour, updates, done=done, run=arguments.rebuild)
    return EXIT_OK


COMMAND: Final = Command(
    "install-kdump", 60, "make the kdump service use vmsieve, or restore its configuration", _EXAMPLES, _OPTIONS, _run
)
