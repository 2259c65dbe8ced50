"""Runs a command line: parses it, runs the command, and turns errors into one line and an exit status."""

from __future__ import annotations

import sys

from vmsieve import __version__
from vmsieve.formats.errors import UsageError, VmsieveError
from vmsieve.formats.slim.typing import TYPE_CHECKING, NoReturn
from vmsieve.formats.text import shown
from vmsieve.pipeline.cli.commands import Arguments, commands, only
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from vmsieve.pipeline.process.options import parse
from vmsieve.pipeline.process.signals import Interrupted, interruptible
from vmsieve.pipeline.process.streams import discard_stdout, exit_process, print_line, set_up_streams

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    set_up_streams()
    try:
        return _run(sys.argv[1:] if argv is None else list(argv))
    except UsageError as error:
        return _fail(error, EXIT_USAGE)
    except (VmsieveError, Interrupted) as error:
        return _fail(error, EXIT_FAILED)
    except BrokenPipeError:
        # The reader of our standard output has gone, as `head` does: no reason for a message.
        discard_stdout()
        return EXIT_FAILED
    except OSError as error:
        # Errors of all other files were turned into a VmsieveError where they occurred.
        discard_stdout()
        return _fail(f"can't write to standard output: {error.strerror}", EXIT_FAILED)
    except MemoryError:
        return _fail("out of memory", EXIT_FAILED)


def _run(words: list[str]) -> int:
    if words == ["--version"]:  # argparse would take half the time
        print_line(f"vmsieve {__version__}")
        status = EXIT_OK
    else:
        arguments = _parsed(words)
        with interruptible():
            status = arguments.command.run(arguments)
    sys.stdout.flush()
    return status


def _parsed(words: list[str]) -> Arguments:
    found = only(words[0]) if words else commands()
    values = parse(found[0].options, words[1:]) if len(found) == 1 else None
    if values is not None:
        return Arguments(command=found[0], **values)
    from vmsieve.pipeline.cli.parser import build_parser

    return build_parser(found).parse_args(words, Arguments())


def run() -> NoReturn:
    """Run the program: :func:`main`, then end the process."""
    exit_process(main())


def _fail(message: object, status: int) -> int:
    print(f"vmsieve: {shown(str(message))}", file=sys.stderr)  # noqa: T201 - errors of all commands are printed here
    return status
