"""Locales and terminals: messages and progress are the same, or fit the terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from argparse import ArgumentParser, HelpFormatter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.pipeline.cli_kit import environment
from vmsieve.pipeline.cli.commands import Command, commands
from vmsieve.pipeline.cli.help import command_help, help_text
from vmsieve.pipeline.process.progress import Bar, progress_for

if TYPE_CHECKING:
    from pathlib import Path

#: Locales of a crash kernel, a script and a minimal container; Python's own ways around ASCII switched off, too.
LOCALES = [
    {"LANG": "C"},
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX"},
    {"LC_ALL": "no_such.locale"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


def plain() -> dict[str, str]:
    """The environment without what this module sets."""
    names = ("LANG", "TERM", "NO_COLOR", "FORCE_COLOR")
    return {key: value for key, value in environment().items() if key not in names and not key.startswith("LC_")}


def on_terminal(*words: object, **more: str) -> str:
    """What the command prints on a terminal that is its standard output and error."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "vmsieve", *map(str, words)], stdin=theirs, stdout=theirs, stderr=theirs,
        env={**plain(), **more}, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    output = b""
    # The other side's end is the error EIO.
    with suppress(OSError):
        while data := os.read(ours, 4096):
            output += data
    os.close(ours)
    assert process.wait() == 0
    return output.decode().replace("\r\n", "\n")


def test_a_terminal_has_a_bar(core: Path) -> None:
    assert "\r" in on_terminal("classes", core, TERM="linux", LC_ALL="C.UTF-8")


@pytest.mark.parametrize("terminal", [{"TERM": "dumb"}, {"TERM": ""}, {}])
def test_a_dumb_terminal_has_lines(terminal: dict[str, str], core: Path) -> None:
    """No line is drawn again, nor is there any other control character."""
    text = on_terminal("classes", core, **terminal)
    assert "Free pages" in text
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("command", ["--help", "dump --help", "classes {core}", "dump -d 31 -f {core} /dev/null"])
@pytest.mark.parametrize("wish", [{"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}, {}])
def test_nothing_is_coloured(wish: dict[str, str], command: str, core: Path) -> None:
    """Not even by Python's own modules. A sequence that moves the cursor up or clears a line is a bar's."""
    text = on_terminal(*command.format(core=core).split(), TERM="xterm-256color", **wish)
    assert "\x1b[3" not in text
    assert "\\x1b" not in text
    assert "m\x1b" not in text


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, {}, {"LANG": "C.UTF-8"}])
def test_a_bar_in_the_c_locale_is_ascii(locale: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "linux", **locale}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = progress_for(quiet=False)
    assert isinstance(progress, Bar)
    progress.step("Copying", 10)
    progress.advance(5)
    progress._bar.refresh()
    assert terminal.getvalue().isascii() == (locale != {"LANG": "C.UTF-8"})
    progress.close()


@pytest.mark.parametrize("command", ["info", "info --json", "classes", "dump -q -d 31 -F", "dump --help"])
@pytest.mark.parametrize("locale", LOCALES, ids=lambda one: ",".join(f"{k}={v}" for k, v in one.items()))
def test_the_locale_changes_nothing(locale: dict[str, str], command: str, core: Path, tmp_path: Path) -> None:
    """Both streams, byte for byte, of an input with a name that is no ASCII."""
    named = tmp_path / "Speicher-\u00fc"
    named.symlink_to(core)
    ran = [
        subprocess.run(
            [sys.executable, "-m", "vmsieve", *command.split(), named], env={**plain(), **one},
            capture_output=True, check=True,
        )
        for one in ({"LC_ALL": "C.UTF-8"}, locale)
    ]  # fmt: skip
    assert ran[0].stdout == ran[1].stdout
    assert ran[0].stderr == ran[1].stderr
    assert ran[0].stdout


@pytest.mark.parametrize("command", [None, *commands()], ids=lambda one: one.name if one else "all")
def test_argparse_is_told_not_to_colour(command: Command | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.14 on, it asks its parser when it lays out help."""
    asked = []
    get = ArgumentParser._get_formatter

    def note(parser: ArgumentParser) -> HelpFormatter:
        asked.append(getattr(parser, "color", True))
        return get(parser)

    monkeypatch.setattr(ArgumentParser, "_get_formatter", note)
    assert command_help(command) if command else help_text(commands())
    assert asked
    assert not any(asked)
