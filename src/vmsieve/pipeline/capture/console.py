"""Lines for the console of a crash kernel, which may be a serial line that nobody takes anything from."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["tell"]

#: Seconds that a line may take, once; then no more are tried.
_PATIENCE = 10.0


class _Console:
    """Standard error. ``deaf``: It took a line too long."""

    deaf = False


def _give_up(number: int, frame: object) -> NoReturn:
    del number, frame
    raise TimeoutError


def tell(text: str) -> None:
    """Write ``text`` to standard error, if there is one, and if that does not take for ever: the dump comes first."""
    if _Console.deaf:
        return
    before = _signal.signal(_signal.SIGALRM, _give_up)
    try:
        # Once more each second: one that comes before the write begins ends nothing.
        _signal.setitimer(_signal.ITIMER_REAL, _PATIENCE, 1.0)
        os.write(2, text.encode(errors="replace"))
    except TimeoutError:
        _Console.deaf = True
    except OSError:
        pass
    finally:
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        _signal.signal(_signal.SIGALRM, before)
