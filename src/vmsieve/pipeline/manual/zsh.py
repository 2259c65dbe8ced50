"""Completion for zsh."""

from __future__ import annotations

from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.manual.pages import DIRECTORY, FILE, program_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vmsieve.pipeline.manual.pages import Entry, Page

_HELP = "help:print a command's help"
_SCRIPT = """\
#compdef vmsieve {alone}
# Completion of vmsieve and {alone} for zsh, generated from their options.

_vmsieve_arguments() {{
    case $1 in
    help) _vmsieve_commands ;;
{tables}    esac
}}

_vmsieve_commands() {{
    local -a commands=(
{commands}    )
    _describe command commands
}}

_vmsieve() {{
    local context state state_descr line
    typeset -A opt_args
    if [[ $service == {alone} ]]; then
        _vmsieve_arguments {command}
        return
    fi
    _arguments -C {options} '1: :_vmsieve_commands' '*:: :->rest'
    [[ $state == rest ]] && _vmsieve_arguments $line[1]
}}

_vmsieve "$@"
"""


def script(pages: Sequence[Page], alone: Page) -> str:
    """The completion of ``vmsieve``, and of the program that is the command ``alone``."""
    commands = "".join(f"        {_quoted(f'{page.command}:{page.summary}')}\n" for page in pages)
    tables = "".join(_table(page) for page in pages)
    commands += f"        {_quoted(_HELP)}\n"
    flags = ((flag, entry.text) for entry in program_options() for flag in entry.flags)
    options = " ".join(_quoted(f"(- *){flag}[{text}]") for flag, text in flags)
    return _SCRIPT.format(
        alone=alone.name, command=alone.command, commands=commands, options=options, tables=tables
    )  # fmt: skip


def _table(page: Page) -> str:
    specs = " \\\n".join(f"            {spec}" for spec in _specs(page))
    return f"    {page.command})\n        _arguments -s \\\n{specs}\n        ;;\n"


def _specs(page: Page) -> Iterable[str]:
    for entry in page.options:
        text = _escaped(entry.text, "[]")
        value = f":{_escaped(entry.value, ':')}:{_action(entry)}" if entry.value else ""
        for flag in entry.flags:
            sign = "" if not value else "=" if flag.startswith("--") else "+"
            if entry.optional:
                sign, value = "=-", f":{value}"
            # An option given before is offered again: it may be repeatable, and the last one counts.
            yield _quoted(f"*{flag}{sign}[{text}]{value}")
    if page.operands:
        yield _quoted("*:file:_files")


def _action(entry: Entry) -> str:
    if entry.words:
        return f"({' '.join(entry.words)})"
    return {FILE: "_files", DIRECTORY: "_files -/"}.get(entry.kind, " ")


def _escaped(text: str, letters: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\" + letters else letter for letter in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
