"""``vmsieve skeleton``: a dump for a bug report, with nothing of its users in it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from vmsieve.formats import frames
from vmsieve.formats.errors import UsageError
from vmsieve.formats.plugins import names
from vmsieve.pipeline.cli.commands import Command
from vmsieve.pipeline.cli.commands._shared import add_force, add_input, read_vmcoreinfo, tell
from vmsieve.pipeline.dump.plan import EXIT_INCOMPLETE, EXIT_OK, EXIT_WEAKER, Plan
from vmsieve.pipeline.dump.report import size_text
from vmsieve.pipeline.process.progress import progress_for
from vmsieve.pipeline.process.saving import files_read

if TYPE_CHECKING:
    import argparse

    from vmsieve.pipeline.inspect.skeleton import Skeleton

__all__ = ["COMMAND"]

_NO_FRAME: Final = "none"
_EXAMPLES = """\
  vmsieve skeleton vmcore vmcore.skeleton        a few hundred kilobytes: page tables and struct pages, nothing else
  vmsieve classes vmcore.skeleton                counts what it counts in vmcore: a skeleton is a dump like any other
  vmsieve skeleton --log vmcore with-log         the kernel's log too

Nothing is in it of files, of programs' memory, of processors' registers, nor the host's name. Of each page that is left
out, one can tell whether it was all zeros.
"""


def _configure(parser: argparse.ArgumentParser) -> None:
    add_input(parser)
    parser.add_argument("output", metavar="OUTPUT", help="file to write; - for standard output")
    parser.add_argument(
        "--log", action="store_true", help="put the kernel's log in, which may tell names and addresses"
    )
    parser.add_argument(
        "--frame", metavar="NAME[:LEVEL]", default="zstd",
        help=f"what to pack it with: {', '.join([*names(frames), _NO_FRAME])} (default: zstd)",
    )  # fmt: skip
    add_force(parser)
    parser.add_argument("-q", dest="quiet", action="store_true", help="say nothing but errors")


def _run(arguments: argparse.Namespace) -> int:
    from vmsieve.pipeline.inspect.skeleton import make_skeleton

    frame, _, level = arguments.frame.partition(":")
    if level and not level.isdigit():
        raise UsageError("a frame's level is a number", found=level)
    plan = Plan(
        arguments.input, arguments.output, force=arguments.force, select=arguments.select,
        frame=None if frame == _NO_FRAME else frame, frame_level=int(level) if level else None,
        reads=files_read(arguments.input, arguments.vmcoreinfo),
    )  # fmt: skip
    made = make_skeleton(
        plan, progress_for(quiet=arguments.quiet), read_vmcoreinfo(arguments.vmcoreinfo), with_log=arguments.log
    )
    status = EXIT_INCOMPLETE if made.incomplete else EXIT_WEAKER if made.weaker else EXIT_OK
    if not arguments.quiet or status != EXIT_OK:
        tell(made.notes)
    if not arguments.quiet:
        _tell_counts(made)
    return status


def _tell_counts(made: Skeleton) -> None:
    rows = [("Page frames that exist", made.existing)]
    if made.stored != made.existing:
        rows.append(("Not in the input", made.existing - made.stored))
    rows += [
        ("Pages in the skeleton", made.own),
        ("Pages of zeros", made.zero),
        ("Pages left out", made.stored - made.own - made.zero - made.unreadable),
    ]
    if made.unreadable:
        rows.append(("Unreadable pages", made.unreadable))
    for name, count in rows:
        print(f"{name:<24} {count:>14,}", file=sys.stderr)
    print(f"{'Size':<24} {size_text(made.bytes_out):>14}", file=sys.stderr)


COMMAND: Final = Command(
    "skeleton", 50, "make a tiny dump without user data that is classified alike, for a bug report", _EXAMPLES,
    _configure, _run,
)  # fmt: skip
