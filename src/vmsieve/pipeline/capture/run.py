"""The first process of a capture: runs step after step until there is a dump, and keeps the record."""

from __future__ import annotations

import os
import sys
import time

from vmsieve.pipeline.capture.child import COPYING, Board, Limits, Watcher, protect
from vmsieve.pipeline.capture.console import say
from vmsieve.pipeline.capture.isolation import ask_target, opened, reopened
from vmsieve.pipeline.capture.job import Job
from vmsieve.pipeline.capture.ladder import Ladder, Step, has_more, is_worth_replacing
from vmsieve.pipeline.capture.options import DEFAULT_INPUT, read_request
from vmsieve.pipeline.capture.record import Record
from vmsieve.pipeline.capture.status import write_record
from vmsieve.pipeline.capture.target import LOG
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_OK, EXIT_USAGE, EXIT_WEAKER
from vmsieve.pipeline.process.writing import open_standard_fds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vmsieve.pipeline.capture.options import Request
    from vmsieve.pipeline.capture.target import Target

#: Bases on which a log that is still missing is searched for at the end.
_LOG_BASES = ("note", "memory", "symbols")
#: Share of the deadline that is reserved for finishing the dump, and its bounds in seconds.
_MARGIN, _MARGIN_MIN, _MARGIN_MAX = 0.05, 0.5, 10.0
_READ_TIMEOUT = 10.0  # seconds that reading the descriptors of a partial dump may take
_SHOW_LOG_TIMEOUT = 60.0  # seconds that showing the log on the console may take


def capture(request: Request) -> int:
    """Make the dump that ``request`` asks for, or the best possible; returns the exit status."""
    if request.check and not os.path.exists(DEFAULT_INPUT):
        from vmsieve.pipeline.capture.check import find_problem

        problem = find_problem(request)
        say(problem or f"a capture would leave a dump of level {request.level}, {request.codec}, at {request.target}")
        return EXIT_USAGE if problem else EXIT_OK
    protect()
    try:
        # Absolute, because steps change to the target's directory.
        request.input = os.path.abspath(request.input)
        os.close(os.open(request.input, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        say(f"can't open {request.input}: {error.strerror}")
        return EXIT_FAILED
    watcher, board = Watcher(), Board()
    try:
        target = _opened(request, watcher, board)
        return target if isinstance(target, int) else _Capture(request, target, watcher, board).run()
    finally:
        watcher.close()


def _opened(request: Request, watcher: Watcher, board: Board) -> Target | int:
    """Open the target; returns the exit status if it is unusable."""
    try:
        return opened(request, watcher, board)
    except ValueError as error:
        say(str(error))
        return EXIT_USAGE
    except OSError as error:
        say(f"can't write to {request.target}: {error.strerror}")
        _show_log(request, watcher)
        return EXIT_FAILED


def _show_log(request: Request, watcher: Watcher) -> None:
    """Print the end of the kernel log on the console, the only output that is left."""

    def work(_: Board) -> dict[str, Any]:
        from vmsieve.pipeline.capture.log import show_log

        return show_log(request.input)

    result = watcher.run(work, Board(), Limits(end=time.monotonic() + _SHOW_LOG_TIMEOUT, stall=request.stall))
    if result["error"]:
        say(f"the kernel log: {result['error']}")


class _Capture:
    """One capture.

    ``_board`` shows a step's progress; ``_target_board`` serves the short children that touch the target, so that the
    step's last words stay readable.
    """

    def __init__(self, request: Request, target: Target, watcher: Watcher, board: Board) -> None:
        self._request, self._target, self._watcher, self._board = request, target, watcher, board
        self._target_board, self._ladder = Board(), Ladder(request.level)
        self._record = Record(request, target)
        self._end = 0.0
        if request.deadline:
            margin = min(max(request.deadline * _MARGIN, _MARGIN_MIN), _MARGIN_MAX)
            self._end = self._record.began + max(request.deadline - margin, request.deadline / 2)
        self._log: dict[str, Any] = {"complete": False}
        self._log_tried: set[str] = set()
        self._classes: list[dict[str, Any]] = []  # what the partial dump has of each class of importance
        self._sent = self._record_removed = self._record_unwritable = False

    def run(self) -> int:
        """Try the ladder's steps until one succeeds; returns the exit status."""
        for note in self._target.notes:
            say(note)
        if os.path.realpath(self._request.input) == DEFAULT_INPUT and self._target.volatile:
            lost = f"{self._target.path} is in this machine's memory: what is there is lost when it restarts"
            self._record.lost.append(lost)
        self._write_record()
        step: Step | None = self._ladder.first
        outcome: dict[str, Any] = {"end": "failed"}
        while step is not None:
            outcome = self._try(step)
            if outcome["end"] in ("finished", "stopped") or self._watcher.asked:
                break
            step = self._next_step(step, outcome)
        self._retry_log()
        status = self._status(outcome)
        self._close(status)
        self._target.release()
        return status

    def _late(self) -> bool:
        return bool(self._end) and time.monotonic() >= self._end

    def _try(self, step: Step) -> dict[str, Any]:
        began = time.monotonic()
        job = Job(self._request, step, self._target, self._end)
        if not self._log["complete"]:
            job = job.with_log(self._target)
            self._log_tried.add(job.basis)
        # A step that has copied nothing at half time leaves the other half to the steps that need no analysis.
        first = began + (self._end - began) / 2 if self._end and not step.plain else 0.0
        outcome = self._run("perform", job, Limits(first=first, end=self._end, stall=self._request.stall))
        share = self._board.done / max(self._board.total, 1) if self._board.phase >= COPYING else 0.0
        self._sent |= self._board.phase >= COPYING
        if self._board.freed:
            self._target.kept = None
        self._take_log(outcome)
        self._record.add_step(step, job, time.monotonic() - began, share, outcome)
        for note in outcome.get("notes", []):
            say(note)
        if outcome["end"] == "finished":
            self._ask(self._target.drop_kept)
            self._record.finished(step, self._target, outcome)
        else:
            if outcome.get("killed"):
                self._ask(self._target.writable)
            before, ordered = self._target.kept, step.basis != "headers" and self._request.order != "address"
            self._ask(lambda: self._target.keep(share, ordered=ordered))
            if self._target.kept != before or not self._target.directory:
                self._classes = self._kept_classes(step, outcome)
            say(f"{step.name}: {outcome.get('error')}")
        self._write_record()
        return outcome

    def _kept_classes(self, step: Step, outcome: dict[str, Any]) -> list[dict[str, Any]]:
        """What the kept dump of ``step`` has of each class of importance; of a stream, what was sent."""
        sent: list[dict[str, Any]] = outcome.get("classes", [])
        if self._target.kept is None or step.plain or self._target.hangs:
            return sent
        # What reached the file: of a killed child nothing else tells, and on a full disk less than was sent.
        job = Job(self._request, step, self._target, 0)
        job.output = self._target.kept[0]
        result = self._run("classes_of", job, Limits(end=time.monotonic() + _READ_TIMEOUT), self._target_board)
        return list(result.get("classes", sent))

    def _run(self, name: str, job: Job, limits: Limits, board: Board | None = None) -> dict[str, Any]:
        """Run function ``name`` of :mod:`.work` in a child that works in the target's directory."""

        def work(board: Board) -> dict[str, Any]:
            # Imported in the child: the first process must not grow.
            from vmsieve.pipeline.capture import work as functions

            self._target.enter()
            job.limit = self._target.space()
            result: dict[str, Any] = getattr(functions, name)(job, board)
            return result

        return self._watcher.run(work, board or self._board, limits)

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Ask the target in a child; None if it doesn't answer. A target that hangs is never asked again."""
        if self._target.hangs:
            return None
        result = ask_target(question, self._target, self._watcher, self._target_board)
        self._target.hangs = result["end"] == "stalled"
        return result.get("answer")

    def _take_log(self, outcome: dict[str, Any]) -> None:
        log = outcome.get("log")
        if log is None and self._board.logged:
            # The child died after writing the log, before it could return its result.
            log = {"file": LOG, "bytes": self._board.logged, "complete": True, "error": ""}
        if log is not None:
            self._log = self._record.data["log"] = {**log, "file": self._target.full(log.get("file", LOG))}

    def _next_step(self, step: Step, outcome: dict[str, Any]) -> Step | None:
        """Choose the next step; None if no step can help."""
        if (self._target.stream and self._sent) or self._late():
            return None  # bytes can't be taken back from a stream
        # After "as before" nothing is left to try; a smaller dump that fails with the larger one in place leaves that,
        # and on a full disk a part of level 31 with its most important pages.
        part = outcome["end"] == "full" and self._classes
        if step.name == "as before" or (step.instead and (part or not self._board.freed)):
            return None
        # The larger dump was deleted for the smaller one, which failed: make the larger one again, as far as it fits.
        if step.instead and self._ask(self._target.writable):
            return self._ladder.as_before(step)
        if outcome["end"] == "full":
            return self._without_record(step) or self._smaller(step, outcome)
        if self._restored():
            say(f"{self._target.path} was removed: it is made again")
            self._log, self._record.data["log"] = {"complete": False}, None
            self._log_tried.clear()
        if not self._ask(self._target.writable):
            say(f"{self._target.path} is no longer writable")
            return None
        return self._ladder.as_before(step) if step.instead else self._ladder.after(step, outcome)

    def _without_record(self, step: Step) -> Step | None:
        """Repeat ``step`` without a record, once, if the record took the file system's last free inode or block."""
        if self._record_removed or self._target.kept is not None:
            return None
        self._record_removed = bool(self._ask(self._target.remove_record))
        return step if self._record_removed else None

    def _restored(self) -> bool:
        """Recreate the directory if it was removed; returns True if it was."""
        if not self._ask(self._target.gone):
            return False
        try:
            made = reopened(self._target, self._watcher, self._target_board)
        except OSError:
            return False
        self._target.release()
        self._target, self._record.data["target"] = made, made.path
        return True

    def _smaller(self, step: Step, outcome: dict[str, Any]) -> Step | None:
        """Choose level 31 if the partial dump lacks pages of it, and it fits where this one did not.

        Also if page descriptors took all of the space, or half of it: then a part of level 31 has more pages.
        """
        if self._request.level == 31 or step.instead or step.basis == "headers":
            return None
        smaller = self._ladder.smaller(step)
        if "pages" not in outcome or not is_worth_replacing(self._classes):
            nothing = self._target.kept is None and self._request.order != "address"
            return smaller if nothing else None
        job = Job(self._request, smaller, self._target, 0)
        estimate = self._run("estimate", job, Limits(stall=self._request.stall))
        pages = outcome["pages"]["kept"] + outcome["pages"]["zero"]
        if estimate["end"] != "finished" or estimate["weaker"] or not pages:
            return None
        ratio = estimate["kept"] / pages
        if self._end and time.monotonic() + self._record.last_step["seconds"] * ratio > self._end:
            return None
        needed = int(ratio * outcome["bytes"] * 1.1)
        space = self._ask(self._target.space) or 0
        say(f"a dump of level 31 would take {needed >> 10} KiB; {space >> 10} KiB are free")
        return smaller if needed <= space or has_more(self._classes, outcome["bytes"], estimate["kept"]) else None

    def _retry_log(self) -> None:
        """Search for a missing log on the bases not tried yet; done last, because the dump matters more."""
        for basis in _LOG_BASES:
            if self._log["complete"] or self._watcher.asked or not self._target.directory:
                return
            if basis in self._log_tried or self._late():
                continue
            if not self._ask(self._target.exists):
                return
            job = Job(self._request, Step("log", basis, careful=True), self._target, 0).with_log(self._target)
            self._take_log(self._run("log_alone", job, Limits(end=self._end, stall=self._request.stall)))

    def _status(self, outcome: dict[str, Any]) -> int:
        """Determine the exit status, and enter a partial dump in the record."""
        if outcome["end"] == "finished":
            if outcome["incomplete"]:
                return EXIT_INCOMPLETE
            as_asked = not outcome["weaker"] and self._record.last_step["level"] == self._request.level
            return EXIT_OK if as_asked else EXIT_WEAKER
        if not self._ask(self._target.exists):
            state = "does not answer" if self._target.hangs else "is gone"
            self._record.lost.append(f"the target {state}: the state of the dump is unknown")
            return EXIT_FAILED
        if self._target.kept is not None:
            size = self._ask(self._target.settle)
            name, share = self._target.kept
            self._record.partial(self._target.full(name), size, self._classes, share)
            return EXIT_INCOMPLETE
        if self._sent and not self._target.directory:
            self._record.partial(self._target.path, None, self._classes)
            return EXIT_INCOMPLETE
        self._record.lost.append("there is no dump")
        return EXIT_FAILED

    def _close(self, status: int) -> None:
        if self._target.directory and not self._log["complete"]:
            name = os.path.basename(self._log.get("file", LOG))
            unsaved = self._log.get("bytes") and not self._ask(lambda: self._target.bytes_in(name))
            if unsaved or not self._ask(self._target.exists):
                _show_log(self._request, self._watcher)
            self._record.lost.append(f"the kernel log is incomplete: {self._log.get('error') or 'it was not reached'}")
        if self._ask(self._target.moved):
            self._record.lost.append(f"{self._target.path} leads elsewhere: its directory was moved or unmounted")
        self._ask(self._target.tidy)
        summary = self._record.close(status)
        self._write_record()
        say(summary)

    def _write_record(self) -> None:
        record, target = self._record, self._target
        record.data["seconds"] = time.monotonic() - record.began
        if not target.record or target.hangs:
            return
        # A running record is dispensable; the final one is always tried.
        if record.data["exit_status"] is None and (self._record_removed or self._record_unwritable):
            return
        result = ask_target(lambda: write_record(target.record, record.data), target, self._watcher, self._target_board)
        self._record_unwritable = result["end"] != "finished"
        if self._record_unwritable:
            say("the record can't be written: its directory does not respond")
        elif result["answer"]:
            say(result["answer"])


def main(words: list[str]) -> int | None:
    """Run with the command line's ``words``; returns None if an error has to be explained.

    After a crash nobody reads an explanation: arguments that make no sense are ignored there, and a dump is made.
    """
    wrong: list[str] = []
    request = read_request(words)
    if request is None and os.path.exists(DEFAULT_INPUT) and "-h" not in words and "--help" not in words:
        request = read_request(words, wrong)
        if request is not None:
            request.input = DEFAULT_INPUT
    if request is None:
        return None
    open_standard_fds()
    sys.stdout, sys.stderr = sys.stdout or sys.__stdout__, sys.stderr or sys.__stderr__
    if wrong:
        say(f"invalid, ignored: {' '.join(wrong)}")
    return capture(request)
