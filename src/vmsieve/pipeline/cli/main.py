"""Runs a command line: parses it, runs the command, and turns errors into one line and an exit status."""

from __future__ import annotations

import sys

from vmsieve import __version__
from vmsieve.formats.errors import UsageError, VmsieveError
from vmsieve.formats.slim.typing import TYPE_CHECKING, NoReturn
from vmsieve.formats.text import shown
from vmsieve.pipeline.cli.commands import Arguments, is_command, only
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from vmsieve.pipeline.process.options import parse
from vmsieve.pipeline.process.signals import Interrupted, interruptible
from vmsieve.pipeline.process.streams import discard_stdout, exit_process, print_line, set_up_streams

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    set_up_streams()
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        return _run(words)
    except UsageError as error:
        return _fail(words, error, EXIT_USAGE)
    except (VmsieveError, Interrupted) as error:
        return _fail(words, error, EXIT_FAILED)
    except BrokenPipeError:
        # The reader of our standard output has gone, as `head` does: no reason for a message.
        discard_stdout()
        return EXIT_FAILED
    except OSError as error:
        # Errors of all other files were turned into a VmsieveError where they occurred.
        discard_stdout()
        return _fail(words, f"can't write to standard output: {error.strerror}", EXIT_FAILED)
    except MemoryError:
        return _fail(words, "out of memory", EXIT_FAILED)


def _run(words: list[str]) -> int:
    if words == ["--version"]:  # loads nothing more
        print_line(f"vmsieve {__version__}")
        status = EXIT_OK
    else:
        arguments = _parsed(words)
        if isinstance(arguments, str):
            sys.stdout.write(arguments)
            status = EXIT_OK
        else:
            with interruptible():
                status = arguments.command.run(arguments)
    sys.stdout.flush()
    return status


def _parsed(words: list[str]) -> Arguments | str:
    """The command and its arguments, or the help or version that is asked for."""
    found = only(words[0]) if words else []
    if len(found) != 1:
        from vmsieve.pipeline.cli.first import text_for

        return text_for(words, __version__)
    values = parse(found[0].options, words[1:])
    if values is None:
        from vmsieve.pipeline.cli.words import read

        values = read(found[0], words[1:])
    if values is None:
        from vmsieve.pipeline.cli.help import command_help

        return command_help(found[0])
    return Arguments(command=found[0], **values)


def run() -> NoReturn:
    """Run the program: :func:`main`, then end the process."""
    exit_process(main())


def _fail(words: list[str], message: object, status: int) -> int:
    name = f"vmsieve {words[0]}" if words and is_command(words[0]) else "vmsieve"
    print(f"{name}: {shown(str(message))}", file=sys.stderr)  # noqa: T201 - errors of all commands are printed here
    return status
