"""What a child is given to do."""

from __future__ import annotations

from vmsieve.pipeline.capture.target import DUMP, LOG, PARTIAL_LOG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmsieve.pipeline.capture.ladder import Step
    from vmsieve.pipeline.capture.options import Request
    from vmsieve.pipeline.capture.target import Target

__all__ = ["Job"]


class Job:
    """One step of the ladder, with all that it takes.

    Attributes:
        input: Path of the memory to dump.
        output: What to write to: a name in the directory that the child works in, or a path; ``-``: standard output.
        final: Name of the output once it is whole; empty: it is a stream, or a device that is written as one.
        log, log_partial: Where the kernel log belongs, and until it is whole; empty: it was written, or has no place.
        level, codec, threads, basis, insist, plain: As of the request and the step.
        mapped: The input may be mapped.
        limit: Bytes that the output may take; None: no limit. It is known when the work begins.
        end: ``time.monotonic`` at which the dump has to be brought to its end; 0: never.
        spare: What an earlier step left, and which part of it is there: it goes when room runs out, or, if
            that part is 0, before the first page is written.
        quiet: Say nothing.
    """

    def __init__(self, request: Request, step: Step, target: Target, end: float) -> None:
        self.input, self.output = request.input, target.partial
        self.final = DUMP if target.directory else ""
        self.log = self.log_partial = ""
        self.level = request.level if step.level is None else step.level
        self.codec = step.codec(request.codec)
        self.threads = 1 if step.careful else request.threads
        self.basis, self.insist, self.plain = step.basis, step.insist, step.plain
        self.mapped = not step.careful
        self.spare = (target.kept[0], 0.0) if step.instead and target.kept is not None else target.kept
        self.end = end
        self.limit: int | None = None
        self.quiet = request.quiet

    def with_log(self, target: Target) -> Job:
        """The same, the kernel log first."""
        if target.directory and not self.plain and self.basis != "headers":
            self.log, self.log_partial = LOG, PARTIAL_LOG
        return self
