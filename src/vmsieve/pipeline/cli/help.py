"""Help: the list of commands, and a command's options, laid out by ``argparse``."""

from __future__ import annotations

import argparse
import os
import sys

from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final
from vmsieve.pipeline.process.options import Option, listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.pipeline.cli.commands import Command

HELP: Final = Option("-h --help", "print this help")
VERSION: Final = Option("-V --version", "print the version")
_EPILOG = """\
exit status:
  0  done as asked                    3  whole, but less was filtered than asked
  1  failed, nothing usable           4  usable, but incomplete (truncated input, unreadable pages, disk full)
  2  wrong usage

'vmsieve COMMAND --help', or 'vmsieve help COMMAND', has a command's options and examples.
"""


def usage(command: Command) -> str:
    """The usage line of ``command``: its operands, options summed up."""
    return " ".join(["vmsieve", command.name, *_operands(command)])


def _operands(command: Command) -> Iterable[str]:
    if any(not option.operand for option in listed(command.options)):
        yield "[OPTION]..."
    for option in listed(command.options):
        if option.operand and option.group is not None and option.group.required:
            others = [one.flags[-1] for one in listed(command.options) if one.group is option.group and one.flags]
            yield "|".join([option.metavar, *others])
        elif option.operand:
            optional = option.optional and not option.unless
            yield f"{option.metavar}..." if option.rest else f"[{option.metavar}]" if optional else option.metavar


def help_text(commands: Iterable[Command]) -> str:
    """The help of the program: its commands, each in a line."""
    parser = argparse.ArgumentParser(
        prog="vmsieve",
        usage="vmsieve COMMAND [OPTION]... [OPERAND]...",
        description="Filter and compress the memory of a crashed machine.",
        epilog=_EPILOG,
        formatter_class=_formatter,
        add_help=False,
    )
    _add(parser, (HELP, VERSION))
    choices = parser.add_subparsers(metavar="COMMAND")
    for command in commands:
        choices.add_parser(command.name, help=command.summary, add_help=False)
    return parser.format_help()


def command_help(command: Command) -> str:
    """The help of one command."""
    parser = argparse.ArgumentParser(
        usage=usage(command),
        description=command.summary[0].upper() + command.summary[1:] + ".",
        epilog=f"examples:\n{command.examples}",
        formatter_class=_formatter,
        add_help=False,
    )
    _add(parser, (*listed(command.options), HELP))
    return parser.format_help()


def _add(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    # Python 3.14 colours help on a terminal, with sequences that our streams would escape.
    vars(parser)["color"] = False
    for option in options:
        parser.add_argument(*option.flags or [option.name], help=option.text, **_form(option))


def _form(option: Option) -> dict[str, Any]:
    """How ``add_argument`` shows ``option``."""
    found: dict[str, Any] = {"dest": option.name} if option.flags else {}
    if not option.takes_value:
        return {**found, "action": "store_true"}
    if option.metavar:
        found["metavar"] = option.metavar
    if option.choices:
        found["choices"] = option.choices
    if option.bare or option.optional or option.rest:
        found["nargs"] = argparse.REMAINDER if option.rest else "?"
    return found


def _formatter(prog: str) -> argparse.RawDescriptionHelpFormatter:
    """Help as wide as the terminal. Without a width, argparse imports modules that take half a MiB to find it."""
    try:
        width = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError, AttributeError):
        width = 80
    return argparse.RawDescriptionHelpFormatter(prog, width=max(40, width - 2))
