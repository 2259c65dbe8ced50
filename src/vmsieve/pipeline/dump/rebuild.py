"""A flattened dump that comes through a pipe, written as the dump it stands for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vmsieve.formats.errors import UsageError
from vmsieve.formats.inputs.flattened import rebuild
from vmsieve.formats.outputs import MARK_SIZE, output_format, output_formats
from vmsieve.formats.places import FilePlace
from vmsieve.pipeline.dump.output import DumpOutput

if TYPE_CHECKING:
    from vmsieve.pipeline.dump.plan import Plan

__all__ = ["rebuild_from_pipe"]


def rebuild_from_pipe(plan: Plan) -> bool:
    """Rebuild what standard input brings; returns whether it was whole.

    Filtering needs to read a dump more than once, so all that a pipe can give is the dump as it is.

    Raises:
        UsageError: More than that was asked for.
        FormatError: Standard input is not a flattened stream.
        OutputError: The output can't be written, or not at chosen positions.
    """
    if plan.level or plan.codec or plan.flattened or plan.frame or plan.format != "kdump":
        raise UsageError(
            "a pipe can be read only once: what comes from it is rebuilt as it is (no -d, codec, -E, -F, --frame)",
            hint="save it to a file, then filter that",
        )
    with DumpOutput(plan, output_format(plan.format), beside=True) as target:
        if not isinstance(target.place, FilePlace):
            raise UsageError("a dump that is rebuilt needs a file to be written to")
        start = _Start(target.place)
        whole = rebuild(lambda size: os.read(0, size), start.put)
        start.settle(whole=whole)
        target.place.finish()
        target.finish()
    return whole


class _Start:
    """The first bytes of the dump, which say in the stream already that all is there: they say torn until it is."""

    def __init__(self, place: FilePlace) -> None:
        self._place = place
        self._sent = bytearray(MARK_SIZE)

    def _marks(self) -> list[tuple[int, bytes]]:
        return [mark for mark in (form.torn_mark(bytes(self._sent)) for form in output_formats()) if mark]

    def put(self, offset: int, data: bytes) -> None:
        """See :class:`vmsieve.formats.outputs.Place`."""
        if offset < MARK_SIZE:
            part = data[: MARK_SIZE - offset]
            self._sent[offset : offset + len(part)] = part
            for at, torn in self._marks():
                low, high = max(at, offset), min(at + len(torn), offset + len(data))
                if low < high:
                    data = data[: low - offset] + torn[low - at : high - at] + data[high - offset :]
        self._place.put(offset, data)

    def settle(self, *, whole: bool) -> None:
        """Say what is true in the end."""
        for at, torn in self._marks():
            self._place.settle(at, bytes(self._sent[at : at + len(torn)]) if whole else torn)
