"""Parses command lines as ``getopt_long`` does (getopt(3)).

Short options may be bundled, long ones abbreviated as long as they are unambiguous, and operands may precede options.
``--`` ends the options.
"""

from __future__ import annotations

from vmsieve.formats.errors import UsageError
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.makedumpfile.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmsieve.pipeline.makedumpfile.options import Option


def parse_words(words: Sequence[str]) -> tuple[list[tuple[Option, str]], list[str]]:
    """Parse ``words``; returns the options in order, each with its argument or "", and the operands.

    Raises UsageError for an option that is unknown or ambiguous, or has a missing or surplus argument.
    """
    given: list[tuple[Option, str]] = []
    operands: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            operands += left
        elif word.startswith("--"):
            given.append(_long(word[2:], left))
        elif word.startswith("-") and word != "-":
            given += _short(word[1:], left)
        else:
            operands.append(word)
    return given, operands


def _short(letters: str, left: Iterator[str]) -> Iterator[tuple[Option, str]]:
    """Yield the options bundled in one word; the argument of the last one is the rest or the next word."""
    while letters:
        letter, letters = letters[0], letters[1:]
        option = next((one for one in OPTIONS if one.letter == letter), None)
        if option is None:
            raise UsageError(f"there is no option -{letter}")
        if option.has_argument:
            yield option, letters or _argument(f"-{letter}", left)
            return
        yield option, ""


def _long(text: str, left: Iterator[str]) -> tuple[Option, str]:
    name, equals, value = text.partition("=")
    found = [one for one in OPTIONS if one.name and one.name.startswith(name)]
    option = next((one for one in found if one.name == name), found[0] if len(found) == 1 else None)
    if option is None:
        likely = " or ".join(f"--{one.name}" for one in found)
        raise UsageError(f"--{name} may be {likely}" if found else f"there is no option --{name}")
    if not option.has_argument:
        if equals:
            raise UsageError(f"--{option.name} takes no argument", found=value)
        return option, ""
    return option, value if equals else _argument(f"--{option.name}", left)


def _argument(typed: str, left: Iterator[str]) -> str:
    value = next(left, None)
    if value is None:
        raise UsageError(f"{typed} lacks its argument")
    return value
