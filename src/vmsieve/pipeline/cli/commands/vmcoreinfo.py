"""``vmsieve vmcoreinfo``: VMCOREINFO of a dump, or made from a vmlinux file.

Prints the VMCOREINFO of ``INPUT``, or the one that the kernel of ``--vmlinux`` would export. Other commands take it
with ``--vmcoreinfo`` for a dump that lacks it.
"""

from __future__ import annotations

import sys

from vmsieve.formats.errors import KernelError, UsageError
from vmsieve.formats.slim.typing import Final
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.cli.options import INPUT_TEXT, SELECT
from vmsieve.pipeline.process.exits import EXIT_OK
from vmsieve.pipeline.process.options import Option
from vmsieve.pipeline.process.streams import require_stdout

_EXAMPLES = """\
  vmsieve vmcoreinfo --vmlinux vmlinux > info        what the kernel would export, from its vmlinux file
  vmsieve dump -d 31 --vmcoreinfo info vmcore small  used for a dump that lacks it
  vmsieve vmcoreinfo vmcore                          what a dump has
"""
_OPTIONS: Final = (
    Option("INPUT", INPUT_TEXT, optional=True),
    Option("--vmlinux", "a kernel's vmlinux with symbols, and BTF or DWARF, instead of a dump", metavar="FILE"),
    SELECT,
)


def _text(arguments: Arguments) -> bytes:
    from vmsieve.pipeline.dump.input import opened, read_vmlinux

    if (arguments.input is None) == (arguments.vmlinux is None):
        raise UsageError("one of INPUT and --vmlinux FILE is needed")
    if (text := read_vmlinux(arguments.vmlinux)) is not None:
        return text
    with opened(arguments.input, None, arguments.select) as (_, knowledge):
        if knowledge.info is None or not knowledge.info.text:
            raise KernelError("the dump has no VMCOREINFO", file=arguments.input)
        return knowledge.info.text + b"\n"


def _run(arguments: Arguments) -> int:
    require_stdout()
    sys.stdout.write(_text(arguments).decode("ascii", "replace"))
    return EXIT_OK


COMMAND: Final = Command("vmcoreinfo", 55, "print VMCOREINFO of a dump or a vmlinux file", _EXAMPLES, _OPTIONS, _run)
