"""``vmsieve dmesg``: the kernel log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO, Final

from vmsieve.filters.kernel.printk import kernel_log
from vmsieve.formats.errors import KernelError, OutputError, VmsieveError
from vmsieve.pipeline.commands import Command
from vmsieve.pipeline.commands._shared import add_input, add_vmlinux, opened
from vmsieve.pipeline.plan import EXIT_INCOMPLETE, EXIT_OK

if TYPE_CHECKING:
    import argparse

__all__ = ["COMMAND"]

_EXAMPLES = """\
  vmsieve dmesg /proc/vmcore vmcore-dmesg.txt
  vmsieve dmesg vmcore | tail
"""


def _configure(parser: argparse.ArgumentParser) -> None:
    add_input(parser)
    add_vmlinux(parser)
    parser.add_argument("output", metavar="OUTPUT", nargs="?", help="file to write (default: standard output)")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.output is None:
        return _write(arguments, sys.stdout.buffer)
    try:
        with open(arguments.output, "wb") as out:
            return _write(arguments, out)
    except OSError as error:
        raise OutputError(f"can't write the log: {error.strerror}", file=arguments.output) from error


def _write(arguments: argparse.Namespace, out: BinaryIO) -> int:
    """Write the log; a log that breaks off is written as far as it goes."""
    with opened(arguments.input, arguments.vmcoreinfo, arguments.select, arguments.vmlinux) as (_, knowledge):
        if knowledge.memory is None or knowledge.info is None:
            raise KernelError(f"the kernel log can't be found: {knowledge.problem}", file=arguments.input)
        written = 0
        try:
            for line in kernel_log(knowledge.memory, knowledge.info):
                out.write(line)
                written += 1
        except VmsieveError as error:
            if not written:
                raise
            out.flush()
            print(f"vmsieve: the kernel log breaks off: {error}", file=sys.stderr)
            return EXIT_INCOMPLETE
        out.flush()
    return EXIT_OK


COMMAND: Final = Command("dmesg", 40, "write the kernel log that a dump holds", _EXAMPLES, _configure, _run)
