"""A dump split among several files, each with a range of page frames, as ``makedumpfile --split`` does.

Batches of the files alternate, so the files grow side by side. A failed file does not end the others: its pages are
skipped.
"""

from __future__ import annotations

from bisect import bisect_right

from vmsieve.formats.errors import OutputError
from vmsieve.formats.outputs import Writer
from vmsieve.formats.slim.records import replace
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.formats.outputs import Batch, Description, OutputFormat, Place


class SplitWriter(Writer):
    """Several writers of one dump."""

    def __init__(
        self, form: OutputFormat, description: Description, places: Sequence[Place], cuts: Sequence[int]
    ) -> None:
        """Split a dump of format ``form``: file *i* gets page frames from ``cuts[i]`` up to ``cuts[i + 1]``."""
        self._cuts = cuts
        self._writers = [
            form.writer(replace(description, part=(start, end)), place)
            for place, start, end in zip(places, cuts, cuts[1:])
        ]
        self._failed: dict[int, OutputError] = {}

    def begin(self) -> None:
        for number in range(len(self._writers)):
            self._try(number, self._writers[number].begin)

    def _try(self, number: int, call: Callable[..., None], *values: Batch) -> None:
        """Call one writer unless it has failed; raises once all have."""
        if number in self._failed:
            return
        try:
            call(*values)
        except OutputError as error:
            self._failed[number] = error
            if len(self._failed) == len(self._writers):
                raise

    def pages(self, batch: Batch) -> None:
        """See :class:`vmsieve.formats.outputs.Writer`; a batch belongs to one part, and each part's batches ascend."""
        if batch.count:
            number = bisect_right(self._cuts, batch.pfns[0]) - 1
            self._try(number, self._writers[number].pages, batch)

    def checkpoint(self) -> None:
        for number in range(len(self._writers)):
            self._try(number, self._writers[number].checkpoint)

    def end(self, *, complete: bool) -> None:
        for number, writer in enumerate(self._writers):
            try:
                writer.end(complete=complete and number not in self._failed)
            except OutputError as error:
                self._failed.setdefault(number, error)
        for failure in self._failed.values():
            raise failure
