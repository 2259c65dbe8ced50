"""Progress of a step: lines for the console, and a heartbeat on the board that the first process watches."""

from __future__ import annotations

import os
import time

from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.capture import child
from vmsieve.pipeline.capture.console import say
from vmsieve.pipeline.process.progress import Lines
from vmsieve.pipeline.process.signals import Interrupted

if TYPE_CHECKING:
    from vmsieve.pipeline.capture.child import Board
    from vmsieve.pipeline.capture.job import Job

#: Phases by the first word of a step's name.
_PHASES = {"Classifying": child.CLASSIFYING, "Ordering": child.ORDERING}
_LOW = 8 << 20  # bytes of free space below which the kept dump is deleted


class Heartbeat(Lines):
    """Progress on the console and the board; ends the copy at the deadline, and frees space for it."""

    def __init__(self, job: Job, board: Board) -> None:
        super().__init__()
        self._job, self._board = job, board
        self._phase = child.OPENING

    def step(self, name: str, total: int, unit: int = 1) -> None:
        super().step(name, total, unit)
        self._phase = next((phase for word, phase in _PHASES.items() if name.startswith(word)), child.COPYING)
        self._board.tell(self._phase, 0, total)
        if self._phase == child.COPYING:
            self._free_space()

    def advance(self, parts: int) -> None:
        """See :class:`vmsieve.pipeline.process.progress.Progress`; raises Interrupted at the deadline."""
        super().advance(parts)
        self._board.tell(self._phase, self._done, self._total)
        if self._phase != child.COPYING:
            return
        if self._job.end and time.monotonic() >= self._job.end:
            raise Interrupted("the deadline has passed")
        self._free_space()

    def _free_space(self) -> None:
        """Delete an earlier step's partial dump once this step has copied more and free space runs out."""
        path, share = self._job.spare or ("", 0.0)
        if not path or self._board.freed or self._done < share * self._total:
            return
        stats = os.statvfs(path)
        if not share or stats.f_bavail * stats.f_frsize < _LOW:
            os.unlink(path)
            self._board.freed = True

    def seconds_left(self) -> float | None:
        return self._job.end - time.monotonic() if self._job.end else None

    def say(self, line: str) -> None:
        if not self._job.quiet:
            say(line)

    def close(self) -> None:
        self._board.tell(child.FINISHING, self._done, self._total)
