"""Where the program starts. A capture does without most of the command line, which it has no memory for."""

from __future__ import annotations

# What ``signal`` wraps, without its enumerations, which take a megabyte.
import _signal  # type: ignore[import-not-found]
import os
import sys

__all__ = ["run"]


def run() -> None:
    """The program, and the end of the process. Called makedumpfile, it is that."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        # Until somebody sees to it, it ends the process as it ends any other: without a traceback.
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    if os.path.basename(sys.argv[0]) == "makedumpfile" or sys.argv[1:2] == ["makedumpfile"]:
        from vmsieve.pipeline.makedumpfile.main import run as run_makedumpfile

        if os.path.basename(sys.argv[0]) != "makedumpfile":
            del sys.argv[1]
        run_makedumpfile()
    if sys.argv[1:2] == ["capture"]:
        from vmsieve.pipeline.capture.run import main

        status = main(sys.argv[2:])
        if status is not None:
            os._exit(status)
    from vmsieve.pipeline.cli.main import run as run_command

    run_command()
