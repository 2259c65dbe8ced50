"""What a child of a capture does: the kernel log, a dump, an estimate. Loaded in children only."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from vmsieve.filters.kernel.printk import kernel_log
from vmsieve.filters.knowledge import learn_from
from vmsieve.formats.errors import KernelError, OutputError, VmsieveError, WeakerError
from vmsieve.formats.systems import open_system
from vmsieve.pipeline.capture import child
from vmsieve.pipeline.capture.console import tell
from vmsieve.pipeline.capture.status import sync_directory
from vmsieve.pipeline.dump import dump
from vmsieve.pipeline.plan import Plan
from vmsieve.pipeline.progress import Lines
from vmsieve.pipeline.scan import scan
from vmsieve.pipeline.signals import Interrupted, interruptible

if TYPE_CHECKING:
    from vmsieve.pipeline.capture.child import Board
    from vmsieve.pipeline.capture.job import Job
    from vmsieve.pipeline.report import Report

__all__ = ["estimate", "log_alone", "perform", "show_log"]

_NOTES, _NOTE = 40, 400  # most sentences for the record, and characters of one
_LOW = 8 << 20  # bytes left at which what was kept has to go
_GATHERED = 64 << 10
_SHOWN = 100  # lines of the log that a console is shown


class Beat(Lines):
    """Lines for a console; and whoever watches is told, and may end the work in time."""

    def __init__(self, job: Job, board: Board) -> None:
        super().__init__()
        self._job, self._board = job, board
        self._phase = child.OPENING

    def step(self, name: str, total: int, unit: int = 1) -> None:
        """See :class:`vmsieve.pipeline.progress.Progress`."""
        super().step(name, total, unit)
        self._phase = child.CLASSIFYING if name.startswith("Classifying") else child.COPYING
        self._board.tell(self._phase, 0, total)
        if self._phase == child.COPYING:
            self._make_room()

    def advance(self, parts: int) -> None:
        """See :class:`vmsieve.pipeline.progress.Progress`; raises Interrupted when time is up."""
        super().advance(parts)
        self._board.tell(self._phase, self._done, self._total)
        if self._phase != child.COPYING:
            return
        if self._job.end and time.monotonic() >= self._job.end:
            raise Interrupted("the deadline has come")
        self._make_room()

    def _make_room(self) -> None:
        """Remove what an earlier step left as soon as this one has more, if room runs out."""
        path, share = self._job.spare or ("", 0.0)
        if not path or self._board.freed or self._done < share * self._total:
            return
        told = os.statvfs(path)
        if not share or told.f_bavail * told.f_frsize < _LOW:
            os.unlink(path)
            self._board.free()

    def say(self, line: str) -> None:
        """See :class:`vmsieve.pipeline.progress.Progress`."""
        if not self._job.quiet:
            tell(f"vmsieve: {line}\n")

    def close(self) -> None:
        """See :class:`vmsieve.pipeline.progress.Progress`."""
        self._board.tell(child.FINISHING, self._done, self._total)


def perform(job: Job, board: Board) -> dict[str, Any]:
    """Do ``job``; what came of it, in values that ``marshal`` knows. Raises nothing.

    ``end`` of the result: ``finished`` (whole, if not ``incomplete``), ``weaker`` (nothing was written, as less would
    be left out than asked), ``full``, ``output``, ``stopped``, ``memory``, ``failed``.
    """
    result: dict[str, Any] = {"end": "failed", "error": "", "notes": []}
    try:
        with interruptible():
            if job.log:
                result["log"] = _write_log(job, board)
            result.update(_dump(job, board))
    except BaseException as error:  # the first process decides what to do about it
        result["end"], result["error"] = _told(error)
    return result


def _told(error: BaseException) -> tuple[str, str]:
    """A kind of end, and a sentence."""
    if isinstance(error, MemoryError):
        return "memory", "out of memory"
    if isinstance(error, OSError):
        return "output", str(error)
    if isinstance(error, OutputError):
        return "full" if error.full else "output", str(error)
    kinds = {Interrupted: "stopped", WeakerError: "weaker", VmsieveError: "failed"}
    for kind, end in kinds.items():
        if isinstance(error, kind):
            return end, str(error)
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    place = f" ({os.path.basename(at.tb_frame.f_code.co_filename)}:{at.tb_lineno})" if at is not None else ""
    return "failed", f"{type(error).__name__}: {error}{place}"


def _dump(job: Job, board: Board) -> dict[str, Any]:
    board.tell(child.OPENING, 0, 0)
    if job.plain:
        return _plain(job, Beat(job, board))
    name, _, level = job.codec.partition(":")
    plan = Plan(
        job.input, job.output, job.level, name, int(level) if level else None, flattened=not job.final,
        threads=job.threads, size_limit=job.limit, mapped=job.mapped, facts=job.facts, insist=job.insist, durable=True,
    )  # fmt: skip
    return _finished(job, dump(plan, Beat(job, board)))


def _plain(job: Job, progress: Beat) -> dict[str, Any]:
    from vmsieve.pipeline.capture.plain import PlainCopy

    copy = PlainCopy(job)
    copy.run(progress)
    copy.close()
    result = {
        "end": "finished", "error": "", "notes": [note[:_NOTE] for note in copy.notes()][:_NOTES],
        "incomplete": copy.stopped is not None or copy.unreadable > 0, "weaker": True, "level": 0,
        "pages": {}, "bytes": copy.bytes, "unreadable_bytes": copy.unreadable,
    }  # fmt: skip
    return _named(job, result, copy.stopped)


def _finished(job: Job, report: Report) -> dict[str, Any]:
    told = report.json()
    result = {
        "end": "finished",
        "error": "",
        "notes": [note[:_NOTE] for note in dict.fromkeys(report.notes)][:_NOTES],
        "incomplete": report.incomplete,
        "weaker": report.weaker,
        "level": report.level,
        "pages": told["pages"],
        "bytes": report.bytes_out,
    }
    return _named(job, result, report.stopped)


def _named(job: Job, result: dict[str, Any], stopped: OutputError | Interrupted | None) -> dict[str, Any]:
    """Give the dump the name of a whole one if it is one, else say what ended it."""
    if stopped is not None:
        result["end"], result["error"] = _told(stopped)
    elif job.final:
        os.rename(job.output, job.final)
        sync_directory(os.path.dirname(job.final))
    return result


def _write_log(job: Job, board: Board) -> dict[str, Any]:
    """Write the kernel log to its own file; a log that breaks off keeps the name of an incomplete one."""
    board.tell(child.LOG, 0, 0)
    log: dict[str, Any] = {"file": job.log_partial, "bytes": 0, "complete": False, "error": ""}
    # What an earlier step has of it stays until there is more.
    made = job.log_partial if not os.path.lexists(job.log_partial) else f"{job.log_partial}.new"
    try:
        source = open_system(job.input)
        try:
            knowledge = learn_from(job.facts, source)
            if knowledge.memory is None or knowledge.info is None:
                raise KernelError(f"the kernel log can't be found: {knowledge.problem}")
            with open(made, "wb", buffering=_GATHERED, opener=_private) as out:
                _copy_log(log, out, kernel_log(knowledge.memory, knowledge.info))
        finally:
            source.close()
    except (VmsieveError, OSError) as error:
        log["error"] = str(error)
    _name_log(job, log, made)
    if log["complete"]:
        board.log(log["bytes"])
    return log


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _copy_log(log: dict[str, Any], out: Any, lines: Any) -> None:
    try:
        for line in lines:
            out.write(line)
            log["bytes"] += len(line)
        log["complete"] = True
    except VmsieveError as error:
        log["error"] = str(error)
    finally:
        out.flush()
        os.fsync(out.fileno())


def _name_log(job: Job, log: dict[str, Any], made: str) -> None:
    """Give the log the name it deserves, unless there is more under that name already."""
    try:
        size = os.stat(made).st_size
    except OSError:
        return
    log["complete"] = log["complete"] and not log["error"]
    earlier = made != job.log_partial
    before = os.stat(job.log_partial).st_size if earlier else 0
    try:
        if not log["complete"] and size <= before:
            os.unlink(made)
            return
        log["file"] = job.log if log["complete"] else job.log_partial
        os.rename(made, log["file"])
        if log["complete"] and earlier:
            os.unlink(job.log_partial)
        sync_directory(os.path.dirname(job.log))
    except OSError as error:
        log["error"] = log["error"] or str(error)


def log_alone(job: Job, board: Board) -> dict[str, Any]:
    """The kernel log, after the dump, by other facts than before."""
    return {"end": "finished", "error": "", "log": _write_log(job, board)}


def show_log(path: str) -> dict[str, Any]:
    """The last lines of the kernel log of the dump at ``path``, on standard error."""
    try:
        source = open_system(path)
        knowledge = learn_from("note", source)
        if knowledge.memory is None or knowledge.info is None:
            raise KernelError(f"it can't be found: {knowledge.problem}")
        last: list[bytes] = []
        for line in kernel_log(knowledge.memory, knowledge.info):
            last = [*last[1 - _SHOWN :], line]
        os.write(2, b"".join(last))
    except (VmsieveError, OSError) as error:
        return {"end": "failed", "error": str(error)}
    return {"end": "finished", "error": ""}


def estimate(job: Job, board: Board) -> dict[str, Any]:
    """How many pages a dump of the job's level would hold: ``kept``."""
    try:
        with interruptible():
            source = open_system(job.input)
            knowledge = learn_from(job.facts, source)
            scanned = scan(source, knowledge, job.level, Beat(job, board))
            return {"end": "finished", "error": "", "kept": scanned.kept.count(), "weaker": scanned.weaker}
    except BaseException as error:
        end, sentence = _told(error)
        return {"end": end, "error": sentence}
