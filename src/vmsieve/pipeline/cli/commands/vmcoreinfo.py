"""``vmsieve vmcoreinfo``: VMCOREINFO of a dump, or made of a vmlinux file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import KernelError, UsageError
from vmsieve.pipeline.cli.commands import Command
from vmsieve.pipeline.cli.commands._shared import INPUT_HELP, add_select, opened
from vmsieve.pipeline.dump.plan import EXIT_OK
from vmsieve.pipeline.process.streams import require_stdout

if TYPE_CHECKING:
    import argparse

__all__ = ["COMMAND"]

_EXAMPLES = """\
  vmsieve vmcoreinfo --vmlinux vmlinux > info        what a kernel should have told, out of its vmlinux file
  vmsieve dump -d 31 --vmcoreinfo info vmcore small  used for a dump that lacks it
  vmsieve vmcoreinfo vmcore                          what a dump has
"""


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="INPUT", nargs="?", help=INPUT_HELP)
    parser.add_argument(
        "--vmlinux", metavar="FILE", help="a kernel's vmlinux with symbols, and BTF or DWARF, instead of a dump"
    )
    add_select(parser)


def _text(arguments: argparse.Namespace) -> bytes:
    if (arguments.input is None) == (arguments.vmlinux is None):
        raise UsageError("one of INPUT and --vmlinux FILE is needed")
    if arguments.vmlinux is not None:
        from vmsieve.filters.linux.debuginfo.vmlinux import describe

        return describe(arguments.vmlinux)
    with opened(arguments.input, None, arguments.select) as (_, knowledge):
        if knowledge.info is None or not knowledge.info.text:
            raise KernelError("the dump has no VMCOREINFO", file=arguments.input)
        return knowledge.info.text + b"\n"


def _run(arguments: argparse.Namespace) -> int:
    require_stdout()
    sys.stdout.write(_text(arguments).decode("ascii", "replace"))
    return EXIT_OK


COMMAND: Final = Command("vmcoreinfo", 55, "print what a kernel says of itself", _EXAMPLES, _configure, _run)
