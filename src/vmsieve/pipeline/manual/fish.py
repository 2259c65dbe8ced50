"""Completion for fish."""

from __future__ import annotations

from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.manual.pages import DIRECTORY, FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vmsieve.pipeline.manual.pages import Entry, Page

_HEAD = "# Completion of {program} for fish, generated from its options.\n"
_FUNCTION = """\
function __vmsieve_command -d "True if the command is this one; without an argument: if there is none yet"
    set -l words (commandline -opc)
    test "$words[2]" = "$argv[1]"
end
"""


def script(pages: Sequence[Page]) -> str:
    """The completion of ``vmsieve``."""
    lines = [_HEAD.format(program="vmsieve"), _FUNCTION]
    start = "complete -c vmsieve -n __vmsieve_command -f"
    lines += [f"{start} -a {page.command} -d {_quoted(page.summary)}\n" for page in pages]
    lines += [f"{start} -l help -d 'print help'\n", f"{start} -l version -d 'print the version'\n"]
    for page in pages:
        lines += _lines(page, f"complete -c vmsieve -n '__vmsieve_command {page.command}'")
    return "".join(lines)


def alone(page: Page) -> str:
    """The completion of the program that is a command alone."""
    return "".join([_HEAD.format(program=page.name), *_lines(page, f"complete -c {page.name}")])


def _lines(page: Page, start: str) -> Iterable[str]:
    if not page.operands:
        yield f"{start} -f\n"
    for entry in page.options:
        flags = " ".join(f"-l {one[2:]}" if one.startswith("--") else f"-s {one[1:]}" for one in entry.flags)
        yield f"{start} {flags}{_value(entry)} -d {_quoted(entry.text)}\n"


def _value(entry: Entry) -> str:
    if not entry.value or entry.optional:
        return ""
    if entry.words:
        return f" -x -a '{' '.join(entry.words)}'"
    return {FILE: " -r -F", DIRECTORY: " -x -a '(__fish_complete_directories)'"}.get(entry.kind, " -x")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
