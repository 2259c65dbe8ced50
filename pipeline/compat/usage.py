"""``--mem-usage``: how much of the memory is of which type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmsieve.pipeline.classes import take_census
from vmsieve.pipeline.compat.figures import usage_lines
from vmsieve.pipeline.compat.kernel import opened
from vmsieve.pipeline.plan import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from vmsieve.pipeline.compat.request import Request
    from vmsieve.pipeline.compat.voice import Voice

__all__ = ["show_usage"]


def show_usage(request: Request, voice: Voice) -> int:
    """Count the pages of each type and print the table; returns the exit status."""
    with opened(request) as (source, knowledge):
        census = take_census(source, knowledge, voice.steps())
        voice.errors(source.oddities + knowledge.notes + census.notes)
    for line in usage_lines(census):
        voice.common(line)
    return EXIT_FAILED if census.weaker else EXIT_OK
