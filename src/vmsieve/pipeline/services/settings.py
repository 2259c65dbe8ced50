"""Parsers of the two kinds of kdump configuration files: lines of directives, and shell assignments.

Both are parsed as their services do, but never executed: a value that needs a shell is unknown.
"""

from __future__ import annotations

import re
import shlex

from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import Final

_ASSIGNMENT: Final = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")


@record(frozen=True)
class Setting:
    """A line that sets ``key`` to ``value`` (None: needs a shell); ``line``: the whole line with its end."""

    key: str
    value: str | None
    line: str


def lines_of(text: str) -> list[str]:
    """Split ``text`` into lines with their ends; only a line feed ends a line."""
    return [f"{line}\n" for line in text.split("\n")[:-1]] + [last for last in text.split("\n")[-1:] if last]


def directives(text: str) -> list[Setting]:
    """Parse lines ``key value`` of kdump.conf as kdump-utils does: ``#`` starts a comment, quotes are removed."""
    found = []
    for line in lines_of(text):
        key, _, rest = line.strip().partition("#")[0].strip().replace("\t", " ").partition(" ")
        value = rest.strip()
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if key:
            found.append(Setting(key, value, line))
    return found


def assignments(text: str) -> list[Setting]:
    """Parse lines ``KEY=value`` of a file that a shell sources."""
    found = []
    for line in lines_of(text):
        match = _ASSIGNMENT.fullmatch(line.rstrip("\n"))
        if match is not None:
            found.append(Setting(match[1], _word(match[2]), line))
    return found


def _word(text: str) -> str | None:
    """The value of ``text`` in a shell; None if it has expansions or is malformed."""
    plain = re.sub(r"'[^']*'", "", text)
    if "$" in plain or "`" in plain:
        return None
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return None
    if len(words) > 1:
        return None
    return words[0] if words else ""


def last(settings: list[Setting], *keys: str) -> Setting | None:
    """The last of ``settings`` with one of ``keys``, which takes effect; None if missing."""
    return next((one for one in reversed(settings) if one.key in keys), None)


def value_of(text: str, key: str) -> str:
    """Value of ``key`` in the assignments of ``text``; empty if missing or unknown."""
    found = last(assignments(text), key)
    return (found.value if found else "") or ""
