"""``vmsieve skeleton``: a tiny dump without user data, for a bug report.

Writes a dump that has the page tables, the struct pages and the facts about the kernel that classification reads, and
no other memory. It classifies as ``INPUT`` does.
"""

from __future__ import annotations

import sys

from vmsieve.formats import frames
from vmsieve.formats.errors import UsageError
from vmsieve.formats.plugins import names
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any, Final
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.cli.options import DUMP, JSON, QUIET, force, output
from vmsieve.pipeline.cli.printing import JsonFile, print_remarks
from vmsieve.pipeline.dump.report import size_text
from vmsieve.pipeline.process.exits import EXIT_INCOMPLETE, EXIT_OK, EXIT_WEAKER
from vmsieve.pipeline.process.options import Option
from vmsieve.pipeline.process.saving import check_no_terminal, files_read

if TYPE_CHECKING:
    from vmsieve.pipeline.dump.plan import Plan
    from vmsieve.pipeline.inspect.skeleton import Skeleton

_NO_FRAME: Final = "none"
_EXAMPLES = """\
  vmsieve skeleton vmcore vmcore.skeleton        a few hundred kilobytes: page tables and struct pages only
  vmsieve classes vmcore.skeleton                the same counts as of vmcore: a skeleton is a dump
  vmsieve skeleton --log vmcore with-log         the kernel's log too

It holds no file contents, no memory or registers of programs, and no host name. It does show which of the pages left
out were all zeros.
"""
_OPTIONS: Final = (
    *DUMP,
    *output("file to write; - for standard output"),
    Option("--log", "include the kernel log, which may hold names and addresses"),
    Option("--frame", f"compress it with {', '.join([*names(frames), _NO_FRAME])} (default: zstd)",
           metavar="NAME[:LEVEL]", default="zstd"),
    force("OUTPUT or report"),
    JSON,
    QUIET,
)  # fmt: skip


def _run(arguments: Arguments) -> int:
    from vmsieve.pipeline.dump.input import read_vmcoreinfo
    from vmsieve.pipeline.dump.plan import Plan
    from vmsieve.pipeline.inspect.skeleton import make_skeleton
    from vmsieve.pipeline.process.progress import progress_for

    frame, _, level = arguments.frame.partition(":")
    if level and not level.isdigit():
        raise UsageError("a frame's level is a number", found=level)
    check_no_terminal(arguments.output)
    plan = Plan(
        arguments.input, arguments.output, force=arguments.force, select=arguments.select,
        frame=None if frame == _NO_FRAME else frame, frame_level=int(level) if level else None,
        reads=files_read(arguments.input, arguments.vmcoreinfo),
    )  # fmt: skip
    file = JsonFile(arguments.json, plan.reads, plan.output, force=plan.force)
    made = make_skeleton(
        plan, progress_for(quiet=arguments.quiet), read_vmcoreinfo(arguments.vmcoreinfo), with_log=arguments.log
    )
    status = EXIT_INCOMPLETE if made.incomplete else EXIT_WEAKER if made.weaker else EXIT_OK
    if not arguments.quiet or status != EXIT_OK:
        print_remarks(made.notes)
    if not arguments.quiet:
        _print(made)
    if arguments.json is not None:
        file.write(_as_json(plan, made, status))
    return status


def _print(made: Skeleton) -> None:
    for name, count, always in (
        ("Page frames that exist", made.existing, True),
        ("Not in the input", made.existing - made.stored, False),
        ("Pages in the skeleton", made.own, True),
        ("Pages of zeros", made.zero, True),
        ("Pages left out", made.left_out, True),
        ("Unreadable pages", made.unreadable, False),
    ):
        if count or always:
            print(f"{name:<24} {count:>14,}", file=sys.stderr)
    print(f"{'Size':<24} {size_text(made.bytes_out):>14}", file=sys.stderr)


def _as_json(plan: Plan, made: Skeleton, status: int) -> dict[str, Any]:
    return {
        "input": plan.input,
        "output": plan.output,
        "status": status,
        "page_size": made.page_size,
        "pages": {
            "existing": made.existing,
            "absent": made.existing - made.stored,
            "kept": made.own,
            "zero": made.zero,
            "left_out": made.left_out,
            "unreadable": made.unreadable,
        },
        "bytes": made.bytes_out,
        "notes": made.notes,
    }


COMMAND: Final = Command(
    "skeleton", 50, "make a tiny dump without user data, for a bug report", _EXAMPLES, _OPTIONS, _run
)
