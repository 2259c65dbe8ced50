"""The two kinds of configuration files that kdump services have: lines of directives, and assignments of a shell.

Both are read as their services read them, and neither is executed: what only a shell could tell is not known.
"""

from __future__ import annotations

import re
import shlex
from typing import Final

from vmsieve.formats.slim.records import record

__all__ = ["Setting", "assignments", "directives", "last", "lines_of", "value_of"]

_ASSIGNMENT: Final = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")


@record(frozen=True)
class Setting:
    """One line that sets something.

    Attributes:
        key, value: What it sets to what; None: only a shell could tell.
        line: The whole line with its end, as it is in the file.
    """

    key: str
    value: str | None
    line: str


def lines_of(text: str) -> list[str]:
    """The lines of ``text`` with their ends. Nothing but a line feed ends one."""
    return [f"{line}\n" for line in text.split("\n")[:-1]] + [last for last in text.split("\n")[-1:] if last]


def directives(text: str) -> list[Setting]:
    """Lines ``key value`` of ``kdump.conf``.

    As kdump-utils reads them: a comment begins anywhere with ``#``, and a pair of quotes around the value is not part
    of it.
    """
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
    """Lines ``KEY=value`` of a file that a shell takes in."""
    found = []
    for line in lines_of(text):
        match = _ASSIGNMENT.fullmatch(line.rstrip("\n"))
        if match is not None:
            found.append(Setting(match[1], _word(match[2]), line))
    return found


def _word(text: str) -> str | None:
    """The value that a shell would take ``text`` for; None if it takes more than quotes to know."""
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
    """The last of ``settings`` with one of these keys: it is the one that counts."""
    return next((one for one in reversed(settings) if one.key in keys), None)


def value_of(text: str, key: str) -> str:
    """What the assignments in ``text`` set ``key`` to; empty if they don't, or if only a shell could tell."""
    found = last(assignments(text), key)
    return (found.value if found else "") or ""
