"""The Python that an image is made for, asked by running it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from typing import Any, Final

from vmsieve.formats.errors import UsageError, VmsieveError

__all__ = ["Interpreter"]

_INSIDE: Final = os.path.join(os.path.dirname(__file__), "inside.py")
#: As in the crash kernel: no environment, no site packages, nothing written. Bytecode tells lines and no columns, which
#: nothing there shows.
_FLAGS: Final = ("-I", "-S", "-B", "-X", "no_debug_ranges")
_PATIENCE: Final = 300  # seconds


class Interpreter:
    """A Python.

    Attributes:
        program: Its file.
        version: Such as ``3.11.2``.
        short: Such as ``python3.11``: the name of its library's folder.
        library: Folder of its standard library.
        folder: ``lib``, or what a distribution calls the folder that ``library`` lies in.
        machine: The machine it runs on, as ``uname -m`` says it.
    """

    def __init__(self, program: str | None) -> None:
        """Ask ``program``, or the Python that runs this.

        Raises:
            UsageError: It is no Python that can be used.
        """
        self._started = program or sys.executable
        told = self.ask("about")
        self.program: str = told["program"]
        self.version: str = told["version"]
        self.short: str = told["short"]
        self.library: str = told["library"]
        self.folder: str = told["folder"]
        self.machine: str = told["machine"]
        self._started = self.program
        if self.version.startswith(("2.", "3.0.", "3.1.", "3.2.", "3.3.", "3.4.", "3.5.", "3.6.", "3.7.", "3.8.")):
            raise UsageError("this Python is too old", file=self.program, expected="3.9", found=self.version)

    def ask(self, what: str, **task: Any) -> dict[str, Any]:
        """Have it do one thing of :mod:`~vmsieve.pipeline.initramfs.inside`.

        Raises:
            UsageError: It is no Python.
            VmsieveError: It can't do that.
        """
        command = [self._started, *_FLAGS, _INSIDE]
        try:
            ran = subprocess.run(
                command, input=repr({"what": what, **task}), check=False, capture_output=True, text=True,
                timeout=_PATIENCE,
            )  # fmt: skip
        except (OSError, UnicodeError, subprocess.TimeoutExpired) as error:
            raise UsageError(f"this Python can't be run: {error}", file=self._started) from error
        if ran.returncode:
            said = ran.stderr.strip().splitlines() or ["nothing was said"]
            raise VmsieveError(f"this Python can't make an image: {said[-1]}", file=self._started)
        try:
            answer = ast.literal_eval(ran.stdout)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            answer = None
        if not isinstance(answer, dict) or "what" in answer:  # nothing of the kind, or what it was asked
            raise UsageError("this is no Python", file=self._started)
        return answer
