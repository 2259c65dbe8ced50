"""``-R`` and ``--reassemble``: make one file of a flattened stream or a split dump."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmsieve.formats.text import shown
from vmsieve.pipeline.dump.plan import Plan
from vmsieve.pipeline.dump.rebuild import rebuild_from_pipe
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from vmsieve.pipeline.makedumpfile.messages import Messages
    from vmsieve.pipeline.makedumpfile.request import Request


def rebuild_stream(request: Request, messages: Messages) -> int:
    """Write the flattened stream on standard input to a file; returns the exit status."""
    path = request.operands[0]
    if not rebuild_from_pipe(Plan("-", path, force=request.has("f"), size_limit=request.size_limit)):
        messages.error("the flattened stream ends before its end mark: the dump is incomplete")
        return EXIT_FAILED
    messages.common(f"\nThe dumpfile is saved to {shown(path)}.")
    return EXIT_OK


def join_parts(request: Request, messages: Messages) -> int:
    """Join the files of a split dump; returns the exit status."""
    from vmsieve.pipeline.dump.reassemble import reassemble

    *parts, path = request.operands
    plan = Plan(parts[0], path, force=request.has("f"), size_limit=request.size_limit, reads=tuple(parts))
    if not reassemble(plan, parts, messages.progress()):
        messages.error("the dump is incomplete: pages are missing from it or from one of its parts")
        return EXIT_FAILED
    messages.common(f"\nThe dumpfile is saved to {shown(path)}.")
    return EXIT_OK
