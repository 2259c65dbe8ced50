"""Completion by the shells themselves, where they are installed."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from vmsieve.formats import codecs
from vmsieve.formats.plugins import names
from vmsieve.pipeline.cli.commands import commands
from vmsieve.pipeline.cli.help import HELP, VERSION
from vmsieve.pipeline.makedumpfile.options import OPTIONS as MAKEDUMPFILE
from vmsieve.pipeline.manual import bash, fish, zsh
from vmsieve.pipeline.manual.make import shared_files
from vmsieve.pipeline.manual.pages import FILE, Entry, Page
from vmsieve.pipeline.manual.troff import command_page
from vmsieve.pipeline.process.options import listed

if TYPE_CHECKING:
    from pathlib import Path

FILES = shared_files("1.2.3")
COMMANDS = {command.name: [flag for one in listed(command.options) for flag in one.flags] for command in commands()}
COMMANDS["makedumpfile"] = [f"-{o.letter}" for o in MAKEDUMPFILE if o.letter] + [
    f"--{o.name}" for o in MAKEDUMPFILE if o.name
]
PROGRAM = [*HELP.flags, *VERSION.flags]
CODECS = " ".join(names(codecs))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files as installed, and some to complete."""
    for name, text in FILES.items():
        path = tmp_path / "share" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "vmcore one").touch()
    (tmp_path / "vmfolder").mkdir()
    return tmp_path


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def bash_words(folder: Path, program: str, words: list[str]) -> list[str]:
    """The words that bash's function offers for the last of ``words``, split as readline splits them."""
    code = f"""
source share/bash-completion/completions/{program}
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
$(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    command = [shell("bash"), "-c", code, "bash", program, *words]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return ran.stdout.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["du"], "dump"),
        (["--v"], "--version"),
        (["dump", "--codec", ""], CODECS),
        (["dump", "--codec", "=", "zs"], "zstd"),
        (["dump", "--codec", "="], CODECS),
        (["dump", "--codec", "zstd", ":"], ""),
        (["dump", "--codec", "zstd", ":", "3"], ""),
        (["dump", "--format", "k"], "kdump"),
        (["dump", "-d", ""], "1 17 31"),
        (["dump", "--threads", ""], ""),
        (["dump", "in", "--vmc"], "--vmcoreinfo"),
        (["makedumpfile", "--dry"], "--dry-run"),
        (["unknown", "-"], ""),
    ],
)
def test_bash_offers(typed: list[str], offered: str, folder: Path) -> None:
    assert bash_words(folder, "vmsieve", typed) == offered.split()


def test_bash_offers_every_command_and_option(folder: Path) -> None:
    assert {*bash_words(folder, "vmsieve", [""])} == {*COMMANDS, "help", *PROGRAM}
    assert bash_words(folder, "vmsieve", ["help", "ver"]) == ["verify"]
    for name, flags in COMMANDS.items():
        assert {*bash_words(folder, "vmsieve", [name, "-"])} == {*flags, "-h", "--help"}
    assert {*bash_words(folder, "vmsieve-makedumpfile", ["-"])} == {*COMMANDS["makedumpfile"]}


TYPED = {
    "vmsieve du\t": "<dump>",
    "vmsieve help veri\t": "<help><verify>",
    "vmsieve dmesg --par\t": "<dmesg><--partial>",
    "vmsieve dump --codec zst\t": "<dump><--codec><zstd>",
    "vmsieve dump --frame=lz\t": "<dump><--frame=lz4>",
    "vmsieve dump vmc\t": "<dump><vmcore one>",
    "vmsieve dump --vmlinux vmc\t": "<dump><--vmlinux><vmcore one>",
    "vmsieve doctor --root v\t": "<doctor><--root><vmfolder>",
    "vmsieve makedumpfile --dump-\t": "<makedumpfile><--dump-dmesg>",
}
SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], "source share/bash-completion/completions/vmsieve"),
    "zsh": (["-f", "-i"], "unsetopt zle_bracketed_paste; fpath=($PWD/share/zsh/site-functions $fpath); "
            "autoload -U compinit; compinit -u -D"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHELLS)
def test_the_tabulator(name: str, folder: Path) -> None:
    """Typed into an interactive shell: a command, an option, values, a file with a space in its name, a folder."""
    options, set_up = SHELLS[name]
    stub = "vmsieve() { printf '\\nARGS'; printf '<%s>' \"$@\"; echo; }"
    ours, theirs = pty.openpty()
    environment = {**os.environ, "INPUTRC": "/dev/null", "TERM": "dumb", "PS1": "", "HOME": str(folder)}
    process = subprocess.Popen(
        [shell(name), *options], cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, "".join(f"{line}\n" for line in [set_up, stub, *TYPED, "exit"]).encode())
    output = b""
    # The shell's end is the error EIO.
    with suppress(OSError):
        while data := os.read(ours, 4096):
            output += data
    os.close(ours)
    process.wait()
    # zsh takes the slash back from a folder's name.
    text = output.decode().replace("/>", ">")
    assert re.findall(r"ARGS(<.*?)\r?$", text, re.MULTILINE) == [*TYPED.values()]


def fish_words(folder: Path, typed: str) -> list[str]:
    """What fish offers for the line ``typed``."""
    code = 'for name in share/fish/vendor_completions.d/*; source $name; end; complete -C "$TYPED"'
    environment = {**os.environ, "TYPED": typed, "HOME": str(folder)}
    command = [shell("fish"), "--no-config", "-c", code]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return [line.partition("\t")[0] for line in ran.stdout.splitlines()]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("vmsieve du", ["dump"]),
        ("vmsieve dump --codec ", names(codecs)),
        ("vmsieve dump --threads ", []),
        ("vmsieve dump vmc", ["vmcore one"]),
        ("vmsieve doctor --root v", ["vmfolder/"]),
        ("vmsieve-makedumpfile --dry", ["--dry-run"]),
    ],
)
def test_fish_offers(typed: str, offered: list[str], folder: Path) -> None:
    assert fish_words(folder, typed) == offered


def test_fish_offers_every_command_and_option(folder: Path) -> None:
    assert {*COMMANDS, "help"} == {*fish_words(folder, "vmsieve ")}
    assert {*PROGRAM} <= {*fish_words(folder, "vmsieve -")}
    assert fish_words(folder, "vmsieve help ver") == ["verify"]
    for name, flags in COMMANDS.items():
        assert {*flags} <= {*fish_words(folder, f"vmsieve {name} -")} | {*fish_words(folder, f"vmsieve {name} --")}


def test_zsh_offers_every_command_and_option() -> None:
    """Each has a line in the table of its command."""
    text = FILES["zsh/site-functions/_vmsieve"]
    for name, flags in COMMANDS.items():
        assert re.search(rf"^        '{name}:", text, re.MULTILINE)
        table = re.search(rf"^    {name}\)\n(.*?);;$", text, re.MULTILINE | re.DOTALL)
        assert table is not None
        assert {*flags} <= {*re.findall(r"^            '\*(-[\w-]+?)(?:=-|[=+])?\[", table[1], re.MULTILINE)}


def test_a_value_that_may_be_left_out() -> None:
    """It follows ``=`` in the same word: the next word is an operand."""
    entries = [Entry(("--json",), "FILE", "text", kind=FILE, optional=True), Entry((), "INPUT", "text", kind=FILE)]
    page = Page("info", "", [], [], {"OPTIONS": entries}, {}, [("vmsieve info", "")], [])
    assert "    info:--json=) values=" in bash.script([page])
    assert "'*--json=-[text]::FILE:_files'" in zsh.script([page], page)
    assert re.search(r"-l json -a '.*' -d 'text'$", fish.script([page]), re.MULTILINE)
    assert r"\fB\-\-json\fP[\fB=\fP\fIFILE\fP]" in command_page(page, "1")
