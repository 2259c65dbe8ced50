"""A flattened dump that comes through a pipe, written as the dump it stands for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vmsieve.formats.errors import UsageError
from vmsieve.formats.inputs.flattened import rebuild
from vmsieve.formats.outputs import MARK_SIZE, output_format, output_formats
from vmsieve.formats.places import FilePlace
from vmsieve.pipeline.target import Target

if TYPE_CHECKING:
    from vmsieve.pipeline.plan import Plan

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
    with Target(plan, output_format(plan.format)) as target:
        if not isinstance(target.place, FilePlace):
            raise UsageError("a dump that is rebuilt needs a file to be written to")
        start = bytearray(MARK_SIZE)

        def put(offset: int, data: bytes) -> None:
            target.place.put(offset, data)
            if offset < MARK_SIZE:
                part = data[: MARK_SIZE - offset]
                start[offset : offset + len(part)] = part

        whole = rebuild(lambda size: os.read(0, size), put)
        if not whole:
            # Its header may well say that all is there: it was sent before the stream broke.
            for offset, mark in filter(None, (form.torn_mark(bytes(start)) for form in output_formats())):
                target.place.settle(offset, mark)
        target.place.finish()
    return whole
