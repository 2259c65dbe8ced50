"""Messages in makedumpfile's form, filtered by the message level."""

from __future__ import annotations

import os
import sys
import time

from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.text import shown
from vmsieve.pipeline.makedumpfile.request import DEBUG, DEFAULT_LEVEL, REPORT
from vmsieve.pipeline.process.progress import Lines
from vmsieve.pipeline.process.streams import raw_stderr

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

_PROGRESS, _COMMON, _ERROR = 1, 2, 4
#: makedumpfile's names of the phases.
_NAMES: Final = {"Classifying pages": "Excluding unnecessary pages", "Copying pages": "Copying data"}
_SPINNER: Final = "/|\\-"


class Messages:
    """Prints messages of ``level``.

    Common and debug messages and the report go to standard output, or to standard error if the dump goes to standard
    output (``data_out``). Progress and errors always go to standard error.
    """

    def __init__(self, level: int = DEFAULT_LEVEL, *, data_out: bool = False) -> None:
        self._level, self._data_out = level, data_out

    def _print(self, which: int, line: str, stream: TextIO | None = None) -> None:
        if not self._level & which:
            return
        # A broken output of messages must not fail the dump.
        with suppress(OSError, ValueError):
            print(line, file=stream or (sys.stderr if self._data_out else sys.stdout), flush=True)

    def common(self, line: str) -> None:
        """Print a message of level 2 (common)."""
        self._print(_COMMON, line)

    def error(self, line: object) -> None:
        """Print an error."""
        self._print(_ERROR, f"makedumpfile: {shown(str(line))}", sys.stderr)

    def errors(self, lines: Iterable[str]) -> None:
        """Print errors, each once."""
        for line in dict.fromkeys(lines):
            self.error(line)

    def debug(self, lines: Iterable[str]) -> None:
        """Print debug messages."""
        for line in lines:
            self._print(DEBUG, shown(line))

    def report(self, lines: Iterable[str]) -> None:
        """Print a report."""
        for line in lines:
            self._print(REPORT, line)

    def progress(self) -> ProgressLine:
        """The display of progress."""
        return ProgressLine(shown=bool(self._level & _PROGRESS))


class ProgressLine(Lines):
    """Progress in makedumpfile's form: one line, rewritten once a second, or new lines with TERM=dumb."""

    every = 1.0

    def __init__(self, *, shown: bool) -> None:
        super().__init__()
        self._shown, self._turns = shown, 0
        self._overwrite = "" if os.environ.get("TERM") == "dumb" else "\r"

    def step(self, name: str, total: int, unit: int = 1) -> None:
        self.close()
        super().step(_NAMES.get(name, name), total, unit)

    def _show(self, now: float) -> None:
        share = min(self._done / self._total, 1.0) if self._total else 1.0
        spent = now - self._began
        left = f"eta: {spent / share - spent:.0f}s" if share and self._name == "Copying data" else ""
        line = f"{self._name:<50}: [{100 * share:5.1f} %] {_SPINNER[self._turns % 4]}  {left:>16}"
        self._turns += 1
        self.say(self._overwrite + line, end="" if self._overwrite else "\n")

    def say(self, line: str, end: str = "\n") -> None:
        if self._shown:
            print(line, end=end, file=raw_stderr(), flush=True)

    def close(self) -> None:
        if self._name:
            self._show(time.monotonic())
            if self._overwrite:
                self.say("")
            self._name = ""
