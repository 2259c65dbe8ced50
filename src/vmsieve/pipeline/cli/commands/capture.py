"""``vmsieve capture``: a dump in the crash kernel, whatever fails.

Runs in the kdump initramfs. It writes the kernel log first, then the dump, then the record ``vmcore-status.json``. It
tries a ladder of steps, each in a separate process that may crash, hang or run out of memory: as asked; with one
thread, unmapped input and zlib; with kernel facts from other sources; unfiltered but packed; a plain copy.

Dumps of earlier crashes and mounted disks are not overwritten. A hung target, a blocked console, a clock that jumps, a
missing codec or an invalid option do not cost the dump. ``--check`` validates options and target when a service is
configured.
"""

from __future__ import annotations

from vmsieve.formats.slim.typing import Final
from vmsieve.pipeline.capture.options import OPTIONS, Request
from vmsieve.pipeline.cli.commands import Arguments, Command

_EXAMPLES = """\
  vmsieve capture /var/crash                          /proc/vmcore, level 31, zstd: the log, the dump, the record
  vmsieve capture -l --stamp /mnt/crash               LZO, in a new directory
  vmsieve capture --deadline 600 /mnt/crash           what ten minutes are enough for
  vmsieve capture /dev/sdb1                           a partition, as a flattened stream; vmsieve dump /dev/sdb1 vmcore
  vmsieve capture - | ssh host 'cat > vmcore.flat'    a flattened stream
"""


def _run(arguments: Arguments) -> int:
    from vmsieve.pipeline.capture.run import capture

    return capture(Request({option.name: getattr(arguments, option.name) for option in OPTIONS}))


COMMAND: Final = Command(
    "capture", 12, "make the best possible dump in the crash kernel, whatever fails", _EXAMPLES, OPTIONS, _run
)
