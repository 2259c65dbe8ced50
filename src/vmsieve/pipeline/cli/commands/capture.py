"""``vmsieve capture``: a dump in the crash kernel, whatever happens. See :mod:`vmsieve.pipeline.capture`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmsieve.pipeline.capture.options import Request, configure
from vmsieve.pipeline.capture.run import capture
from vmsieve.pipeline.cli.commands import Command

if TYPE_CHECKING:
    import argparse

__all__ = ["COMMAND"]

_EXAMPLES = """\
  vmsieve capture /var/crash                          /proc/vmcore, level 31, zstd: the log, the dump, the record
  vmsieve capture -l --stamp /mnt/crash               LZO, in a directory of its own
  vmsieve capture --deadline 600 /mnt/crash           ten minutes, then what is there
  vmsieve capture /dev/sdb1                           a partition, as a flattened stream; vmsieve dump /dev/sdb1 vmcore
  vmsieve capture - | ssh host 'cat > vmcore.flat'    a flattened stream
"""


def _run(arguments: argparse.Namespace) -> int:
    return capture(Request({name: value for name, value in vars(arguments).items() if value is not None}))


COMMAND: Final = Command(
    "capture", 12, "make a dump in the crash kernel, the best that can be had", _EXAMPLES, configure, _run
)
