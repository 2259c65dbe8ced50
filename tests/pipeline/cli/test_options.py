"""Command lines understood without argparse mean what argparse says they mean."""

from __future__ import annotations

import pytest

from vmsieve.pipeline.cli.commands import commands, only
from vmsieve.pipeline.cli.main import _parser
from vmsieve.pipeline.cli.options import plainly

PLAIN = [
    "dump in out",
    "dump -d 31 in out",
    "dump -d31 -l -f in out",
    "dump -d 31 -F in",
    "dump in - -q",
    "dump --codec=zstd:3 --threads 4 in out --json -",
    "dump --codec zlib:0 -E --size-limit 3M in out",
    "dump --format elf in out",
    "dump in",
    "classes --json in",
    "info in --vmcoreinfo file",
    "capture -d 1 in out",
    "capture --stamp out",
]
UNCLEAR = [
    "dump",
    "dump -h",
    "dump --help",
    "dump -lf in out",
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
    "makedumpfile -l -d 31 in out",
]


@pytest.mark.parametrize("line", PLAIN)
def test_what_is_plain_means_the_same(line: str) -> None:
    """Every argument and every default, by name and value."""
    words = line.split()
    (command,) = only(words[0])
    found = plainly(command, words[1:])
    assert found is not None
    assert vars(found) == vars(_parser([command]).parse_args(words))


@pytest.mark.parametrize("line", UNCLEAR)
def test_what_is_not_plain_is_left_to_argparse(line: str) -> None:
    """Help, abbreviations, clusters and errors: a wrong command line is never taken for a right one."""
    words = line.split()
    (command,) = only(words[0])
    assert plainly(command, words[1:]) is None


def test_every_command_can_be_asked() -> None:
    """Whatever a command tells argparse, this either understands it or leaves it alone."""
    for command in commands():
        found = plainly(command, ["one", "two"])
        assert found is None or vars(found) == vars(_parser([command]).parse_args([command.name, "one", "two"]))
