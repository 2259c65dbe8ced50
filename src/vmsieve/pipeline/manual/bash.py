"""Completion for bash. It needs no function of the bash-completion package, which finds the file by its name."""

from __future__ import annotations

from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.manual.pages import DIRECTORY, FILE, program_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vmsieve.pipeline.manual.pages import Entry, Page

_FUNCTION = """\
# Completion of {program} for bash, generated from its options.

{name}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} command={command}
    local options= operands= values= sign=
    # "--name=value" is three words here; so is "zstd:3", of which the level is not completed.
    if [[ $current == = ]]; then
        current= sign==
    elif [[ $before == = ]]; then
        before=${{COMP_WORDS[COMP_CWORD - 2]}} sign==
    fi
    COMPREPLY=()
    [[ $current == : || $before == : ]] && return
{choose}    case $command in
{tables}    *) return ;;
    esac
    case $command:$before$sign in
{values}    esac
    if [[ -z $values && $current == -* ]]; then
        values=$options
    fi
    case ${{values:-$operands}} in
    file) compopt -o default 2>/dev/null ;;
    directory) compopt -o dirnames 2>/dev/null ;;
    other) ;;
    *) COMPREPLY=($(compgen -W "$values" -- "$current")) ;;
    esac
}}

complete -F {name} {program}
"""
_CHOOSE = """\
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W "{words}" -- "$current"))
        return
    elif [[ $command == help ]]; then
        COMPREPLY=($(compgen -W "{names}" -- "$current"))
        return
    fi
"""


def script(pages: Sequence[Page]) -> str:
    """The completion of ``vmsieve``."""
    names = " ".join(page.command for page in pages)
    flags = " ".join(flag for entry in program_options() for flag in entry.flags)
    choose = _CHOOSE.format(names=names, words=f"{names} help {flags}")
    return _script("vmsieve", "_vmsieve", "${COMP_WORDS[1]}", choose, pages)


def alone(page: Page) -> str:
    """The completion of the program that is a command alone."""
    return _script(page.name, f"_{page.name.replace('-', '_')}", page.command, "", [page])


def _script(program: str, name: str, command: str, choose: str, pages: Sequence[Page]) -> str:
    tables = "".join(_table(page) for page in pages)
    values = "".join(line for page in pages for line in _values(page))
    return _FUNCTION.format(program=program, name=name, command=command, choose=choose, tables=tables, values=values)


def _table(page: Page) -> str:
    flags = " ".join(flag for entry in page.options for flag in entry.flags)
    operands = "file" if page.operands else "other"
    return f'    {page.command}) options="{flags}" operands={operands} ;;\n'


def _values(page: Page) -> Iterable[str]:
    """Lines for the options that take a value."""
    for entry in page.options:
        if entry.value:
            # A value that may be left out follows "=".
            signs = ["="] if entry.optional else ["", "="]
            patterns = "|".join(f"{page.command}:{flag}{sign}" for flag in entry.flags for sign in signs)
            yield f'    {patterns}) values="{_value(entry)}" ;;\n'


def _value(entry: Entry) -> str:
    if entry.words:
        return " ".join(entry.words)
    return entry.kind if entry.kind in (FILE, DIRECTORY) else "other"
