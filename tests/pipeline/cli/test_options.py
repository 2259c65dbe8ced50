"""Command lines parsed without argparse give argparse's values."""

from __future__ import annotations

import pytest

from vmsieve.pipeline.cli.commands import Arguments, commands, only
from vmsieve.pipeline.cli.parser import build_parser
from vmsieve.pipeline.process.options import parse

PLAIN = [
    "dump in out",
    "dump -d 31 in out",
    "dump -d31 -l -f in out",
    "dump -d 31 -F in",
    "dump in - -q",
    "dump -z in out",
    "dump -l -q in out",
    "dump --codec=zstd:3 --threads 4 in out --json -",
    "dump --codec zlib:0 -E --size-limit 3M in out",
    "dump --format elf in out",
    "dump in",
    "classes --json in",
    "info in --vmcoreinfo file",
    "capture -d 1 in out",
    "capture --stamp out",
    "bench --codec zstd:1 --codec lzo --threads 1,2 in",
    "check-crashkernel --live",
    "check-crashkernel --crashkernel 256M@0x2e000000 in",
    "image --no-trial out",
]
UNCLEAR = [
    "dump",
    "dump -h",
    "dump --help",
    "dump -lf in out",
    "dump -l -l in out",
    "dump -x in out",
    "dump -d 99 in out",
    "dump -l -z in out",
    "dump --thr 4 in out",
    "dump --codec in",
    "dump -d -l in out",
    "dump in out more",
    "dump -- in out",
    "dump --format none in out",
    "dump -f=1 in out",
    "dump --threads x in out",
    "check-crashkernel",
    "check-crashkernel --live in",
]


def by_argparse(words: list[str]) -> dict[str, object]:
    (command,) = only(words[0])
    values = vars(build_parser([command]).parse_args(words, Arguments()))
    assert values.pop("command") is command
    return values


@pytest.mark.parametrize("line", PLAIN)
def test_plain_command_lines_have_the_same_values(line: str) -> None:
    """Every argument and every default, by name and value."""
    words = line.split()
    (command,) = only(words[0])
    assert parse(command.options, words[1:]) == by_argparse(words)


@pytest.mark.parametrize("line", UNCLEAR)
def test_other_command_lines_are_left_to_argparse(line: str) -> None:
    """Help, abbreviations, clusters and errors: a wrong command line is never accepted."""
    words = line.split()
    (command,) = only(words[0])
    assert parse(command.options, words[1:]) is None


def test_every_command_gives_the_same_values() -> None:
    """Two operands are parsed like argparse does, or left to it."""
    for command in commands():
        found = parse(command.options, ["one", "two"])
        assert found is None or found == by_argparse([command.name, "one", "two"])


def test_all_words_of_makedumpfile_are_its_own() -> None:
    """Options of makedumpfile reach it unparsed, whatever they look like."""
    (command,) = only("makedumpfile")
    assert parse(command.options, ["-l", "-d", "31", "in", "--", "out"]) == {
        "words": ["-l", "-d", "31", "in", "--", "out"]
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dump -d 99 in out", "a number from 0 to 31, not '99'"),
        ("dump --size-limit none in out", "a size is a number above 0"),
        ("bench --seconds x in", "a number above 0, not 'x'"),
        ("bench --threads 1,0 in", "a number from 1 to 1024, not '1,0'"),
        ("check-crashkernel --crashkernel 5-4 in", "SIZE@START or START-END, not '5-4'"),
    ],
)
def test_errors_say_what_is_expected(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, and one line with the option, the value, and what it should be."""
    with pytest.raises(SystemExit) as stopped:
        by_argparse(line.split())
    told = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in told
    assert told.count("\n") == 1


def test_a_command_gets_its_options_when_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the command is not the first word: its errors, and its help with every option."""
    parser = build_parser(commands())
    for words, expected in (
        (["-x", "dump", "in"], "-x"),
        (["dump", "--help"], "--size-limit"),
        (["info", "--help"], "--codecs"),
    ):
        with pytest.raises(SystemExit):
            parser.parse_args(words, Arguments())
        told = capsys.readouterr()
        assert expected in told.out + told.err
