"""``-R`` and ``--reassemble``: dumps that came in pieces, as one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmsieve.pipeline.plan import EXIT_FAILED, EXIT_OK, Plan
from vmsieve.pipeline.rebuild import rebuild_from_pipe

if TYPE_CHECKING:
    from vmsieve.pipeline.compat.request import Request
    from vmsieve.pipeline.compat.voice import Voice

__all__ = ["rebuild_stream"]


def rebuild_stream(request: Request, voice: Voice) -> int:
    """Make a file of the flattened stream at standard input; returns the exit status."""
    path = request.operands[0]
    if not rebuild_from_pipe(Plan("-", path, force=request.has("f"), size_limit=request.size_limit)):
        voice.error("the flattened stream ends before its end mark: the dump is incomplete")
        return EXIT_FAILED
    voice.common(f"\nThe dumpfile is saved to {path}.")
    return EXIT_OK
