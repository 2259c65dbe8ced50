"""What a man page and a completion say, made from the commands and their tables of options."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from vmsieve.formats import codecs, frames
from vmsieve.formats.plugins import names
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any
from vmsieve.pipeline.cli.commands import Command, commands
from vmsieve.pipeline.cli.help import HELP, VERSION, usage
from vmsieve.pipeline.makedumpfile import options as makedumpfile
from vmsieve.pipeline.manual.prose import EXIT_STATUS, MAKEDUMPFILE_STATUS
from vmsieve.pipeline.process.options import Group, Option, listed

if TYPE_CHECKING:
    from types import ModuleType

#: Kinds of values, by which they are completed.
FILE, DIRECTORY, OTHER = "file", "directory", "other"
_DIRECTORIES = ("DIR",)
_FILES = ("FILE", "PROGRAM", "VMLINUX", "VMCOREINFO", "OUTPUT")
#: Values offered that are no choices, because a level may follow them or others are allowed; by attribute.
_PLUGINS: dict[str, ModuleType] = {"codec": codecs, "frame": frames}
_LEVELS = ("1", "17", "31")
_STATUS = "exit status:\n"


@dataclass(frozen=True)
class Entry:
    """An option, or an operand, which has no flags."""

    flags: tuple[str, ...]
    value: str  # name of its argument, or ""; the operand's name
    text: str
    words: tuple[str, ...] = ()  # values to offer
    kind: str = OTHER  # of its argument
    optional: bool = False  # operand: may be left out; option: its argument may
    group: Group | None = None


@dataclass(frozen=True)
class Page:
    """A command's page."""

    command: str  # as in ``vmsieve COMMAND``
    summary: str
    description: list[str]  # paragraphs
    usage: list[str]  # lines
    sections: dict[str, list[Entry]]  # options and operands, by heading
    statuses: dict[int, str]  # meaning of each exit status
    examples: list[tuple[str, str]]  # command, and comment or ""
    remarks: list[str]  # paragraphs after the examples

    @property
    def name(self) -> str:
        """The page's name, such as ``vmsieve-dump``."""
        return f"vmsieve-{self.command}"

    @property
    def entries(self) -> list[Entry]:
        """All options and operands."""
        return [entry for section in self.sections.values() for entry in section]

    @property
    def options(self) -> list[Entry]:
        """All options."""
        return [entry for entry in self.entries if entry.flags]

    @property
    def operands(self) -> list[Entry]:
        """All operands."""
        return [entry for entry in self.entries if not entry.flags]


def pages() -> list[Page]:
    """The pages of all commands, in the order of the help."""
    return [_page(command) for command in commands()]


def program_options() -> list[Entry]:
    """The options of the program, in place of a command."""
    return [_entry(HELP), _entry(VERSION)]


def _page(command: Command) -> Page:
    examples, remarks, statuses = _examples(command.examples)
    entries = [_entry(option) for option in listed(command.options)]
    lines, sections = [usage(command)], {"OPTIONS": [*entries, _entry(HELP)]}
    if any(isinstance(option, Option) and option.rest for option in command.options):
        lines, sections = _makedumpfile_usage(), _makedumpfile_sections()
        statuses = MAKEDUMPFILE_STATUS
    return Page(
        command.name, command.summary, _description(command), lines, sections, statuses, examples, remarks,
    )  # fmt: skip


def _description(command: Command) -> list[str]:
    """The docstring of the command's module without its first paragraph."""
    text = sys.modules[command.run.__module__].__doc__ or ""
    return [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")[1:]]


def _entry(option: Option) -> Entry:
    value = option.metavar or "|".join(option.choices)
    words = tuple(option.choices)
    if option.name in _PLUGINS and option.takes_value:
        words = tuple(names(_PLUGINS[option.name]))
    kind = FILE if option.operand and not option.rest else _kind(value)
    text = option.text
    if option.flags and option.takes_value and option.default not in (None, "", 0, []) and "default" not in text:
        text = f"{text} (default: {option.default})"
    return Entry(
        tuple(option.flags), value, text, words or (_LEVELS if value == "LEVEL" else ()), kind,
        option.bare or (option.optional and not option.unless), option.group,
    )  # fmt: skip


def _kind(value: str) -> str:
    return FILE if value in _FILES else DIRECTORY if value in _DIRECTORIES else OTHER


def _examples(text: str) -> tuple[list[tuple[str, str]], list[str], dict[int, str]]:
    """Split the end of a command's help into examples, the paragraphs after them, and its exit statuses."""
    examples, remarks, statuses = [], [], dict(EXIT_STATUS)
    first, *others = text.strip("\n").split("\n\n")
    for line in first.splitlines():
        command, _, comment = line.strip().partition("  ")
        examples.append((command, comment.strip()))
    for paragraph in others:
        if paragraph.startswith(_STATUS):
            found = re.findall(r"(\d)  (\S.*?)(?=\s{2,}\d  |\n|$)", paragraph)
            statuses = {2: EXIT_STATUS[2], **{int(number): meaning for number, meaning in found}}
        else:
            remarks.append(" ".join(paragraph.split()))
    return examples, remarks, statuses


def _makedumpfile_usage() -> list[str]:
    from vmsieve.pipeline.makedumpfile.help import help_lines

    lines = [re.split(r"\s{2,}", line.strip())[0] for line in help_lines()[0].splitlines() if line.startswith("  ")]
    return [line.replace("makedumpfile", "vmsieve-makedumpfile", 1) for line in lines]


_STATES = {
    makedumpfile.DONE: "OPTIONS",
    makedumpfile.IGNORED: "OPTIONS WITHOUT EFFECT",
    makedumpfile.KEPT: "OPTIONS THAT KEEP MORE PAGES",
    makedumpfile.REFUSED: "REFUSED OPTIONS",
}


def _makedumpfile_sections() -> dict[str, list[Entry]]:
    sections: dict[str, list[Entry]] = {title: [] for title in _STATES.values()}
    for option in makedumpfile.OPTIONS:
        sections[_STATES[option.state]].append(_makedumpfile_entry(option))
    sections["OPTIONS"].append(Entry((), "FILE", "see the synopsis", (), FILE, optional=True))
    return sections


def _makedumpfile_entry(option: Any) -> Entry:
    flags = tuple(word.rstrip(",") for word in option.typed.split() if word.startswith("-"))
    value = option.typed.split()[-1] if option.has_argument else ""
    words = _LEVELS if value.startswith("LEVEL") else ()
    return Entry(flags, value, option.text, words, _kind(value))
