"""The programs' entry points. A capture starts without the rest of the command line, to save memory."""

from __future__ import annotations

# The ``signal`` module wraps this one, in enumerations that take a megabyte.
import _signal  # type: ignore[import-not-found]
import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

#: Garbage collection threshold. A start makes some 10,000 objects, but no garbage: with a threshold of 700, the default
#: until Python 3.13, it is collected 15 times, 2.5 ms of a small dump's 70.
_GC_THRESHOLD = 20_000


def run() -> NoReturn:
    """Run ``vmsieve`` and end the process. Called by the name makedumpfile, it takes makedumpfile's command line."""
    if os.path.basename(sys.argv[0]) == "makedumpfile":
        run_makedumpfile()
    if sys.argv[1:2] == ["makedumpfile"]:
        del sys.argv[1]
        run_makedumpfile()
    _set_up()
    if sys.argv[1:2] == ["capture"]:
        from vmsieve.pipeline.capture.run import main

        status = main(sys.argv[2:])
        if status is not None:
            os._exit(status)
    from vmsieve.pipeline.cli.main import run as run_command

    run_command()


def run_makedumpfile() -> NoReturn:
    """Run ``vmsieve-makedumpfile`` and end the process."""
    _set_up()
    from vmsieve.pipeline.makedumpfile.main import run

    run()


def _set_up() -> None:
    gc.set_threshold(_GC_THRESHOLD)
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        # Until a command handles it, SIGINT ends the process without a traceback.
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
