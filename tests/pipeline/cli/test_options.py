"""Command lines have the values that argparse gives them; options agree in all commands."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import pytest

from vmsieve.formats.errors import UsageError
from vmsieve.pipeline.cli.commands import Command, commands, only
from vmsieve.pipeline.cli.words import read
from vmsieve.pipeline.process.options import Group, Option, defaults, listed, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN = [
    "dump in out",
    "dump -d 31 in out",
    "dump -d31 -l -f in out",
    "dump -d 31 -F in",
    "dump in - -q",
    "dump -z in out",
    "dump -l -l in out",
    "dump -l -q in out",
    "dump --codec=zstd:3 --threads 4 in out --json=-",
    "dump --force --level 17 --quiet in out --json",
    "dump --codec zlib:0 -E --size-limit 3M in out",
    "dump --format elf in out",
    "info in --vmcoreinfo file",
    "capture -d 1 in out",
    "capture --stamp out",
    "bench --codec zstd:1 --codec lzo --threads 1,2 in",
    "check-crashkernel --live",
    "check-crashkernel --crashkernel 256M@0x2e000000 in",
    "image --no-trial out",
]
#: Right, and not for the easy parser.
UNCLEAR = [
    "dump -lf in out",
    "dump -flq -d31 in out",
    "dump -fd31 in out",
    "dump -d=31 in out",
    "dump --thr 4 in out",
    "dump --lev=4 in out",
    "dump -- in out",
    "dump -l -- in out",
]
WRONG = [
    "dump",
    "dump -x in out",
    "dump -d 99 in out",
    "dump -l -z in out",
    "dump --codec in",
    "dump -d -l in out",
    "dump in out more",
    "dump --format none in out",
    "dump -f=1 in out",
    "dump --force=1 in out",
    "dump --threads x in out",
    "dump --s 4 in out",
    "dump -q -v in out",
    "check-crashkernel",
    "check-crashkernel --live in",
]


def by_argparse(words: list[str]) -> dict[str, Any]:
    """The values that argparse gives ``words``; raises SystemExit for a mistake."""
    (command,) = only(words[0])
    parser = argparse.ArgumentParser()
    groups: dict[Group, Any] = {}
    for option in listed(command.options):
        to: Any = parser
        if option.group is not None:
            if option.group not in groups:
                groups[option.group] = parser.add_mutually_exclusive_group(required=option.group.required)
            to = groups[option.group]
        if option.flags != ["-o", "--output"]:  # argparse has no option that replaces an operand
            to.add_argument(*option.flags or [option.name], **_form(option))
    parser.set_defaults(**defaults(command.options))
    return vars(parser.parse_args(words[1:]))


def _form(option: Option) -> dict[str, Any]:
    found: dict[str, Any] = {"dest": option.name} if option.flags else {}
    if not option.takes_value:
        return {**found, "action": "store_const", "const": option.const}
    if option.choices:
        found["choices"] = option.choices
    if option.repeated:
        found["action"] = "append"
    if option.bare:
        found["const"] = option.const
    if option.bare or option.optional or option.rest:
        found["nargs"] = argparse.REMAINDER if option.rest else "?"
    return {**found, "type": option.convert}


@pytest.mark.parametrize("line", PLAIN)
def test_plain_command_lines_have_the_same_values(line: str) -> None:
    """Every argument and every default, by name and value, from either parser."""
    words = line.split()
    (command,) = only(words[0])
    assert parse(command.options, words[1:]) == by_argparse(words) == read(command, words[1:])


@pytest.mark.parametrize("line", UNCLEAR)
def test_abbreviations_and_clusters(line: str) -> None:
    """They are left to the second parser, which gives argparse's values."""
    words = line.split()
    (command,) = only(words[0])
    assert parse(command.options, words[1:]) is None
    assert read(command, words[1:]) == by_argparse(words)


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_is_never_accepted(line: str) -> None:
    """Not by argparse either."""
    words = line.split()
    (command,) = only(words[0])
    assert parse(command.options, words[1:]) is None
    with pytest.raises(UsageError):
        read(command, words[1:])
    with pytest.raises(SystemExit):
        by_argparse(words)


@pytest.mark.parametrize("line", ["dump -h", "dump --help", "dump --hel", "info x --help", "dump -lh a b"])
def test_help_is_asked_for(line: str) -> None:
    """Anywhere, and also abbreviated."""
    (command,) = only(line.split(maxsplit=1)[0])
    assert parse(command.options, line.split()[1:]) is None
    assert read(command, line.split()[1:]) is None


def test_every_command_gives_the_same_values() -> None:
    """Two operands are parsed like argparse does, or refused by both."""
    for command in commands():
        found = parse(command.options, ["one", "two"])
        if found is not None:
            assert found == by_argparse([command.name, "one", "two"])
        else:
            with pytest.raises(UsageError):
                read(command, ["one", "two"])


def test_all_words_of_makedumpfile_are_its_own() -> None:
    """Options of makedumpfile reach it unparsed, whatever they look like."""
    (command,) = only("makedumpfile")
    assert parse(command.options, ["-l", "-d", "31", "in", "--", "out"]) == {
        "words": ["-l", "-d", "31", "in", "--", "out"]
    }


def test_a_name_that_begins_with_a_dash() -> None:
    """After two dashes, all words are operands; a single dash stays standard input or output."""
    (command,) = only("dump")
    found = read(command, ["-l", "--", "-in", "-"])
    assert found is not None
    assert (found["input"], found["output"], found["codec"]) == ("./-in", "-", "lzo")


@pytest.mark.parametrize(
    ("line", "json", "operands"),
    [
        ("info --json vmcore", "-", ["vmcore", None]),
        ("info vmcore --json", "-", ["vmcore", None]),
        ("info --json=report vmcore", "report", ["vmcore", None]),
        ("info --json report vmcore", "report", ["vmcore", None]),
        ("info vmcore --json report", "report", ["vmcore", None]),
        ("info vmcore", None, ["vmcore", None]),
        ("info --codecs --json", "-", [None, None]),
        ("verify --json one two", "-", ["one", "two"]),
        ("dump in out --json report", "report", ["in", "out"]),
        ("dump in out --json -", "-", ["in", "out"]),
        ("dump --json report in out", "report", ["in", "out"]),
        ("dump in --json report out", "report", ["in", "out"]),
        ("dump --json in out", "-", ["in", "out"]),
        ("dump --json -l in out", "-", ["in", "out"]),
        ("dump --json report -F in", "report", ["in", None]),
        ("dump --json report in -o out", "report", ["in", "out"]),
        ("dump in -o out --json", "-", ["in", "out"]),
        ("check-crashkernel --json dump", "-", ["dump", None]),
        ("check-crashkernel --json dump report", None, None),
        ("check-crashkernel --live --json report", "report", [None, None]),
        ("doctor --json report", "report", [None, None]),
    ],
)
def test_the_file_of_json(line: str, json: str | None, operands: list[str | None] | None) -> None:
    """The next word is the report's file only if the operands suffice without it."""
    words = line.split()
    (command,) = only(words[0])
    found = parse(command.options, words[1:])
    if operands is None:
        operands, json = ["report", None], "dump"
    assert found == read(command, words[1:])
    assert found is not None
    given = [found.get("input", found.get("source")), found.get("output", found.get("dump"))]
    assert (found["json"], given) == (json, operands)


@pytest.mark.parametrize(
    "line", ["dump in -o out", "dump --output=out in", "dmesg -o out in", "skeleton -oout in", "image --output out"]
)
def test_output_as_an_option(line: str) -> None:
    """It takes the place of the operand, which is then one too many."""
    words = line.split()
    (command,) = only(words[0])
    found = parse(command.options, words[1:])
    assert found is not None
    assert found["output"] == "out"
    with pytest.raises(UsageError, match="too many operands"):
        read(command, [*words[1:], "more"])


def _options() -> Iterator[tuple[Command, Option]]:
    for command in commands():
        for option in listed(command.options):
            yield command, option


#: What an option is called in all commands; makedumpfile's letters of codecs and formats have no long names.
NAMES = {
    "level": ["-d", "--level"], "force": ["-f", "--force"], "output": ["-o", "--output"], "quiet": ["-q", "--quiet"],
    "verbose": ["-v", "--verbose"], "json": ["--json"], "threads": ["--threads"], "flattened": ["-F", "--flattened"],
}  # fmt: skip


def test_names_agree_in_all_commands() -> None:
    """A long name has one letter, and a letter one meaning."""
    letters: dict[str, set[str]] = {}
    for command, option in _options():
        if option.flags and option.name in NAMES:
            assert option.flags == NAMES[option.name], command.name
        for flag in option.flags:
            letters.setdefault(flag, set()).add(option.name)
    assert {flag: names for flag, names in letters.items() if len(names) > 1} == {}


def test_defaults_are_said() -> None:
    """In the help of each option that has one."""
    for command, option in _options():
        if option.takes_value and option.default not in (None, False, 0, "", []) and option.flags != ["-o", "--output"]:
            assert "default" in option.text or "not the running one" in option.text, (command.name, option.flags)


def test_every_command_that_reports_has_json() -> None:
    """Others write text (the log, VMCOREINFO), or a record of their own."""
    without = {command.name for command in commands() if all(one.name != "json" for one in listed(command.options))}
    assert without == {"capture", "dmesg", "makedumpfile", "vmcoreinfo", "image", "install-kdump"}


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("dump --size-limit 3000000 a b", 3_000_000), ("dump --size-limit 2k a b", 2048),
        ("dump --size-limit 2KB a b", 2048), ("dump --size-limit 2KiB a b", 2048), ("dump --size-limit 7b a b", 7),
        ("dump --size-limit 3M a b", 3 << 20), ("dump --size-limit 1GiB a b", 1 << 30),
        ("dump --size-limit 1tb a b", 1 << 40), ("bench --sample 64 a", 64 << 20), ("bench --sample 64M a", 64 << 20),
        ("bench a", 256 << 20), ("bench --sample 0.5 a", 1 << 19),
    ],
)  # fmt: skip
def test_sizes_are_in_units_of_1024(line: str, size: int) -> None:
    """With or without B or iB, in either case; a plain number of old is what it was."""
    words = line.split()
    (command,) = only(words[0])
    found = parse(command.options, words[1:])
    assert found is not None
    assert found.get("size_limit", found.get("sample")) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5G", "2X", "2Mi", "2iB", "G", "1GG", "1e3", "0x10", "9" * 20])
def test_other_sizes_are_refused(text: str) -> None:
    (command,) = only("dump")
    with pytest.raises(UsageError, match="--size-limit takes a size above 0, such as 512M or 2GiB, not"):
        read(command, [f"--size-limit={text}", "a", "b"])
