"""Command lines that do not begin with a command: help, the version, and mistakes."""

from __future__ import annotations

import os

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.cli.commands import commands, only
from vmsieve.pipeline.cli.help import HELP, VERSION, command_help, help_text
from vmsieve.pipeline.cli.suggestions import command_like, commands_with
from vmsieve.pipeline.process.options import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN = 4  # words of a command line that are repeated in a message


def text_for(words: Sequence[str], version: str) -> str:
    """The text that ``words``, of which the first is no command, ask for; raises UsageError for a mistake."""
    if not words:
        names = ", ".join(one.name for one in commands())
        raise UsageError(f"a command is missing: {names}", hint="try 'vmsieve help'")
    first = words[0]
    if _abbreviates(first, HELP.flags) or first == "help":
        topics = words[1:] if first == "help" else []
        if not topics:
            return help_text(commands())
        found = only(topics[0])
        if len(found) != 1:
            raise _unknown(topics[0], [])
        return command_help(found[0])
    if _abbreviates(first, VERSION.flags):
        return f"vmsieve {version}\n"
    raise _option_first(words) if first[:1] == "-" != first else _unknown(first, words[1:])


def _abbreviates(word: str, flags: list[str]) -> bool:
    return word in flags or (len(word) > len("--") and flags[-1].startswith(word))


def _option_first(words: Sequence[str]) -> UsageError:
    """The error for a command line that begins with an option."""
    having = commands_with(words[0].partition("=")[0] if words[0].startswith("--") else words[0][:2])
    fits = [one.name for one in commands() if one.name in having and parse(one.options, words) is not None]
    for name in [*fits, *having][:1]:
        return UsageError("a command comes first", hint=f"did you mean {_line(name, words)}?")
    return UsageError(f"a command comes first, not {words[0]}", hint="try 'vmsieve help'")


def _unknown(word: str, more: Sequence[str]) -> UsageError:
    """The error for a first word that is no command."""
    if os.path.lexists(word) or "/" in word or word == "-":
        return _file_first(word, more)
    near = command_like(word, [*(one.name for one in commands()), "help"])
    told = " or ".join(f"'vmsieve {name}'" for name in near)
    return UsageError(f"no command is called {word!r}", hint=f"did you mean {told}?" if near else "try 'vmsieve help'")


def _file_first(word: str, more: Sequence[str]) -> UsageError:
    message = "a command comes first, not a file"
    if more:
        return UsageError(message, hint=f"did you mean {_line('dump', [word, *more])}?")
    return UsageError(message, hint=f"did you mean {_line('info', [word])} or {_line('dump', [word, 'OUTPUT'])}?")


def _line(name: str, words: Sequence[str]) -> str:
    """A command line to paste, cut if it is long."""
    from shlex import quote

    shown = [quote(word) for word in words[:_SHOWN]] + ["..."] * (len(words) > _SHOWN)
    return f"'{' '.join(['vmsieve', name, *shown])}'"
