"""Where the program starts. A capture does without most of the command line, which it has no memory for."""

from __future__ import annotations

import os
import sys

__all__ = ["run"]


def run() -> None:
    """The program, and the end of the process."""
    if sys.argv[1:2] == ["capture"]:
        from vmsieve.pipeline.capture.run import main

        status = main(sys.argv[2:])
        if status is not None:
            os._exit(status)
    from vmsieve.pipeline.cli import run as run_command

    run_command()
