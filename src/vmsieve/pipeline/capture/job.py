"""The job of a capture's child process: one step of the ladder."""

from __future__ import annotations

from vmsieve.pipeline.capture.target import DUMP, LOG, PARTIAL_LOG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmsieve.pipeline.capture.ladder import Step
    from vmsieve.pipeline.capture.options import Request
    from vmsieve.pipeline.capture.target import Target


class Job:
    """A step of the ladder, with the request's values."""

    def __init__(self, request: Request, step: Step, target: Target, end: float) -> None:
        self.input = request.input
        self.output = target.partial  # a name in the child's working directory, or a path; ``-``: standard output
        self.final = DUMP if target.directory else ""  # name when finished; empty: a stream, or a device written as one
        self.log = self.log_partial = ""  # name of the kernel log, and while incomplete; empty: no log is written
        self.level = request.level if step.level is None else step.level
        self.codec = step.codec(request.codec)
        self.order = request.order
        self.threads = 1 if step.careful else request.threads
        self.basis, self.insist, self.plain = step.basis, step.insist, step.plain
        self.mapped = not step.careful
        # Dump of an earlier step, and the part of the memory in it. It is deleted when space runs out or, if that part
        # is 0, before the first page is written.
        self.spare = (target.kept[0], 0.0) if step.instead and target.kept is not None else target.kept
        self.end = end  # ``time.monotonic`` at which the dump must be finalised; 0: never
        self.limit: int | None = None  # maximum size of the output in bytes, set when the work begins; None: no limit
        self.quiet = request.quiet

    def with_log(self, target: Target) -> Job:
        """Make it write the kernel log first, if the target and the step allow that; returns itself."""
        if target.directory and not self.plain and self.basis != "headers":
            self.log, self.log_partial = LOG, PARTIAL_LOG
        return self
