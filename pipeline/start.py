"""Where the program starts. A capture does without most of the command line, which it has no memory for."""

from __future__ import annotations

import os
import sys

__all__ = ["run"]


def run() -> None:
    """The program, and the end of the process. Called makedumpfile, it is that."""
    if os.path.basename(sys.argv[0]) == "makedumpfile" or sys.argv[1:2] == ["makedumpfile"]:
        from vmsieve.pipeline.compat.main import run as run_makedumpfile

        if os.path.basename(sys.argv[0]) != "makedumpfile":
            del sys.argv[1]
        run_makedumpfile()
    if sys.argv[1:2] == ["capture"]:
        from vmsieve.pipeline.capture.run import main

        status = main(sys.argv[2:])
        if status is not None:
            os._exit(status)
    from vmsieve.pipeline.cli import run as run_command

    run_command()
