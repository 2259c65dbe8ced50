"""Command lines that say what they say plainly, understood without ``argparse``.

That takes a megabyte and, under emulation, a third of the time until a capture starts. So it is asked only where there
is more to it: help, abbreviations, several short options in one word, and all that is wrong, which it tells best.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from vmsieve.pipeline.cli.commands import Command

__all__ = ["plainly"]


class _UnclearError(Exception):
    """Somebody else must have a look."""


class _Arguments:
    """What ``argparse.Namespace`` is: an object with attributes."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


class _Option:
    def __init__(self, flags: tuple[str, ...], group: object, more: dict[str, Any]) -> None:
        self.group = group
        self.positional = not flags[0].startswith("-")
        long = next((flag for flag in flags if flag.startswith("--")), flags[0])
        self.name: str = more.get("dest") or long.lstrip("-").replace("-", "_")
        self.action: str = more.get("action", "store")
        self.count: object = more.get("nargs")
        self.kind: Callable[[str], object] = more.get("type", str)
        self.choices: Any = more.get("choices")
        self.const = more.get("const", {"store_true": True, "store_false": False}.get(self.action))
        self.default = more.get("default", {"store_true": False, "store_false": True}.get(self.action))
        self.required = bool(more.get("required"))
        if self.action not in ("store", "store_const", "store_true", "store_false") or self.count not in (None, "?"):
            raise _UnclearError

    def value(self, text: str) -> object:
        """What ``text`` means, if it is allowed."""
        try:
            value = self.kind(text)
        except Exception:
            raise _UnclearError from None
        if self.choices is not None and value not in self.choices:
            raise _UnclearError
        return value


class _Group:
    """Takes the calls that a command makes to tell its arguments to ``argparse``."""

    def __init__(self, parser: _Parser) -> None:
        self._parser = parser

    def add_argument(self, *flags: str, **more: Any) -> None:
        """See argparse."""
        option = _Option(flags, self, more)
        if option.positional:
            self._parser.positionals.append(option)
        for flag in flags:
            self._parser.options[flag] = option
        self._parser.values.setdefault(option.name, option.default)


class _Parser(_Group):
    def __init__(self) -> None:
        super().__init__(self)
        self.positionals: list[_Option] = []
        self.options: dict[str, _Option] = {}
        self.values: dict[str, Any] = {}
        self._used: dict[object, _Option] = {}

    def add_mutually_exclusive_group(self, *, required: bool = False) -> _Group:
        """See argparse."""
        if required:
            raise _UnclearError
        return _Group(self)

    def set_defaults(self, **values: Any) -> None:
        """See argparse."""
        self.values.update(values)

    def parse(self, words: Sequence[str]) -> dict[str, Any]:
        """The arguments by name."""
        given = []
        rest = iter(words)
        for word in rest:
            if word.startswith("-") and word != "-":
                self._take(word, rest)
            else:
                given.append(word)
        least = sum(option.count is None for option in self.positionals)
        if not least <= len(given) <= len(self.positionals) or any(o.required for o in self.options.values()):
            raise _UnclearError
        spare = len(given) - least
        for option in self.positionals:
            # What is needed comes first: of ``[INPUT] TARGET``, one word is the target.
            if option.count is None or spare > 0:
                spare -= option.count is not None
                self.values[option.name] = option.value(given.pop(0))
        return self.values

    def _take(self, word: str, rest: Any) -> None:
        name, sign, text = word.partition("=")
        if not name.startswith("--"):
            name, sign, text = word[:2], word[2:3], word[2:]
        option = self.options.get(name)
        if option is None:
            raise _UnclearError
        if option.group is not self and self._used.setdefault(option.group, option) is not option:
            raise _UnclearError
        if option.action != "store":
            if sign:
                raise _UnclearError
            self.values[option.name] = option.const
            return
        if not sign:
            text = next(rest, "--")
            if text.startswith("-") and text != "-":
                raise _UnclearError
        if option.count is not None:
            raise _UnclearError
        self.values[option.name] = option.value(text)


def plainly(command: Command, words: Sequence[str]) -> argparse.Namespace | None:
    """The arguments of ``command`` in ``words``, as ``argparse`` would have them; None where it must be asked."""
    parser: Any = _Parser()
    try:
        command.configure(parser)
        values = parser.parse(words)
    except (_UnclearError, AttributeError):
        return None
    arguments: Any = _Arguments({**values, "command": command})
    return arguments  # type: ignore[no-any-return]
