"""The program's entry point. A capture starts without the rest of the command line, to save memory."""

from __future__ import annotations

# The ``signal`` module wraps this one, in enumerations that take a megabyte.
import _signal  # type: ignore[import-not-found]
import os
import sys


def run() -> None:
    """Run the program and end the process. Called by the name makedumpfile, it takes makedumpfile's command line."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        # Until a command handles it, SIGINT ends the process without a traceback.
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
