"""Runs ``vmsieve`` on an input that is truncated at a given moment.

``python -m tests.pipeline.dump.shrinking_kit FILE MOMENT SIZE ARGUMENTS``: ``FILE`` is cut to ``SIZE`` bytes. The
moment is ``LOOP:NUMBER``, before that loop runs for the so-manieth time, or ``read:NUMBER``. With ``classify_pages``,
struct pages are mapped, as those of ``/proc/vmcore``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.dumps import ROOT
from tests.pipeline.cli_kit import PATIENCE, Run, check
from vmsieve.formats.compiler import Loop
from vmsieve.formats.files import PlainFile
from vmsieve.pipeline.dump import packing

if TYPE_CHECKING:
    from pathlib import Path

_FEW = 64  # struct pages that are read, not mapped


def shrink_at(path: str, moment: str, size: int) -> None:
    """Truncate the file at that moment."""
    name, _, number = moment.partition(":")
    left, call, read = int(number), Loop.__call__, PlainFile.read_into

    def come_closer() -> None:
        nonlocal left
        if left == 0:
            os.truncate(path, size)
        left -= 1

    def calling(self: Loop, *arguments: int) -> int:
        if self.name == name and (name != "classify_pages" or arguments[3] > _FEW):
            come_closer()
        return call(self, *arguments)

    def reading(self: PlainFile, offset: int, out: memoryview) -> int:
        if name == "read":
            come_closer()
        return read(self, offset, out)

    Loop.__call__ = calling  # type: ignore[method-assign]
    if name == "classify_pages":
        PlainFile.descriptor = lambda *_: None  # type: ignore[method-assign]
    PlainFile.read_into = reading  # type: ignore[method-assign]


def vmsieve_shrinking(path: Path, moment: str, size: int, *arguments: object) -> Run:
    """Run the command line while its input shrinks; applies the checks of every run."""
    command = [sys.executable, "-m", __name__, path, moment, size, *arguments]
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    run = Run(done.returncode, done.stdout, done.stderr, 0.0)
    check(run)
    return run


if __name__ == "__main__":
    shrink_at(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    del sys.argv[1:4]
    # Small batches: the loop is called again over a window that is mapped already.
    packing._BATCH = 1 << 14
    from vmsieve.pipeline.cli.start import run as run_command_line

    run_command_line()
