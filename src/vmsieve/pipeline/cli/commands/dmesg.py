"""``vmsieve dmesg``: the kernel log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.pipeline.cli.commands import Command
from vmsieve.pipeline.cli.commands._shared import add_force, add_input, add_vmlinux, opened, tell
from vmsieve.pipeline.dump.plan import EXIT_INCOMPLETE, EXIT_OK
from vmsieve.pipeline.inspect.log import write_log
from vmsieve.pipeline.process.saving import files_read, saved_stream

if TYPE_CHECKING:
    import argparse

__all__ = ["COMMAND"]

_EXAMPLES = """\
  vmsieve dmesg /proc/vmcore vmcore-dmesg.txt
  vmsieve dmesg vmcore | tail
  vmsieve dmesg --partial vmcore
"""


def _configure(parser: argparse.ArgumentParser) -> None:
    add_input(parser)
    add_vmlinux(parser)
    parser.add_argument(
        "--partial", action="store_true", help="only what was logged since the log was last cleared (dmesg -c)"
    )
    add_force(parser)
    parser.add_argument(
        "output", metavar="OUTPUT", nargs="?", default="-", help="file to write (default: standard output)"
    )


def _run(arguments: argparse.Namespace) -> int:
    inputs = files_read(arguments.input, arguments.vmcoreinfo, arguments.vmlinux)
    given = arguments.input, arguments.vmcoreinfo, arguments.select, arguments.vmlinux
    with (
        saved_stream(arguments.output, inputs, force=arguments.force, what="log") as out,
        opened(*given) as (_, knowledge),
    ):
        broken = write_log(knowledge, out.write, arguments.input, since_clear=arguments.partial)
    if broken is not None:
        tell([f"the kernel log breaks off: {broken}"])
        return EXIT_INCOMPLETE
    return EXIT_OK


COMMAND: Final = Command("dmesg", 40, "write the kernel log that a dump holds", _EXAMPLES, _configure, _run)
