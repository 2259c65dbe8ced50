"""Progress as records of Python's ``logging``, for library users. No command imports it: a crash kernel has no logging.

Remarks on a dump are not logged, but part of each function's result, such as ``Report.notes``.
"""

from __future__ import annotations

import logging

from vmsieve.formats.slim.typing import Final
from vmsieve.pipeline.process.progress import Lines

LOGGER: Final = logging.getLogger("vmsieve")
LOGGER.addHandler(logging.NullHandler())


class Logged(Lines):
    """Logs to the logger ``vmsieve``: the begin of each step at level DEBUG, its progress at INFO, seconds apart."""

    def step(self, name: str, total: int, unit: int = 1) -> None:
        super().step(name, total, unit)
        LOGGER.debug("%s: %d bytes", name, total * unit)

    def say(self, line: str) -> None:
        LOGGER.info("%s", line)
