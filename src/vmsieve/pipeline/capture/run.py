"""The first process of a capture: step after step until there is a dump, and the record of it."""

from __future__ import annotations

import os
import sys
import time

import vmsieve
from vmsieve.pipeline.capture.child import COPYING, Board, Limits, Watcher, protect
from vmsieve.pipeline.capture.console import tell
from vmsieve.pipeline.capture.isolation import ask_target, opened, reopened
from vmsieve.pipeline.capture.job import Job
from vmsieve.pipeline.capture.ladder import Ladder, Step
from vmsieve.pipeline.capture.options import DEFAULT_INPUT
from vmsieve.pipeline.capture.status import write_record
from vmsieve.pipeline.capture.target import DUMP, LOG
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_OK, EXIT_USAGE, EXIT_WEAKER
from vmsieve.pipeline.process.writing import open_standard_fds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vmsieve.pipeline.capture.options import Request
    from vmsieve.pipeline.capture.target import Target

__all__ = ["capture"]

#: Facts by which a log that is still missing is looked for at the end.
_LOG_BASES = ("note", "memory", "symbols")
#: A part of the deadline that is left for bringing everything to its end, and seconds that it is at the least and most.
_MARGIN, _MARGIN_LEAST, _MARGIN_MOST = 0.05, 0.5, 10.0
#: Seconds that may be spent on showing the log.
_PATIENCE = 60.0
_RESULTS = {
    EXIT_OK: "whole", EXIT_FAILED: "failed", EXIT_WEAKER: "weaker", EXIT_INCOMPLETE: "incomplete",
}  # fmt: skip


def capture(request: Request) -> int:
    """Make the dump that ``request`` asks for, or the best that can be had; returns the exit status."""
    if request.check and not os.path.exists(DEFAULT_INPUT):
        from vmsieve.pipeline.capture.check import find_problem

        problem = find_problem(request)
        say(problem or f"a capture would leave a dump of level {request.level}, {request.codec}, at {request.target}")
        return EXIT_USAGE if problem else EXIT_OK
    protect()
    try:
        # Steps work in another directory.
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
    """The target, or the exit status if it can't be used."""
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
    """The end of the kernel log, on the console: there is no other place left."""

    def work(_: Board) -> dict[str, Any]:
        from vmsieve.pipeline.capture.log import show_log

        return show_log(request.input)

    told = watcher.run(work, Board(), Limits(end=time.monotonic() + _PATIENCE, stall=request.stall))
    if told["error"]:
        say(f"the kernel log: {told['error']}")


def say(line: str) -> None:
    """A line for the console, if there is one."""
    tell(f"vmsieve: {line}\n")


class _Capture:
    def __init__(self, request: Request, target: Target, watcher: Watcher, board: Board) -> None:
        self._request, self._target, self._watcher, self._board = request, target, watcher, board
        self._aside, self._ladder = Board(), Ladder(request.level)
        self._began = time.monotonic()
        self._end = 0.0
        if request.deadline:
            margin = min(max(request.deadline * _MARGIN, _MARGIN_LEAST), _MARGIN_MOST)
            self._end = self._began + max(request.deadline - margin, request.deadline / 2)
        self._log: dict[str, Any] = {"complete": False}
        self._log_tried: set[str] = set()
        self._sent = self._yielded = self._mute = False
        self._lost: list[str] = []
        self._record: dict[str, Any] = {
            "version": vmsieve.__version__, "result": "running", "exit_status": None, "input": request.input,
            "target": target.path, "asked": {"level": request.level, "codec": request.codec, "deadline": request.deadline},
            "began": int(time.time()), "seconds": 0.0, "dump": None, "log": None, "lost": self._lost, "steps": [],
            "notes": target.notes,
        }  # fmt: skip

    def run(self) -> int:
        """Climb down until something holds."""
        for note in self._target.notes:
            say(note)
        if os.path.realpath(self._request.input) == DEFAULT_INPUT and self._target.volatile:
            self._lost.append(
                f"{self._target.path} is in this machine's memory: what is there is lost when it restarts"
            )
        self._write()
        step: Step | None = self._ladder.first()
        outcome: dict[str, Any] = {"end": "failed"}
        while step is not None:
            outcome = self._try(step)
            if outcome["end"] in ("finished", "stopped") or self._watcher.asked:
                break
            step = self._following(step, outcome)
        self._log_at_last()
        status = self._status(outcome)
        self._close(status)
        self._target.release()
        return status

    def _try(self, step: Step) -> dict[str, Any]:
        began = time.monotonic()
        job = Job(self._request, step, self._target, self._end)
        if not self._log["complete"]:
            job = job.with_log(self._target)
            self._log_tried.add(job.basis)
        first = began + (self._end - began) / 2 if self._end and not step.plain else 0.0
        outcome = self._run("perform", job, Limits(first=first, end=self._end, stall=self._request.stall))
        share = self._board.done / max(self._board.total, 1) if self._board.phase >= COPYING else 0.0
        self._sent |= self._board.phase >= COPYING
        if self._board.freed:
            self._target.kept = None
        self._take_log(outcome)
        self._record["steps"].append({
            "step": step.name, "facts": step.basis, "careful": step.careful, "level": job.level,
            "seconds": time.monotonic() - began, "end": outcome["end"], "error": outcome.get("error", ""),
            "done": round(share, 3), "notes": outcome.get("notes", []),
        })  # fmt: skip
        for note in outcome.get("notes", []):
            say(note)
        if outcome["end"] == "finished":
            self._finished(step, outcome)
        else:
            if outcome.get("killed"):
                self._ask(self._target.alive)
            self._ask(lambda: self._target.keep(share))
            say(f"{step.name}: {outcome.get('error')}")
        self._write()
        return outcome

    def _run(self, name: str, job: Job, limits: Limits) -> dict[str, Any]:
        def work(board: Board) -> dict[str, Any]:
            from vmsieve.pipeline.capture import work as room

            self._target.enter()
            job.limit = self._target.room()
            result: dict[str, Any] = getattr(room, name)(job, board)
            return result

        return self._watcher.run(work, self._board, limits)

    def _ask(self, question: Callable[[], Any]) -> Any:
        """What ``question`` finds at the target; None if that does not answer, and it is left alone from then on."""
        if self._target.hangs:
            return None
        told = ask_target(question, self._target, self._watcher, self._aside)
        self._target.hangs = told["end"] == "stalled"
        return told.get("answer")

    def _take_log(self, outcome: dict[str, Any]) -> None:
        log = outcome.get("log")
        if log is None and self._board.logged:
            # Whoever wrote it did not live to tell.
            log = {"file": LOG, "bytes": self._board.logged, "complete": True, "error": ""}
        if log is not None:
            self._log = self._record["log"] = {**log, "file": self._target.full(log.get("file", LOG))}

    def _finished(self, step: Step, outcome: dict[str, Any]) -> None:
        self._ask(self._target.drop_kept)
        self._record["dump"] = {
            "file": self._target.full(DUMP), "step": step.name, "level": outcome["level"], "bytes": outcome["bytes"],
            "pages": outcome["pages"], "complete": not outcome["incomplete"],
        }  # fmt: skip
        missing = outcome["pages"].get("unreadable", 0)
        if missing:
            self._lost.append(f"{missing} pages could not be read")
        elif outcome["incomplete"]:
            self._lost.append("the input is not whole, or can't be read everywhere: see the step's notes")

    def _following(self, step: Step, outcome: dict[str, Any]) -> Step | None:
        """The next step, if there is any sense in one."""
        if self._target.stream and self._sent:
            return None
        if self._end and time.monotonic() >= self._end:
            return None
        if step.name == "as before" or (step.instead and not self._board.freed):
            return None
        if step.instead and self._ask(self._target.alive):
            return self._ladder.as_before(step)
        if outcome["end"] == "full":
            return self._again(step) or self._smaller(step, outcome)
        if self._restored():
            say(f"{self._target.path} was removed: it is made anew")
            self._log, self._record["log"] = {"complete": False}, None
            self._log_tried.clear()
        if not self._ask(self._target.alive):
            say(f"{self._target.path}: nothing can be written there any more")
            return None
        return self._ladder.as_before(step) if step.instead else self._ladder.after(step, outcome)

    def _again(self, step: Step) -> Step | None:
        """The same once more, without a record, if that took the last place that a file could have."""
        if self._yielded or self._target.kept is not None:
            return None
        self._yielded = bool(self._ask(self._target.yield_record))
        return step if self._yielded else None

    def _restored(self) -> bool:
        """Make the directory again if it was removed; whether that was done."""
        if not self._ask(self._target.gone):
            return False
        try:
            made = reopened(self._target, self._watcher, self._aside)
        except OSError:
            return False
        self._target.release()
        self._target, self._record["target"] = made, made.path
        return True

    def _smaller(self, step: Step, outcome: dict[str, Any]) -> Step | None:
        """A dump that leaves out more, if it is known to fit where this one did not."""
        if self._request.level == 31 or step.instead or step.plain or step.basis == "headers" or "pages" not in outcome:
            return None
        smaller = self._ladder.smaller(step)
        told = self._run("estimate", Job(self._request, smaller, self._target, 0), Limits(stall=self._request.stall))
        pages = outcome["pages"]["kept"] + outcome["pages"]["zero"]
        if told["end"] != "finished" or told["weaker"] or not pages:
            return None
        if self._end and time.monotonic() + self._record["steps"][-1]["seconds"] * told["kept"] / pages > self._end:
            return None
        needed = int(told["kept"] * outcome["bytes"] / pages * 1.1)
        room = self._ask(self._target.room) or 0
        say(f"a dump of level 31 would take {needed >> 10} KiB, and there is room for {room >> 10} KiB")
        return smaller if needed <= room else None

    def _log_at_last(self) -> None:
        """The dump is as it is: now there is time to look for the log on another basis."""
        for basis in _LOG_BASES:
            if self._log["complete"] or self._watcher.asked or not self._target.directory:
                return
            if basis in self._log_tried or (self._end and time.monotonic() >= self._end):
                continue
            if not self._ask(self._target.there):
                return
            job = Job(self._request, Step("log", basis, careful=True), self._target, 0).with_log(self._target)
            self._take_log(self._run("log_alone", job, Limits(end=self._end, stall=self._request.stall)))

    def _status(self, outcome: dict[str, Any]) -> int:
        if outcome["end"] == "finished":
            if outcome["incomplete"]:
                return EXIT_INCOMPLETE
            as_asked = not outcome["weaker"] and self._record["steps"][-1]["level"] == self._request.level
            return EXIT_OK if as_asked else EXIT_WEAKER
        if not self._ask(self._target.there):
            state = "does not answer" if self._target.hangs else "is gone"
            self._lost.append(f"the target {state}: what was written to it can't be looked at")
            return EXIT_FAILED
        if self._target.kept is not None:
            size = self._ask(self._target.settle)
            share = f"{100 * self._target.kept[1]:.0f} %"
            self._record["dump"] = {
                "file": self._target.full(self._target.kept[0]), "bytes": size, "complete": False, "share": share,
            }  # fmt: skip
            self._lost.append(f"the dump ends after {share} of its pages")
            return EXIT_INCOMPLETE
        if self._sent and not self._target.directory:
            self._record["dump"] = {"file": self._target.path, "bytes": None, "complete": False}
            self._lost.append("the dump ends early: what went out lacks its end")
            return EXIT_INCOMPLETE
        self._lost.append("there is no dump")
        return EXIT_FAILED

    def _close(self, status: int) -> None:
        if self._target.directory and not self._log["complete"]:
            name = os.path.basename(self._log.get("file", LOG))
            unsaved = self._log.get("bytes") and not self._ask(lambda: self._target.bytes_in(name))
            if unsaved or not self._ask(self._target.there):
                _show_log(self._request, self._watcher)
            self._lost.append(f"the kernel log is not whole: {self._log.get('error') or 'it was not reached'}")
        if self._ask(self._target.moved):
            self._lost.append(f"{self._target.path} leads elsewhere by now: its directory was moved or unmounted")
        self._ask(self._target.tidy)
        self._record["result"], self._record["exit_status"] = _RESULTS[status], status
        self._write()
        dump = self._record["dump"]
        place = "standard output" if self._target.path == "-" else dump and dump["file"]
        size = f"{dump['bytes'] / 1e6:.1f} MB" if dump and dump["bytes"] is not None else "a part"
        what = f"{size} in {place}" if dump else "no dump"
        lost = "; ".join(self._lost)
        say(f"{_RESULTS[status]}: {what}, {time.monotonic() - self._began:.1f} s" + (f" ({lost})" if lost else ""))

    def _write(self) -> None:
        self._record["seconds"] = time.monotonic() - self._began
        target, running = self._target, self._record["result"] == "running"
        if not target.record or target.hangs or (running and (self._yielded or self._mute)):
            return
        told = ask_target(lambda: write_record(target.record, self._record), target, self._watcher, self._aside)
        self._mute = told["end"] != "finished"
        problem = "the record can't be written: its place does not answer" if self._mute else told["answer"]
        if problem:
            say(problem)


def main(words: list[str]) -> int | None:
    """Run with the command line's ``words``; None where argparse has to explain something.

    Where a kernel has crashed there is nobody to explain anything to: what makes no sense is left out, and a dump made.
    """
    from vmsieve.pipeline.capture.options import DEFAULT_INPUT, read_request

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
        say(f"left out, as it makes no sense: {' '.join(wrong)}")
    return capture(request)
