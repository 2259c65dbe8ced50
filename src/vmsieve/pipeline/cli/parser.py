"""The command line's ``argparse`` parser: help, abbreviations, and errors that are explained."""

from __future__ import annotations

import argparse
import os
import sys

from vmsieve import __version__
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Callable, NoReturn
from vmsieve.formats.text import shown
from vmsieve.pipeline.process.exits import EXIT_USAGE
from vmsieve.pipeline.process.options import defaults, listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.pipeline.cli.commands import Command
    from vmsieve.pipeline.process.options import Group, Option

_EPILOG = """\
exit status:
  0  done as asked                    3  whole, but less was filtered than asked
  1  failed, nothing usable           4  usable, but incomplete (truncated input, unreadable pages, disk full)
  2  wrong usage

'vmsieve COMMAND --help' has examples.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {shown(message)} (try '{self.prog} --help')\n")


class _CommandParser(_Parser):
    """The parser of one command, which gets its options when it is used: the list of commands needs none."""

    command: Command | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.command is not None:
            command, self.command = self.command, None
            _add_options(self, command)
        return super().parse_known_args(args, namespace)


def _formatter(prog: str) -> argparse.RawDescriptionHelpFormatter:
    """Help as wide as the terminal. Without a width, argparse imports modules that take half a MiB to find it."""
    try:
        width = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError, AttributeError):
        width = 80
    return argparse.RawDescriptionHelpFormatter(prog, width=max(40, width - 2))


def build_parser(commands: Iterable[Command]) -> argparse.ArgumentParser:
    """The parser of ``commands``; it stores the one given as attribute ``command``."""
    parser = _Parser(
        prog="vmsieve",
        description="Filter and compress the memory of a crashed machine.",
        epilog=_EPILOG,
        formatter_class=_formatter,
    )
    parser.add_argument("--version", action="version", version=f"vmsieve {__version__}")
    choices = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_CommandParser)
    for command in commands:
        one = choices.add_parser(
            command.name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            epilog=f"examples:\n{command.examples}",
            formatter_class=_formatter,
        )
        one.command = command
    return parser


def _add_options(parser: argparse.ArgumentParser, command: Command) -> None:
    groups: dict[Group, Any] = {}
    for option in listed(command.options):
        to: Any = parser
        if option.group is not None:
            if option.group not in groups:
                groups[option.group] = parser.add_mutually_exclusive_group(required=option.group.required)
            to = groups[option.group]
        to.add_argument(*option.flags or [option.name], **_arguments(option))
    parser.set_defaults(command=command, **defaults(command.options))


def _arguments(option: Option) -> dict[str, Any]:
    """``option`` as keyword arguments of ``add_argument``."""
    found: dict[str, Any] = {"help": option.text, **({"dest": option.name} if option.flags else {})}
    if not option.takes_value:
        return {**found, "action": "store_const", "const": option.const}
    if option.metavar:
        found["metavar"] = option.metavar
    if option.choices:
        found["choices"] = option.choices
    if option.repeated:
        found["action"] = "append"
    if option.optional or option.rest:
        found["nargs"] = argparse.REMAINDER if option.rest else "?"
    return {**found, "type": _explained(option.convert)}


def _explained(convert: Callable[[str], object]) -> Callable[[str], object]:
    """``convert``, with errors that argparse prints as they are."""

    def explained(text: str) -> object:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{error}, not {text!r}") from error

    return explained
