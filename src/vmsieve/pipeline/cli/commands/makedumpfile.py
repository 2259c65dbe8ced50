"""``vmsieve makedumpfile``: the makedumpfile command line.

``vmsieve makedumpfile`` and ``vmsieve-makedumpfile`` are the same program: it accepts the command line of
``makedumpfile(8)``, prints the lines that scripts parse, and returns its exit status. A kdump script can call it in
makedumpfile's place, also by the name ``makedumpfile``. The dumps contain the pages that makedumpfile selects, bit for
bit.

Short options may be bundled, long ones abbreviated as long as they are unambiguous, and options may follow files.
"""

from __future__ import annotations

from vmsieve.formats.slim.typing import Final
from vmsieve.pipeline.cli.commands import Arguments, Command
from vmsieve.pipeline.process.options import Option

_EXAMPLES = """\
  vmsieve makedumpfile -l --message-level 7 -d 31 /proc/vmcore vmcore
  vmsieve makedumpfile -F -l -d 31 /proc/vmcore | ssh host 'cat > vmcore.flat'
  vmsieve makedumpfile -d 1,31 /proc/vmcore vmcore     level 31 if there is no space for level 1
  vmsieve makedumpfile --help                          every option; vmsieve-makedumpfile is the same program
"""
_OPTIONS: Final = (Option("OPTION", "makedumpfile's options and files", name="words", rest=True),)


def _run(arguments: Arguments) -> int:
    from vmsieve.pipeline.makedumpfile.main import main

    return main(arguments.words)


COMMAND: Final = Command("makedumpfile", 15, "accept makedumpfile's command line", _EXAMPLES, _OPTIONS, _run)
