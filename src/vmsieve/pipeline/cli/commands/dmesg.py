"""``vmsieve dmesg``: the kernel log.

Writes the log of the kernel that crashed. Of a damaged or incomplete log, it writes the readable part, and exits with
status 4.
"""

from __future__ import annotations

from vmsieve.formats.slim.typing import Final
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.cli.options import DUMP, VMLINUX, force, output
from vmsieve.pipeline.cli.printing import print_remarks
from vmsieve.pipeline.process.exits import EXIT_INCOMPLETE, EXIT_OK
from vmsieve.pipeline.process.options import Option
from vmsieve.pipeline.process.saving import files_read, saved_stream

_EXAMPLES = """\
  vmsieve dmesg /proc/vmcore vmcore-dmesg.txt
  vmsieve dmesg vmcore | tail
  vmsieve dmesg --partial vmcore
"""
_OPTIONS: Final = (
    *DUMP,
    VMLINUX,
    Option("--partial", "only what was logged since the log was last cleared (dmesg -c)"),
    force(),
    *output("file to write (default: standard output)", "-", optional=True),
)


def _run(arguments: Arguments) -> int:
    from vmsieve.pipeline.dump.input import opened
    from vmsieve.pipeline.inspect.log import write_log

    inputs = files_read(arguments.input, arguments.vmcoreinfo, arguments.vmlinux)
    given = arguments.input, arguments.vmcoreinfo, arguments.select, arguments.vmlinux
    with (
        saved_stream(arguments.output, inputs, force=arguments.force, what="log") as out,
        opened(*given) as (_, knowledge),
    ):
        broken = write_log(knowledge, out.write, arguments.input, since_clear=arguments.partial)
    if broken is not None:
        print_remarks([f"the kernel log breaks off: {broken}"])
        return EXIT_INCOMPLETE
    return EXIT_OK


COMMAND: Final = Command("dmesg", 40, "write the kernel log of a dump", _EXAMPLES, _OPTIONS, _run)
