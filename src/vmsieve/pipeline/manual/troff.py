"""Man pages in the man(7) macros that groff and mandoc know."""

from __future__ import annotations

import re
import textwrap

from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.manual import prose
from vmsieve.pipeline.manual.pages import program_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vmsieve.pipeline.manual.pages import Entry, Page
    from vmsieve.pipeline.process.options import Group

#: Characters that troff would replace by typographic ones, or give a meaning.
_SPECIAL = {"\\": r"\(rs", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}
_UPPER = re.compile(r"[A-Z][A-Z0-9]*")


def escaped(text: str) -> str:
    """``text`` as troff prints it unchanged, at any place of a line."""
    plain = "".join(_SPECIAL.get(letter, letter if letter.isascii() else f"\\[u{ord(letter):04X}]") for letter in text)
    # A line that begins with a dot is a request; any word may begin one after wrapping.
    return re.sub(r"(?<!\S)\.", r"\&.", plain)


def bold(text: str) -> str:
    """``text`` in bold, escaped."""
    return rf"\fB{escaped(text)}\fP"


def _italic(text: str) -> str:
    return rf"\fI{escaped(text)}\fP"


def _marked(text: str) -> str:
    """Prose: ``word`` in double backquotes is bold, or italic if it is the name of a value."""
    parts = re.split(r"``(.+?)``", text)
    for at in range(1, len(parts), 2):
        parts[at] = _italic(parts[at]) if _UPPER.fullmatch(parts[at]) else bold(parts[at])
    parts[::2] = [escaped(part) for part in parts[::2]]
    return "".join(parts)


def _head(name: str, version: str, summary: str) -> list[str]:
    # No date: the page would differ between two builds of the same source.
    return [
        f'.TH {escaped(name.upper())} 1 "" "vmsieve {escaped(version)}" "User Commands"', ".nh", ".SH NAME",
        rf"{escaped(name)} \- {escaped(summary)}",
    ]  # fmt: skip


def _synopsis(usage: Iterable[str]) -> list[str]:
    lines = [".SH SYNOPSIS"]
    for at, line in enumerate(usage):
        words = [_italic(word) if _UPPER.search(word) and "-" not in word else bold(word) for word in line.split()]
        lines += [".br"] * (at > 0) + [re.sub(r"\\f[BI]([\[{|}]+)(.*?)\\fP", r"\1\2", " ".join(words))]
    return lines


def _paragraphs(title: str, paragraphs: Iterable[str]) -> list[str]:
    lines = [line for text in paragraphs for line in (".PP", _marked(text))]
    return [f".SH {title}", *lines[1:]] if lines else []


def _terms(title: str, terms: Mapping[str, str]) -> list[str]:
    lines = [line for term, text in terms.items() for line in (".TP", bold(term), escaped(text))]
    return [f".SH {title}", *lines] if lines else []


def _entries(title: str, entries: Sequence[Entry]) -> list[str]:
    lines = [f".SH {title}"]
    for entry in entries:
        lines += [".TP", _term(entry), escaped(entry.text)]
    groups: dict[Group, list[str]] = {}
    for entry in entries:
        if entry.group is not None:
            groups.setdefault(entry.group, []).append((*entry.flags, entry.value)[0])
    for flags in groups.values():
        lines += [".PP", f"{', '.join(map(bold, flags[:-1]))} and {bold(flags[-1])} exclude each other."]
    return lines


def _term(entry: Entry) -> str:
    if not entry.flags:
        return _italic(entry.value)
    value = f" {_italic(entry.value)}" if entry.value else ""
    if entry.optional:
        value = f"[{bold('=')}{_italic(entry.value)}]"
    return ", ".join(bold(flag) for flag in entry.flags) + value


def _examples(examples: Iterable[tuple[str, str]]) -> list[str]:
    lines = [".SH EXAMPLES"]
    for command, comment in examples:
        lines += [".PP", escaped(comment[:1].upper() + comment[1:]) + ":"] if comment else [".PP"]
        lines += [".RS 4", ".EX", escaped(command), ".EE", ".RE"]
    lines.pop(1)  # no paragraph directly after a heading
    return lines


def _see_also(names: Iterable[str]) -> list[str]:
    pages = (name.replace("(", " (").split() for name in names)
    return [".SH SEE ALSO", ", ".join(f"{bold(name)}{section}" for name, section in pages)]


def _text(lines: Iterable[str]) -> str:
    """The file: text wrapped, as troff joins it again; requests and literal lines as they are."""
    wrapped: list[str] = []
    literal = False
    for line in lines:
        literal = line == ".EX" or (literal and line != ".EE")
        whole = literal or line.startswith(".")
        wrapped += [line] if whole else textwrap.wrap(line, 79, break_long_words=False, break_on_hyphens=False)
    return "\n".join(wrapped) + "\n"


def command_page(page: Page, version: str) -> str:
    """The man page of a command."""
    lines = _head(page.name, version, page.summary) + _synopsis(page.usage)
    lines += _paragraphs("DESCRIPTION", page.description)
    for title, entries in page.sections.items():
        lines += _entries(title, entries)
    lines += _terms("EXIT STATUS", {str(number): text for number, text in sorted(page.statuses.items())})
    lines += _examples(page.examples)
    lines += [line for text in page.remarks for line in (".PP", escaped(text))]
    lines += _terms("ENVIRONMENT", prose.ENVIRONMENT)
    lines += _terms("FILES", prose.OWN_FILES.get(page.command, {}))
    lines += _see_also(["vmsieve(1)", *prose.SEE_ALSO])
    return _text(lines)


def main_page(pages: Sequence[Page], version: str) -> str:
    """The man page of the program."""
    lines = _head("vmsieve", version, prose.TITLE)
    lines += _synopsis(["vmsieve COMMAND [OPTION]... [OPERAND]...", "vmsieve help [COMMAND]", "vmsieve --version"])
    lines += _paragraphs("DESCRIPTION", prose.DESCRIPTION)
    lines += _terms("COMMANDS", {page.command: f"{page.summary}; see {page.name}(1)" for page in pages})
    lines += _entries("OPTIONS", program_options())
    lines += _paragraphs("DUMP LEVEL", ["The dump level is the sum of the page classes to leave out:"])
    lines += [line for level, text in prose.LEVELS.items() for line in (".TP", bold(str(level)), escaped(text))]
    lines += _terms("EXIT STATUS", {str(number): text for number, text in prose.EXIT_STATUS.items()})
    lines += _terms("ENVIRONMENT", prose.ENVIRONMENT) + _terms("FILES", prose.FILES)
    lines += _see_also([*(f"{page.name}(1)" for page in pages), *prose.SEE_ALSO])
    return _text(lines)
