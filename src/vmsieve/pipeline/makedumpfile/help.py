"""Output of ``-h`` and ``-v``."""

from __future__ import annotations

from vmsieve import __version__
from vmsieve.formats.codecs import codecs
from vmsieve.formats.slim.typing import Final
from vmsieve.pipeline.makedumpfile.options import DONE, OPTIONS

_USAGE: Final = """\
makedumpfile's command line, done by vmsieve.

  makedumpfile [-c|-l|-p|-z|-E] [-d LEVEL] VMCORE DUMPFILE
  makedumpfile -F [-c|-l|-p|-z|-E] [-d LEVEL] VMCORE              a stream, to standard output
  makedumpfile -R DUMPFILE                                        a file of such a stream at standard input
  makedumpfile --split [OPTION] VMCORE DUMPFILE1 DUMPFILE2 [DUMPFILE3 ...]
  makedumpfile --reassemble DUMPFILE1 DUMPFILE2 [DUMPFILE3 ...] DUMPFILE
  makedumpfile --dump-dmesg [--partial-dmesg] VMCORE LOGFILE
  makedumpfile --mem-usage /proc/kcore
  makedumpfile -g VMCOREINFO -x VMLINUX
"""


def help_lines() -> list[str]:
    """Usage and all options."""
    lines = [_USAGE]
    for option in OPTIONS:
        state = "" if option.state == DONE else f"[{option.state}] "
        lines.append(f"  {option.typed:<30} {state}{option.text}")
    return lines


def version_lines() -> list[str]:
    """The version, and the codecs in makedumpfile's form."""
    packing = [codec.name for codec in codecs() if codec.option and codec.name != "zlib"]
    return [f"makedumpfile: vmsieve {__version__}", *(f"{name}\tenabled" for name in sorted(packing)), ""]
