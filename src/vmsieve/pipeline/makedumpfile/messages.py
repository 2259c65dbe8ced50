"""What is said, and where: as makedumpfile says it, as far as the message level allows."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final

from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.text import shown
from vmsieve.pipeline.makedumpfile.request import DEBUG, DEFAULT_LEVEL, REPORT
from vmsieve.pipeline.process.progress import Progress
from vmsieve.pipeline.process.streams import raw_stderr

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

__all__ = ["ProgressLine", "Messages"]

_PROGRESS, _COMMON, _ERROR = 1, 2, 4
#: makedumpfile's names of the steps.
_NAMES: Final = {"Classifying pages": "Excluding unnecessary pages", "Copying pages": "Copying data"}
_SPINNER: Final = "/|\\-"


class Messages:
    """Says lines.

    Common lines, debug lines and the report go to standard output, unless data does: then to standard error, as
    progress and errors always do.
    """

    def __init__(self, level: int = DEFAULT_LEVEL, *, data_out: bool = False) -> None:
        """Be ready to speak: ``messages``: the message level; ``data_out``: standard output is for data."""
        self._level = level
        self._data_out = data_out

    def _say(self, which: int, line: str, stream: TextIO | None = None) -> None:
        if not self._level & which:
            return
        # No dump is lost because nothing can be said about it.
        with suppress(OSError, ValueError):
            print(line, file=stream or (sys.stderr if self._data_out else sys.stdout), flush=True)

    def common(self, line: str) -> None:
        """Say what everybody is told."""
        self._say(_COMMON, line)

    def error(self, line: object) -> None:
        """Say what is wrong."""
        self._say(_ERROR, f"makedumpfile: {shown(str(line))}", sys.stderr)

    def errors(self, lines: Iterable[str]) -> None:
        """Say each line once."""
        for line in dict.fromkeys(lines):
            self.error(line)

    def debug(self, lines: Iterable[str]) -> None:
        """Say lines for those who look for a fault."""
        for line in lines:
            self._say(DEBUG, shown(line))

    def report(self, lines: Iterable[str]) -> None:
        """Say the lines of a report."""
        for line in lines:
            self._say(REPORT, line)

    def progress(self) -> ProgressLine:
        """What shows progress."""
        return ProgressLine(shown=bool(self._level & _PROGRESS))


class ProgressLine(Progress):
    """Progress in makedumpfile's form: a line that is written over once a second; see :class:`~..progress.Progress`.

    On a terminal that can't (TERM=dumb), line follows line.
    """

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._over = "" if os.environ.get("TERM") == "dumb" else "\r"
        self._name, self._total, self._done, self._turns = "", 0, 0, 0
        self._began = self._last = 0.0

    def step(self, name: str, total: int, unit: int = 1) -> None:  # noqa: ARG002 - a Progress's signature
        """See :class:`vmsieve.pipeline.process.progress.Progress`."""
        self.close()
        self._name, self._total, self._done = _NAMES.get(name, name), total, 0
        self._began = self._last = time.monotonic()

    def advance(self, parts: int) -> None:
        """See :class:`vmsieve.pipeline.process.progress.Progress`."""
        self._done += parts
        now = time.monotonic()
        if now - self._last >= 1:
            self._last = now
            self._show(now)

    def _show(self, now: float) -> None:
        share = min(self._done / self._total, 1.0) if self._total else 1.0
        spent = now - self._began
        left = f"eta: {spent / share - spent:.0f}s" if share and self._name == "Copying data" else ""
        line = f"{self._name:<50}: [{100 * share:5.1f} %] {_SPINNER[self._turns % 4]}  {left:>16}"
        self._turns += 1
        self.say(self._over + line, end="" if self._over else "\n")

    def say(self, line: str, end: str = "\n") -> None:
        """See :class:`vmsieve.pipeline.process.progress.Progress`."""
        if self._shown:
            print(line, end=end, file=raw_stderr(), flush=True)

    def close(self) -> None:
        """See :class:`vmsieve.pipeline.process.progress.Progress`."""
        if self._name:
            self._show(time.monotonic())
            if self._over:
                self.say("")
            self._name = ""
