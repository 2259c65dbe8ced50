"""Writes lines to the console of a crash kernel, which may be a blocked serial line."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_PATIENCE = 10.0  # seconds that one line may take; after the first timeout nothing is written any more


class _Console:
    """Standard error. ``deaf``: a line timed out."""

    deaf = False


def _give_up(number: int, frame: object) -> NoReturn:
    del number, frame
    raise TimeoutError


def say(line: str) -> None:
    """Print a line on standard error; errors and timeouts are ignored, because the dump comes first."""
    if _Console.deaf:
        return
    before = _signal.signal(_signal.SIGALRM, _give_up)
    try:
        # Repeated each second: a signal that arrives before write() is entered interrupts nothing.
        _signal.setitimer(_signal.ITIMER_REAL, _PATIENCE, 1.0)
        os.write(2, f"vmsieve: {line}\n".encode(errors="replace"))
    except TimeoutError:
        _Console.deaf = True
    except OSError:
        pass
    finally:
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        _signal.signal(_signal.SIGALRM, before)
