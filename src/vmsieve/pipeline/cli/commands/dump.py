"""``vmsieve dump``: the main job."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from vmsieve.formats import frames, outputs
from vmsieve.formats.codecs import codecs
from vmsieve.formats.errors import UsageError
from vmsieve.formats.files import seekable
from vmsieve.formats.outputs import output_format
from vmsieve.formats.plugins import names
from vmsieve.pipeline.cli.commands import Command
from vmsieve.pipeline.cli.commands._shared import (
    INPUT_HELP,
    add_force,
    add_select,
    add_vmlinux,
    json_text,
    read_vmcoreinfo,
    read_vmlinux,
    tell,
)
from vmsieve.pipeline.dump.plan import EXIT_INCOMPLETE, EXIT_OK, Plan, parse_size
from vmsieve.pipeline.process.progress import progress_for
from vmsieve.pipeline.process.saving import SideFile, files_read

if TYPE_CHECKING:
    import argparse

    from vmsieve.pipeline.dump.report import Report

__all__ = ["COMMAND"]

_EXAMPLES = """\
  vmsieve dump -d 31 /proc/vmcore /var/crash/vmcore        in the crash kernel: drop all that is not the kernel's
  vmsieve dump -d 31 -l vmcore small.lzo                   as RHEL's kdump does (LZO)
  vmsieve dump -d 31 -F /proc/vmcore - | ssh host 'cat > vmcore.flat'
  vmsieve dump -d 17 --codec zstd:3 vmcore smaller         drop zero and free pages only, compress harder
  vmsieve dump -d 31 -E vmcore core.elf                    an ELF core, for gdb
  vmsieve dump --format s390 vmcore dump.s390              a stand-alone dump of s390x, as zgetdump -f s390
  vmsieve dump -d 31 vol0,vol1,vol2 vmcore                 of a dump that lies on several volumes
  vmsieve dump -d 31 -E --frame zstd vmcore core.elf.zst   the same, packed as a whole; zstd -d unpacks it
"""


def _level(text: str) -> int:
    if not text.isdigit() or int(text) > 31:
        from argparse import ArgumentTypeError

        raise ArgumentTypeError("a dump level is a number from 0 to 31")
    return int(text)


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except UsageError as error:
        from argparse import ArgumentTypeError

        raise ArgumentTypeError(str(error)) from error


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="INPUT", help=f"{INPUT_HELP}; - for standard input")
    parser.add_argument(
        "output", metavar="OUTPUT", nargs="?", help="file to write; - for standard output, which -F takes for granted"
    )
    parser.add_argument(
        "-d", dest="level", metavar="LEVEL", type=_level, default=0,
        help="what to leave out, the sum of: 1 zero pages, 2 page cache, 4 page cache with private data (and 2), "
        "8 user pages, 16 free pages; 31 leaves out all of them (default: 0)",
    )  # fmt: skip
    packing = parser.add_mutually_exclusive_group()
    for codec in codecs():
        if codec.option:
            packing.add_argument(
                f"-{codec.option}", dest="codec", action="store_const", const=codec.name,
                help=f"pack pages with {codec.title}",
            )  # fmt: skip
    packing.add_argument(
        "--codec", dest="codec", metavar="NAME[:LEVEL]",
        help=f"pack pages with {', '.join(c.name for c in codecs())} (default: zstd:1); NAME@PROVIDER insists on where "
        "the code comes from, see 'vmsieve info --codecs'",
    )  # fmt: skip
    _add_format(parser)
    parser.add_argument("-F", dest="flattened", action="store_true", help="write makedumpfile's flattened format")
    parser.add_argument(
        "--frame", metavar="NAME[:LEVEL]",
        help=f"put an ELF core or a flattened dump in a compressed frame: {', '.join(names(frames))}",
    )  # fmt: skip
    add_force(parser, "OUTPUT or report")
    parser.add_argument(
        "--threads", metavar="N", type=int, default=1, help="threads that read and pack; 0: one a core (default: 1)"
    )
    parser.add_argument("--vmcoreinfo", metavar="FILE", help="VMCOREINFO text to use instead of the dump's")
    add_vmlinux(parser)
    add_select(parser)
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON; - for standard error")
    voice = parser.add_mutually_exclusive_group()
    voice.add_argument("-q", dest="quiet", action="store_true", help="say nothing but errors")
    voice.add_argument("-v", dest="verbose", action="store_true", help="say more about what was found")


def _add_format(parser: argparse.ArgumentParser) -> None:
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "-E", dest="format", action="store_const", const="elf", help="write an ELF core, pages as they are"
    )
    shape.add_argument(
        "--format", dest="format", metavar="NAME", choices=names(outputs),
        help=f"what to write: {', '.join(names(outputs))} (default: kdump)",
    )  # fmt: skip
    parser.set_defaults(format="kdump")
    parser.add_argument(
        "--size-limit", metavar="SIZE", type=_size, help="write no more than so much (K, M, G: of 1024); then the dump "
        "ends as on a full disk",
    )  # fmt: skip


def _name_and_level(text: str | None, what: str) -> tuple[str | None, int | None]:
    """Take ``NAME[:LEVEL]`` apart; None for what is not said."""
    name, _, level = (text or "").partition(":")
    try:
        return name or None, int(level) if level else None
    except ValueError:
        raise UsageError(f"a {what}'s level is a number", found=level) from None


def _plan(arguments: argparse.Namespace) -> Plan:
    codec, codec_level = _name_and_level(arguments.codec, "codec")
    frame, frame_level = _name_and_level(arguments.frame, "frame")
    form = output_format(arguments.format)
    if arguments.codec and not form.packed:
        asked = "-E" if form.name == "elf" else f"--format {form.name}"
        raise UsageError(f"an {form.title} ({asked}) holds its pages as they are: no codec goes with it")
    if arguments.threads < 0 or arguments.threads > 1024:
        raise UsageError("--threads takes a number from 0 to 1024", found=arguments.threads)
    if arguments.output is None:
        if not arguments.flattened:
            raise UsageError("OUTPUT is missing: a file to write, or - for standard output")
        arguments.output = "-"
    if frame and not (form.sequential or arguments.flattened or arguments.output == "-"):
        raise UsageError("-F or -E goes with --frame: a frame is written from start to end, which kdump files are not")
    return Plan(
        arguments.input, arguments.output, arguments.level, codec, codec_level,
        arguments.format, arguments.flattened, arguments.force,
        arguments.threads, frame, frame_level, arguments.select, arguments.size_limit,
        reads=files_read(arguments.input, arguments.vmcoreinfo, arguments.vmlinux),
    )  # fmt: skip


def _run(arguments: argparse.Namespace) -> int:
    from vmsieve.pipeline.dump.make import dump

    progress = progress_for(quiet=arguments.quiet)
    plan = _plan(arguments)
    if plan.input == "-" and not seekable(0):
        return _rebuild(plan)
    side = _side_file(arguments.json, plan)
    report = dump(plan, progress, read_vmcoreinfo(arguments.vmcoreinfo), read_vmlinux(arguments.vmlinux))
    status = report.exit_status()
    if not arguments.quiet or status != EXIT_OK:
        tell(report.notes)
    if arguments.verbose:
        tell(report.details)
    if not arguments.quiet:
        for line in report.lines():
            print(line, file=sys.stderr)
    if arguments.json:
        _write_json(report, side)
    return status


def _rebuild(plan: Plan) -> int:
    """A flattened dump from a pipe, written as the dump it stands for: all that one pass is enough for."""
    from vmsieve.pipeline.dump.rebuild import rebuild_from_pipe

    if rebuild_from_pipe(plan):
        return EXIT_OK
    tell(["the flattened stream ends before its end mark: the dump is incomplete"])
    return EXIT_INCOMPLETE


def _side_file(path: str | None, plan: Plan) -> SideFile | None:
    """The file of the report; what is wrong with it is told before the work, too."""
    if path in (None, "-"):
        return None
    side = SideFile(path, plan.reads, [plan.output], force=plan.force)
    if side.problem:
        tell([f"there will be no report: {side.problem}"])
    return side


def _write_json(report: Report, side: SideFile | None) -> None:
    """Write the report; ``side``: None for standard error."""
    text = json_text(report.json()) + "\n"
    if side is None:
        sys.stderr.write(text)
    elif not side.problem:
        side.write(text.encode())
        if side.problem:
            tell([f"there is no report: {side.problem}"])


COMMAND: Final = Command("dump", 10, "make a small dump of a large one", _EXAMPLES, _configure, _run)
