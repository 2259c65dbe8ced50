"""Progress of long work on standard error: a bar on a terminal, a few lines in a log, nothing with ``-q``.

Nothing is coloured, so ``NO_COLOR`` needs no support.
"""

from __future__ import annotations

import os
import sys
import time

from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import Any
from vmsieve.pipeline.process.streams import raw_stderr


class Progress:
    """Shows the progress of steps; this base class shows nothing."""

    def step(self, name: str, total: int, unit: int = 1) -> None:
        """Begin a step that has ``total`` parts of ``unit`` bytes each."""

    def advance(self, parts: int) -> None:
        """Count ``parts`` more as done; may be called very often."""

    def say(self, line: str) -> None:
        """Print a line."""

    def seconds_left(self) -> float | None:
        """Seconds until a deadline ends the step; None without one."""
        return None

    def close(self) -> None:
        """End the last step, done or not."""


class Silent(Progress):
    """Shows nothing."""


class Lines(Progress):
    """Lines seconds apart, for logs and serial consoles."""

    every = 5.0  # seconds

    def __init__(self) -> None:
        self._name, self._total, self._unit, self._done = "", 0, 1, 0
        self._began = self._last = 0.0

    def step(self, name: str, total: int, unit: int = 1) -> None:
        self._name, self._total, self._unit, self._done = name, total, unit, 0
        self._began = self._last = time.monotonic()

    def advance(self, parts: int) -> None:
        self._done += parts
        now = time.monotonic()
        if now - self._last >= self.every:
            self._last = now
            self._show(now)

    def _show(self, now: float) -> None:
        rate = self._done / (now - self._began)
        left = (self._total - self._done) / rate if rate else 0
        self.say(
            f"{self._name}: {100 * self._done / max(self._total, 1):.0f} %, "
            f"{rate * self._unit / (1 << 20):.0f} MiB/s, {left:.0f} s left"
        )

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201


class Bar(Progress):
    """A bar with rate and remaining time (tqdm), for terminals."""

    def __init__(self) -> None:
        self._bar: Any = None

    def step(self, name: str, total: int, unit: int = 1) -> None:
        from tqdm import tqdm

        self.close()
        self._unit = unit
        self._bar = tqdm(
            total=total * unit, desc=name, unit="B", unit_scale=True, unit_divisor=1000, leave=False, file=raw_stderr(),
            ascii=True if _ascii_terminal() else None,
        )  # fmt: skip

    def advance(self, parts: int) -> None:
        if self._bar is not None:
            self._bar.update(parts * self._unit)

    def say(self, line: str) -> None:
        from tqdm import tqdm

        tqdm.write(line, file=raw_stderr())

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _ascii_terminal() -> bool:
    """True if the locale is C, for which Python writes UTF-8, which the terminal may not show."""
    named = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "C")
    return named in ("C", "POSIX")


def progress_for(*, quiet: bool) -> Progress:
    """The progress display that suits standard error."""
    if quiet:
        return Silent()
    # A terminal that is dumb, or not described, may not move its cursor.
    if sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb"):
        with suppress(ImportError):
            import tqdm  # noqa: F401 - only to know whether it is installed

            return Bar()
    return Lines()
