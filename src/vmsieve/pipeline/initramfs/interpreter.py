"""The Python interpreter that an image is made for, examined by running it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

from vmsieve.formats.errors import UsageError, VmsieveError
from vmsieve.formats.slim.typing import Any, Final

_INSIDE: Final = os.path.join(os.path.dirname(__file__), "inside.py")
#: As in the crash kernel: no environment, no site packages, no files written. Bytecode without column numbers is
#: smaller.
_FLAGS: Final = ("-I", "-S", "-B", "-X", "no_debug_ranges")
_TIMEOUT: Final = 300  # seconds


class Interpreter:
    """A Python interpreter."""

    program: str  # path of the executable
    version: str  # as in ``3.11.2``
    short: str  # as in ``python3.11``: the name of the library directory
    library: str  # directory of the standard library
    folder: str  # name of the directory above: ``lib`` or the distribution's ``lib64``
    machine: str  # ``uname -m``

    def __init__(self, program: str | None) -> None:
        """Examine ``program``, or by default the running interpreter; raises UsageError if it is unusable."""
        self.program = program or sys.executable
        self.__dict__.update(self.ask("about"))
        if self.version.startswith(("2.", "3.0.", "3.1.", "3.2.", "3.3.", "3.4.", "3.5.", "3.6.", "3.7.", "3.8.")):
            raise UsageError("this Python is too old", file=self.program, expected="3.9", found=self.version)

    def ask(self, what: str, **task: Any) -> dict[str, Any]:
        """Run one task of :mod:`.inside`. UsageError: it is not Python; VmsieveError: the task failed."""
        command, words = [self.program, *_FLAGS, _INSIDE], repr({"what": what, **task})
        try:
            ran = subprocess.run(command, input=words, check=False, capture_output=True, text=True, timeout=_TIMEOUT)
        except (OSError, UnicodeError, subprocess.TimeoutExpired) as error:
            raise UsageError(f"this Python can't be run: {error}", file=self.program) from error
        if ran.returncode:
            said = ran.stderr.strip().splitlines() or ["no message"]
            raise VmsieveError(f"this Python can't make an image: {said[-1]}", file=self.program)
        try:
            answer = ast.literal_eval(ran.stdout)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            answer = None
        if not isinstance(answer, dict) or "what" in answer:  # other output, or the task echoed
            raise UsageError("this is not Python", file=self.program)
        return answer
