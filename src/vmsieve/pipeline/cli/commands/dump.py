"""``vmsieve dump``: a small dump of a large one.

Reads ``INPUT``, leaves out the pages of the dump level, packs the others, and writes them to ``OUTPUT``:
kdump-compressed unless ``-E`` or ``--format`` names another format. The pages are those that makedumpfile selects, bit
for bit. Pages that can't be read, translated or believed are kept. A report goes to standard error.

``OUTPUT`` is readable by its owner alone. It is marked torn until it is whole; a full disk, an interrupt or a truncated
input gives a usable dump that is marked incomplete. The input is never written to, under any name.
"""

from __future__ import annotations

import sys

from vmsieve.formats import codecs, outputs
from vmsieve.formats.errors import UsageError
from vmsieve.formats.files import seekable
from vmsieve.formats.outputs import output_format
from vmsieve.formats.plugins import names
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.cli.options import INPUT_TEXT, JSON, SELECT, VMCOREINFO, VMLINUX, force, output
from vmsieve.pipeline.cli.printing import JsonFile, print_remarks
from vmsieve.pipeline.dump.input import read_vmcoreinfo, read_vmlinux
from vmsieve.pipeline.dump.plan import ORDERS, Plan, parse_size
from vmsieve.pipeline.process.exits import EXIT_INCOMPLETE, EXIT_OK
from vmsieve.pipeline.process.options import Group, Letters, Option, number
from vmsieve.pipeline.process.progress import progress_for
from vmsieve.pipeline.process.saving import check_no_terminal, files_read

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXAMPLES = """\
  vmsieve dump -d 31 /proc/vmcore /var/crash/vmcore        in the crash kernel: keep kernel data only
  vmsieve dump -d 31 -l vmcore small.lzo                   as RHEL's kdump does (LZO)
  vmsieve dump -d 31 -F /proc/vmcore - | ssh host 'cat > vmcore.flat'
  vmsieve dump -d 17 --codec zstd:3 vmcore smaller         drop zero and free pages only, compress harder
  vmsieve dump -d 31 -E vmcore core.elf                    an ELF core, for gdb
  vmsieve dump --format s390 vmcore dump.s390              a stand-alone dump of s390x, as zgetdump -f s390
  vmsieve dump -d 31 vol0,vol1,vol2 vmcore                 a dump on several volumes
  vmsieve dump -d 31 -E --frame zstd vmcore core.elf.zst   the same, compressed; zstd -d unpacks it
"""


def _codec_options(letter: str | None = None) -> Iterator[Option]:
    """The options that name a codec; of ``letter`` only, codecs behind which are not loaded."""
    for name in names(codecs):
        codec = codecs.codec(name)
        if codec.option is not None and letter in (None, codec.option):
            text = f"pack pages with {codec.title}"
            yield Option(f"-{codec.option}", text, name="codec", const=codec.name, group=_CODEC)


def _frame_text() -> str:
    from vmsieve.formats import frames

    return f"put an ELF core or a flattened dump in a compressed frame: {', '.join(names(frames))}"


_CODEC, _FORMAT, _MESSAGES = Group(), Group(), Group()
_OPTIONS: Final = (
    Option("INPUT", f"{INPUT_TEXT}; - for standard input"),
    *output("file to write; - for standard output, the default with -F", unless="flattened"),
    Option("-d --level", "what to leave out, the sum of: 1 zero pages, 2 page cache, 4 page cache with private data "
           "(and 2), 8 user pages, 16 free pages; 31 leaves out all of them (default: 0)", metavar="LEVEL",
           convert=number(0, 31), default=0),
    Letters(lambda letter: next(_codec_options(letter), None), lambda: list(_codec_options())),
    Option("--codec", lambda: f"pack pages with {', '.join(names(codecs))} (default: zstd:1); NAME@PROVIDER insists on "
           "a library, see 'vmsieve info --codecs'", metavar="NAME[:LEVEL]", group=_CODEC),
    Option("-E", "write an ELF core, pages as they are", name="format", const="elf", group=_FORMAT),
    Option("--format", f"output format: {', '.join(names(outputs))} (default: kdump)", metavar="NAME",
           choices=names(outputs), default="kdump", group=_FORMAT),
    Option("--size-limit", "write no more than SIZE (bytes; K, M, G: of 1024); then the dump ends as on a full "
           "disk", metavar="SIZE", convert=parse_size),
    Option("-F --flattened", "write makedumpfile's flattened format"),
    Option("--frame", _frame_text, metavar="NAME[:LEVEL]"),
    Option("--order", "importance: what an investigation needs first, so that a dump that is cut is still useful (the "
           "default with --size-limit, to a pipe, and where space is short); address: by page frame (the default "
           "elsewhere; the only one for ELF and s390 dumps in a plain pipe, or in a file with --size-limit, which "
           "counts holes)", metavar="ORDER", choices=ORDERS),
    force("OUTPUT or report"),
    Option("--threads", "threads that scan, read and pack; 0: one a core (default: 1)", metavar="N",
           convert=number(0, 1024), default=1),
    VMCOREINFO,
    VMLINUX,
    SELECT,
    JSON,
    Option("-q --quiet", "print errors only", group=_MESSAGES),
    Option("-v --verbose", "print what was found", group=_MESSAGES),
)  # fmt: skip


def _name_and_level(text: str | None, what: str) -> tuple[str | None, int | None]:
    """Split ``NAME[:LEVEL]``; None for a part that is missing."""
    name, _, level = (text or "").partition(":")
    try:
        return name or None, int(level) if level else None
    except ValueError:
        raise UsageError(f"a {what}'s level is a number", found=level) from None


def _plan(arguments: Arguments) -> Plan:
    codec, codec_level = _name_and_level(arguments.codec, "codec")
    frame, frame_level = _name_and_level(arguments.frame, "frame")
    form = output_format(arguments.format)
    if codec not in (None, "none") and not form.packed:
        asked = "-E" if form.name == "elf" else f"--format {form.name}"
        raise UsageError(f"an {form.title} ({asked}) holds its pages as they are: no codec goes with it")
    path = "-" if arguments.output is None else arguments.output
    check_no_terminal(path)
    if frame and not (form.sequential or arguments.flattened or path == "-"):
        raise UsageError("--frame needs -F or -E: a frame is written from start to end, a kdump file is not")
    return Plan(
        arguments.input, path, arguments.level, codec, codec_level,
        arguments.format, arguments.flattened, arguments.force,
        arguments.threads, frame, frame_level, arguments.select, arguments.size_limit,
        order=arguments.order, reads=files_read(arguments.input, arguments.vmcoreinfo, arguments.vmlinux),
    )  # fmt: skip


def _run(arguments: Arguments) -> int:
    from vmsieve.pipeline.dump.make import dump

    progress = progress_for(quiet=arguments.quiet)
    plan = _plan(arguments)
    if plan.input == "-" and not seekable(0):
        # A pipe can be read only once: the flattened stream from it is rebuilt, unfiltered.
        from vmsieve.pipeline.dump.rebuild import rebuild_from_pipe

        if rebuild_from_pipe(plan):
            return EXIT_OK
        print_remarks(["the flattened stream ends before its end mark: the dump is incomplete"])
        return EXIT_INCOMPLETE
    file = JsonFile(arguments.json, plan.reads, plan.output, force=plan.force)
    report = dump(plan, progress, read_vmcoreinfo(arguments.vmcoreinfo), read_vmlinux(arguments.vmlinux))
    status = report.exit_status()
    if not arguments.quiet or status != EXIT_OK:
        print_remarks(report.notes)
    if arguments.verbose:
        print_remarks(report.details)
    if not arguments.quiet:
        for line in report.lines():
            print(line, file=sys.stderr)
    if arguments.json is not None:
        file.write(report.json())
    return status


COMMAND: Final = Command("dump", 10, "make a small dump of a large one", _EXAMPLES, _OPTIONS, _run)
