"""``vmsieve makedumpfile``: makedumpfile's command line."""

from __future__ import annotations

from argparse import REMAINDER
from typing import TYPE_CHECKING, Final

from vmsieve.pipeline.cli.commands import Command

if TYPE_CHECKING:
    import argparse

__all__ = ["COMMAND"]

_EXAMPLES = """\
  vmsieve makedumpfile -l --message-level 7 -d 31 /proc/vmcore vmcore
  vmsieve makedumpfile -F -l -d 31 /proc/vmcore | ssh host 'cat > vmcore.flat'
  vmsieve makedumpfile -d 1,31 /proc/vmcore vmcore     level 31 if there is no room for level 1
  vmsieve makedumpfile --help                          every option; vmsieve-makedumpfile is the same program
"""


def _configure(parser: argparse.ArgumentParser) -> None:
    # The words are makedumpfile's, options among them: no letter is an option's here.
    parser.prefix_chars = "\0"
    parser.add_argument("words", metavar="OPTION", nargs=REMAINDER, help="makedumpfile's options and files")


def _run(arguments: argparse.Namespace) -> int:
    from vmsieve.pipeline.makedumpfile.main import main

    return main(arguments.words)


COMMAND: Final = Command(
    "makedumpfile", 15, "take makedumpfile's command line, in its place", _EXAMPLES, _configure, _run
)
