"""Options of a command line: declared once, and parsed here if all options are spelt out and right.

Other command lines are the business of :mod:`vmsieve.pipeline.cli.words`: help, abbreviations, several short options in
one word, and mistakes, which it explains. It is loaded only then: the time until a capture starts counts.

The first process of a capture loads this module, so it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any


class Group:
    """Options that exclude each other; ``required``: one of them must be given."""

    def __init__(self, *, required: bool = False) -> None:
        self.required = required


class Option:
    """An option, or an operand."""

    def __init__(
        self,
        names: str,  # its forms, such as "-d --level"; without a dash: an operand
        text: str | Callable[[], str],  # its help, or a function that makes it
        *,
        metavar: str = "",  # name of its argument in the help; without one and ``choices``, it sets ``const``
        name: str = "",  # attribute that holds its value
        convert: Callable[[str], Any] = str,  # converts the argument; raises ValueError that says what is expected
        choices: Sequence[str] = (),  # values allowed; empty: any
        default: Any = None,  # value if it is not given; options with the same name share the one that is not None
        const: Any = True,
        group: Group | None = None,  # options that exclude it
        optional: bool = False,  # the operand may be left out
        unless: str = "",  # attribute without which the operand may not be left out
        bare: bool = False,  # its argument may be left out; its value is ``const`` then
        repeated: bool = False,  # it may be given several times: its value is a list
        rest: bool = False,  # the operand is the list of all words, options among them
    ) -> None:
        self.operand = not names.startswith("-")
        self.flags = [] if self.operand else names.split()
        self.name = name or names.rsplit(maxsplit=1)[-1].lstrip("-").replace("-", "_").lower()
        self._text, self.metavar, self.choices = text, metavar or names * self.operand, choices
        self.takes_value = bool(self.metavar or choices)
        self.convert, self.const, self.group = convert, const, group
        self.default = False if default is None and const is True and not self.takes_value else default
        self.optional, self.unless, self.repeated, self.rest = optional or bool(unless), unless, repeated, rest
        self.bare = bare

    @property
    def text(self) -> str:
        """Its help."""
        return self._text if isinstance(self._text, str) else self._text()


class Letters:
    """Options of one letter, looked up when one is given, because making all takes time.

    Their value goes to the attribute of another option, which has its default.
    """

    def __init__(self, find: Callable[[str], Option | None], every: Callable[[], list[Option]]) -> None:
        self.find, self.every = find, every


def listed(options: Iterable[Option | Letters]) -> list[Option]:
    """All options, letters among them."""
    return [one for each in options for one in (each.every() if isinstance(each, Letters) else [each])]


def number(least: int, most: int) -> Callable[[str], int]:
    """A conversion for :class:`Option`: decimal digits, from ``least`` to ``most``."""

    def convert(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise ValueError(f"a number from {least} to {most}")
        return int(text)

    return convert


def defaults(options: Iterable[Option | Letters]) -> dict[str, Any]:
    """The default of each attribute."""
    values: dict[str, Any] = {}
    for option in options:
        if isinstance(option, Option) and values.get(option.name) is None:
            values[option.name] = option.default
    return values


def parse(
    options: Sequence[Option | Letters], words: Iterable[str], wrong: list[str] | None = None
) -> dict[str, Any] | None:
    """Return the value of each attribute; None for a command line that is not parsed here.

    With a list as ``wrong``, mistaken words are moved there, as long as the operands suffice.
    """
    values, left = Values(options), list(words)
    if values.operands and values.operands[0].rest:
        return {**values.by_name, values.operands[0].name: left}
    while left:
        word = left.pop(0)
        if word == "-" or not word.startswith("-"):
            values.given.append(word)
        elif not values.take(word, left):
            if wrong is None:
                return None
            wrong.append(word)
    if wrong is not None:
        while len(values.given) > len(values.operands):
            wrong.append(values.given.pop(0))
    return values.by_name if values.place() else None


class Values:
    """Values of options, collected by attribute; ``given``: the operands, in order."""

    def __init__(self, options: Sequence[Option | Letters]) -> None:
        self.by_name = defaults(options)
        self.options = [option for option in options if isinstance(option, Option)]
        self.operands = [option for option in self.options if option.operand]
        self.given: list[str] = []
        self._letters = [option for option in options if isinstance(option, Letters)]
        self._flags = {flag: option for option in self.options for flag in option.flags}
        self.chosen: dict[Group, Option] = {}  # the option given of each group
        self._bare: tuple[Option, int] | None = None  # an option without argument, and the operand behind it

    def find(self, flag: str) -> Option | None:
        """The option that is called ``flag``."""
        found = self._flags.get(flag)
        if found is None and len(flag) == 2:
            found = next((found for one in self._letters if (found := one.find(flag[1:])) is not None), None)
        return found

    def take(self, word: str, left: list[str]) -> bool:
        """Store the option ``word``, its argument taken from ``left`` if ``word`` has none; False: a mistake."""
        flag, sign, text = word.partition("=")
        if not word.startswith("--"):
            flag, sign, text = word[:2], word[2:3], word[2:]
        option = self.find(flag)
        if option is None or (sign and not option.takes_value):
            return False
        if not option.takes_value:
            return self.store(option, option.const)
        if option.bare and not sign:
            self._bare = (option, len(self.given)) if left and (left[0] == "-" or left[0][:1] != "-") else None
            return self.store(option, option.const)
        if not sign:
            if not left or (left[0].startswith("-") and left[0] != "-"):
                return False
            text = left.pop(0)
        return self._convert(option, text)

    def _convert(self, option: Option, text: str) -> bool:
        try:
            value = option.convert(text)
        except ValueError:
            return False
        return (not option.choices or value in option.choices) and self.store(option, value)

    def store(self, option: Option, value: Any) -> bool:
        """Store a value; False if an option that excludes this one was given."""
        if option.group is not None and self.chosen.setdefault(option.group, option).flags != option.flags:
            return False
        self.by_name[option.name] = [*self.by_name[option.name], value] if option.repeated else value
        if not option.operand:
            # OUTPUT of -o is no operand.
            self.operands = [one for one in self.operands if one.name != option.name]
        return True

    def place(self) -> bool:
        """Store the operands given; False: too few or too many, or an option is missing.

        An argument that may be left out is the word behind its option only if the operands suffice without it.
        """
        if self._bare is not None and len(self.given) > sum(self._needed(one) for one in self.operands):
            option, at = self._bare
            if not self._convert(option, self.given.pop(at)):
                return False
        spare = len(self.given) - sum(not option.optional for option in self.operands)
        if spare < 0 or len(self.given) > len(self.operands):
            return False
        left = list(self.given)
        for option in self.operands:
            # Required operands come first: the single word of ``[INPUT] TARGET`` is the target.
            if not option.optional or spare > 0:
                spare -= option.optional
                if not self.store(option, left.pop(0)):
                    return False
            elif option.unless and self._needed(option):
                return False
        groups = {option.group for option in self.options if option.group is not None}
        return all(group in self.chosen for group in groups if group.required)

    def _needed(self, option: Option) -> bool:
        """False if the operand may be left out because of an option given."""
        if option.group is not None and option.group in self.chosen:
            return False
        return not (option.unless and self.by_name[option.unless])
