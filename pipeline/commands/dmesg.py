"""``vmsieve dmesg``: the kernel log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO, Final

from vmsieve.formats.errors import OutputError
from vmsieve.pipeline.commands import Command
from vmsieve.pipeline.commands._shared import add_input, add_vmlinux, opened, tell
from vmsieve.pipeline.log import write_log
from vmsieve.pipeline.plan import EXIT_INCOMPLETE, EXIT_OK
from vmsieve.pipeline.streams import need_stdout

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
    parser.add_argument("output", metavar="OUTPUT", nargs="?", help="file to write (default: standard output)")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.output is None:
        need_stdout()
        return _write(arguments, sys.stdout.buffer)
    try:
        with open(arguments.output, "wb") as out:
            return _write(arguments, out)
    except OSError as error:
        raise OutputError(f"can't write the log: {error.strerror}", file=arguments.output) from error


def _write(arguments: argparse.Namespace, out: BinaryIO) -> int:
    with opened(arguments.input, arguments.vmcoreinfo, arguments.select, arguments.vmlinux) as (_, knowledge):
        broken = write_log(knowledge, out.write, arguments.input, since_clear=arguments.partial)
        out.flush()
    if broken is not None:
        tell([f"the kernel log breaks off: {broken}"])
        return EXIT_INCOMPLETE
    return EXIT_OK


COMMAND: Final = Command("dmesg", 40, "write the kernel log that a dump holds", _EXAMPLES, _configure, _run)
