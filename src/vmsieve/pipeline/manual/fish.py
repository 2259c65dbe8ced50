"""Completion for fish."""

from __future__ import annotations

from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.manual.pages import DIRECTORY, FILE, program_options

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
    lines += [f"{start} -a help -d 'print a command\\'s help'\n"]
    lines += [f"{start} {_flags(entry)} -d {_quoted(entry.text)}\n" for entry in program_options()]
    names = " ".join(page.command for page in pages)
    lines += [f"complete -c vmsieve -n '__vmsieve_command help' -f -a '{names}'\n"]
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
        yield f"{start} {_flags(entry)}{_value(entry)} -d {_quoted(entry.text)}\n"


def _flags(entry: Entry) -> str:
    return " ".join(f"-l {one[2:]}" if one.startswith("--") else f"-s {one[1:]}" for one in entry.flags)


def _value(entry: Entry) -> str:
    if not entry.value:
        return ""
    if entry.optional:
        # Without -r, fish completes the value behind "=" only.
        return " -a '(__fish_complete_path)'" if entry.kind == FILE else ""
    if entry.words:
        return f" -x -a '{' '.join(entry.words)}'"
    return {FILE: " -r -F", DIRECTORY: " -x -a '(__fish_complete_directories)'"}.get(entry.kind, " -x")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
