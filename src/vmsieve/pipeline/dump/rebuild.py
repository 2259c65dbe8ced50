"""Flattened dumps that arrive through a pipe."""

from __future__ import annotations

import os

from vmsieve.formats.errors import UsageError
from vmsieve.formats.inputs.flattened import rebuild
from vmsieve.formats.outputs import MARK_SIZE, output_format, output_formats
from vmsieve.formats.places import FilePlace
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.dump.output import DumpOutput

if TYPE_CHECKING:
    from vmsieve.pipeline.dump.plan import Plan


def rebuild_from_pipe(plan: Plan) -> bool:
    """Rebuild the dump in the flattened stream at standard input; returns True if it is whole.

    The dump is not filtered: that would need to read it more than once.

    Raises:
        UsageError: The plan asks for filtering or another format, or the output has no random access.
        FormatError: Standard input is not a flattened stream.
        OutputError: The output can't be written.
    """
    if plan.level or plan.codec or plan.flattened or plan.frame or plan.format != "kdump":
        raise UsageError(
            "a pipe can be read only once: what comes from it is rebuilt as it is (no -d, codec, -E, -F, --frame)",
            hint="save it to a file, then filter that",
        )
    with DumpOutput(plan, output_format(plan.format), beside=True) as target:
        if not isinstance(target.place, FilePlace):
            raise UsageError("a rebuilt dump needs a file as its output")
        start = _Start(target.place)
        whole = rebuild(lambda size: os.read(0, size), start.put)
        start.settle(whole=whole)
        target.place.finish()
        target.finish()
    return whole


class _Start:
    """The start of the dump. The stream has it marked as complete; it is written as torn until the end is there."""

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
        """Write the marks that are true at the end of the stream."""
        for at, torn in self._marks():
            self._place.settle(at, bytes(self._sent[at : at + len(torn)]) if whole else torn)
