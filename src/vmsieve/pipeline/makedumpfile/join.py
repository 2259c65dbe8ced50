"""``-R`` and ``--reassemble``: make one file of a flattened stream or a split dump."""

from __future__ import annotations

from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.formats.text import shown
from vmsieve.pipeline.dump.plan import Plan
from vmsieve.pipeline.dump.rebuild import rebuild_from_pipe
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from vmsieve.pipeline.makedumpfile.messages import Messages
    from vmsieve.pipeline.makedumpfile.request import Request


def save_joined(request: Request, messages: Messages) -> int:
    """Write a file of the flattened stream on standard input or of a split dump's parts; returns the exit status."""
    *parts, path = request.operands
    plan = Plan(
        parts[0] if parts else "-", path, force=request.has("f"), size_limit=request.size_limit, reads=tuple(parts)
    )
    if request.job == "R":
        whole = rebuild_from_pipe(plan)
        problem = "the flattened stream ends before its end mark: the dump is incomplete"
    else:
        from vmsieve.pipeline.dump.reassemble import reassemble

        whole = reassemble(plan, parts, messages.progress())
        problem = "the dump is incomplete: pages are missing from it or from one of its parts"
    if not whole:
        messages.error(problem)
        return EXIT_FAILED
    messages.common(f"\nThe dumpfile is saved to {shown(path)}.")
    return EXIT_OK
