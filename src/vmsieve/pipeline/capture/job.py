"""The job of a capture's child process: one step of the ladder."""

from __future__ import annotations

from vmsieve.pipeline.capture.target import DUMP, LOG, PARTIAL_LOG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmsieve.pipeline.capture.ladder import Step
    from vmsieve.pipeline.capture.options import Request
    from vmsieve.pipeline.capture.target import Target


class Job:
    """A step of the ladder, with the request's values.

    Attributes:
        input: Path of the memory to dump.
        output: A name in the child's working directory, or a path; ``-``: standard output.
        final: Name of the finished output; empty: a stream, or a device written as one.
        log, log_partial: Name of the kernel log, and its name while incomplete; empty: no log is written.
        level, codec, threads, basis, insist, plain: From the request and the step.
        mapped: The input may be mapped.
        limit: Maximum size of the output in bytes; None: no limit. Set when the work begins.
        end: ``time.monotonic`` at which the dump must be finalised; 0: never.
        spare: Dump of an earlier step, and the part of the memory in it. It is deleted when space runs out or, if that
            part is 0, before the first page is written.
        quiet: Print nothing.
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
        """Make it write the kernel log first, if the target and the step allow that; returns itself."""
        if target.directory and not self.plain and self.basis != "headers":
            self.log, self.log_partial = LOG, PARTIAL_LOG
        return self
