"""Progress of a step: lines for a console, beats for whoever watches, and the end when time or room runs out."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from vmsieve.pipeline.capture import child
from vmsieve.pipeline.capture.console import tell
from vmsieve.pipeline.process.progress import Lines
from vmsieve.pipeline.process.signals import Interrupted

if TYPE_CHECKING:
    from vmsieve.pipeline.capture.child import Board
    from vmsieve.pipeline.capture.job import Job

__all__ = ["Heartbeat"]

_LOW = 8 << 20  # bytes left at which what was kept has to go


class Heartbeat(Lines):
    """Lines for a console; and whoever watches is told, and may end the work in time."""

    def __init__(self, job: Job, board: Board) -> None:
        super().__init__()
        self._job, self._board = job, board
        self._phase = child.OPENING

    def step(self, name: str, total: int, unit: int = 1) -> None:
        """See :class:`vmsieve.pipeline.process.progress.Progress`."""
        super().step(name, total, unit)
        self._phase = child.CLASSIFYING if name.startswith("Classifying") else child.COPYING
        self._board.tell(self._phase, 0, total)
        if self._phase == child.COPYING:
            self._make_room()

    def advance(self, parts: int) -> None:
        """See :class:`vmsieve.pipeline.process.progress.Progress`; raises Interrupted when time is up."""
        super().advance(parts)
        self._board.tell(self._phase, self._done, self._total)
        if self._phase != child.COPYING:
            return
        if self._job.end and time.monotonic() >= self._job.end:
            raise Interrupted("the deadline has come")
        self._make_room()

    def _make_room(self) -> None:
        """Remove what an earlier step left as soon as this one has more, if room runs out."""
        path, share = self._job.spare or ("", 0.0)
        if not path or self._board.freed or self._done < share * self._total:
            return
        told = os.statvfs(path)
        if not share or told.f_bavail * told.f_frsize < _LOW:
            os.unlink(path)
            self._board.free()

    def say(self, line: str) -> None:
        """See :class:`vmsieve.pipeline.process.progress.Progress`."""
        if not self._job.quiet:
            tell(f"vmsieve: {line}\n")

    def close(self) -> None:
        """See :class:`vmsieve.pipeline.process.progress.Progress`."""
        self._board.tell(child.FINISHING, self._done, self._total)
