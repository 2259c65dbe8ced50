"""Command lines of one command that need more than the easy parser: abbreviations, clusters, help, and mistakes."""

from __future__ import annotations

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any
from vmsieve.pipeline.cli.help import HELP, usage
from vmsieve.pipeline.cli.suggestions import advice
from vmsieve.pipeline.process.options import Option, Values, listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmsieve.pipeline.cli.commands import Command

_LETTER = 2  # characters of an option of one letter


def read(command: Command, words: Iterable[str]) -> dict[str, Any] | None:
    """As :func:`~vmsieve.pipeline.process.options.parse`, for any command line; None: it asks for help.

    Raises UsageError with the first mistake.
    """
    reader = _Reader(command)
    return reader.values.by_name if reader.read(list(words)) else None


class _Reader:
    def __init__(self, command: Command) -> None:
        self.values = Values(command.options)
        self._command = command
        self._flags = {flag: option for option in (*listed(command.options), HELP) for flag in option.flags}

    def read(self, left: list[str]) -> bool:
        """Store options and operands; False: help is asked for."""
        while left:
            word = left.pop(0)
            if word == "--":
                # "./": a file's name that begins with a dash, from here on.
                self.values.given += [f"./{name}" if name[:1] == "-" != name else name for name in left]
                break
            if word == "-" or not word.startswith("-"):
                self.values.given.append(word)
            elif not self._option(word, left):
                return False
        self._place()
        return True

    def _option(self, word: str, left: list[str]) -> bool:
        """Store the option ``word``, or the letters in it; False: help."""
        name, sign, text = word.partition("=")
        if not word.startswith("--"):
            name, sign, text = word[:_LETTER], word[_LETTER : _LETTER + 1], word[_LETTER:]
        flag = self._whole(name)
        option = self._flags[flag]
        if option is HELP:
            return False
        if sign and not option.takes_value and not word.startswith("--") and sign != "=":
            left.insert(0, f"-{text}")  # the next letter of a cluster
            sign = ""
        if sign and not option.takes_value:
            raise UsageError(f"{name} takes no value, not {text.lstrip('=')!r}")
        if not option.takes_value or (option.bare and not sign):
            self._take(option, flag, left)
            return True
        if not sign:
            if not left or left[0] in self._flags:
                raise UsageError(f"{name} needs a value: {_expected(option)}", hint=self._help())
            text = left.pop(0)
        elif not word.startswith("--"):
            text = text[sign == "=" :]
        _check(option, name, text)
        self._take(option, f"{flag}={text}" if flag.startswith("--") else f"{flag}{text}", left)
        return True

    def _whole(self, name: str) -> str:
        """The option that ``name`` is, or abbreviates."""
        if name in self._flags:
            return name
        found = [flag for flag in self._flags if name.startswith("--") and flag.startswith(name) and name != "--"]
        if len({id(self._flags[flag]) for flag in found}) == 1:
            return found[0]
        if found:
            raise UsageError(f"{name} is ambiguous: {' or '.join(sorted(found))}")
        message, hint = advice(self._command, name, list(self._flags))
        raise UsageError(message, hint=hint or self._help())

    def _take(self, option: Option, word: str, left: list[str]) -> None:
        before = None if option.group is None else self.values.chosen.get(option.group)
        if not self.values.take(word, left):
            assert before is not None
            raise UsageError(f"{_name(before)} and {_name(option)} exclude each other")

    def _place(self) -> None:
        """Store the operands, or say which is missing, or too much."""
        operands, given = list(self.values.operands), list(self.values.given)
        if self.values.place():
            return
        form = f"usage: {usage(self._command)}"
        if len(self.values.given) > len(operands):
            surplus = given[len(operands)]
            raise UsageError(f"too many operands, from {surplus!r} on", hint=form)
        for option, word in zip(operands, given):
            if option.group is not None and self.values.chosen.get(option.group, option) is not option:
                raise UsageError(
                    f"{_name(self.values.chosen[option.group])} goes without {option.metavar}", found=word, hint=form
                )
        missing = self._missing()
        raise UsageError(f"{missing} {'are' if ' and ' in missing else 'is'} missing", hint=form)

    def _missing(self) -> str:
        lacking = [one for one in self.values.operands if not one.optional][len(self.values.given) :]
        if not lacking:
            lacking = [one for one in self.values.operands if one.unless and not self.values.by_name[one.name]]
        if lacking:
            return " and ".join(one.metavar for one in lacking)
        options = listed(self._command.options)
        group = next(
            one.group
            for one in options
            if one.group is not None and one.group.required and one.group not in self.values.chosen
        )
        return " or ".join(_name(one) for one in options if one.group is group)

    def _help(self) -> str:
        return f"try 'vmsieve {self._command.name} --help'"


def _name(option: Option) -> str:
    return option.metavar if option.operand else option.flags[-1]


def _expected(option: Option) -> str:
    return " or ".join(option.choices) if option.choices else option.metavar


def _check(option: Option, name: str, text: str) -> None:
    """Raise UsageError if ``text`` is no value of ``option``, which was given as ``name``."""
    try:
        value = option.convert(text)
    except ValueError as error:
        raise UsageError(f"{name} takes {error}, not {text!r}") from error
    if option.choices and value not in option.choices:
        raise UsageError(f"{name} takes {_expected(option)}, not {text!r}")
