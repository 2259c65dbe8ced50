"""The command line: arguments to a command, errors to one line and an exit status."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from vmsieve import __version__
from vmsieve.formats.errors import UsageError, VmsieveError
from vmsieve.formats.text import shown
from vmsieve.pipeline.cli.commands import Command, commands, only
from vmsieve.pipeline.cli.options import plainly
from vmsieve.pipeline.dump.plan import EXIT_FAILED, EXIT_USAGE
from vmsieve.pipeline.process.signals import Interrupted, interruptible
from vmsieve.pipeline.process.streams import discard_stdout, exit_process, set_up_streams

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["main", "run"]

_EPILOG = """\
exit status:
  0  done as asked                    3  whole, but less was filtered than asked
  1  failed, nothing usable           4  usable, but incomplete (truncated input, unreadable pages, disk full)
  2  wrong usage

'vmsieve COMMAND --help' has examples.
"""


def _help(prog: str) -> argparse.RawDescriptionHelpFormatter:
    """Help as wide as the terminal. A formatter that is not told the width imports modules that cost half a MiB."""
    import argparse

    try:
        width = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError, AttributeError):
        width = 80
    return argparse.RawDescriptionHelpFormatter(prog, width=max(40, width - 2))


def _parser(found: list[Command]) -> argparse.ArgumentParser:
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            self.exit(EXIT_USAGE, f"{self.prog}: {shown(message)} (try '{self.prog} --help')\n")

    parser = Parser(
        prog="vmsieve",
        description="Filter and compress the memory of a crashed machine.",
        epilog=_EPILOG,
        formatter_class=_help,
    )
    parser.add_argument("--version", action="version", version=f"vmsieve {__version__}")
    choices = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for command in found:
        one = choices.add_parser(
            command.name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            epilog=f"examples:\n{command.examples}",
            formatter_class=_help,
        )
        command.configure(one)
        one.set_defaults(command=command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    set_up_streams()
    words = sys.argv[1:] if argv is None else list(argv)
    found = only(words[0]) if words else commands()
    arguments = plainly(found[0], words[1:]) if len(found) == 1 else None
    if arguments is None:
        arguments = _parser(found).parse_args(words)
    command: Command = arguments.command
    try:
        with interruptible():
            status = command.run(arguments)
            sys.stdout.flush()
            return status
    except UsageError as error:
        return _fail(error, EXIT_USAGE)
    except VmsieveError as error:
        return _fail(error, EXIT_FAILED)
    except Interrupted as error:
        return _fail(error, EXIT_FAILED)
    except BrokenPipeError:
        # Whoever read our standard output has enough.
        discard_stdout()
        return EXIT_FAILED
    except OSError as error:
        # Of all other files the rooms speak themselves.
        discard_stdout()
        return _fail(f"can't write to standard output: {error.strerror}", EXIT_FAILED)
    except MemoryError:
        return _fail("out of memory", EXIT_FAILED)


def run() -> NoReturn:
    """The program: :func:`main`, and the end of the process."""
    exit_process(main())


def _fail(what: object, status: int) -> int:
    print(f"vmsieve: {shown(str(what))}", file=sys.stderr)  # noqa: T201 - the command line's voice
    return status
