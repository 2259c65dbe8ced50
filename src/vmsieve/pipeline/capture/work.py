"""Work of a child of a capture: the kernel log, a dump, an estimate. Loaded in children only.

Modules that make a dump are imported after the log is written, so that it is safe as early as possible.
"""

from __future__ import annotations

import os

from vmsieve.formats.errors import OutputError, VmsieveError, WeakerError
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any
from vmsieve.pipeline.capture import child
from vmsieve.pipeline.process.signals import Interrupted, interruptible
from vmsieve.pipeline.process.writing import sync_directory

if TYPE_CHECKING:
    from vmsieve.pipeline.capture.child import Board
    from vmsieve.pipeline.capture.heartbeat import Heartbeat
    from vmsieve.pipeline.capture.job import Job

_NOTES, _NOTE = 40, 400  # limits for the record: remarks, and characters of each


def perform(job: Job, board: Board) -> dict[str, Any]:
    """Do ``job``; returns its result in types that ``marshal`` supports, and raises nothing.

    Values of ``end``: ``finished``, ``weaker`` (nothing written, because fewer pages would be left out than asked),
    ``full``, ``output``, ``stopped``, ``memory``, ``failed``.
    """
    result: dict[str, Any] = {"end": "failed", "error": "", "notes": []}
    try:
        with interruptible():
            if job.log:
                result["log"] = _log(job, board)
            result.update(_dump(job, board))
    except BaseException as error:  # the first process decides what to do about it
        result["end"], result["error"] = _classified(error)
    return result


def _classified(error: BaseException) -> tuple[str, str]:
    """The value of ``end`` for an error, and its message."""
    if isinstance(error, MemoryError):
        return "memory", "out of memory"
    if isinstance(error, (OSError, OutputError)):
        return "full" if getattr(error, "full", False) else "output", str(error)
    for kind, end in ((Interrupted, "stopped"), (WeakerError, "weaker"), (VmsieveError, "failed")):
        if isinstance(error, kind):
            return end, str(error)
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    source = f" ({os.path.basename(at.tb_frame.f_code.co_filename)}:{at.tb_lineno})" if at is not None else ""
    return "failed", f"{type(error).__name__}: {error}{source}"


def _log(job: Job, board: Board) -> dict[str, Any]:
    from vmsieve.pipeline.capture.log import write_log

    return write_log(job, board)


def log_alone(job: Job, board: Board) -> dict[str, Any]:
    """Write the kernel log only, after the dump, on another basis than before."""
    return {"end": "finished", "error": "", "log": _log(job, board)}


def _dump(job: Job, board: Board) -> dict[str, Any]:
    from vmsieve.pipeline.capture.heartbeat import Heartbeat
    from vmsieve.pipeline.dump.make import dump
    from vmsieve.pipeline.dump.plan import Plan

    board.tell(child.OPENING, 0, 0)
    if job.plain:
        return _plain(job, Heartbeat(job, board))
    name, _, level = job.codec.partition(":")
    plan = Plan(
        job.input, job.output, job.level, name, int(level) if level else None, flattened=not job.final,
        threads=job.threads, size_limit=job.limit, mapped=job.mapped, basis=job.basis, insist=job.insist,
        force=not job.final, order=job.order, apart=True,
    )  # fmt: skip
    report = dump(plan, Heartbeat(job, board))
    told = report.json()
    return _finished(
        job, report.stopped, report.notes, incomplete=report.incomplete, weaker=report.weaker, level=report.level,
        pages=told["pages"], classes=told["classes"], bytes=report.bytes_out,
    )  # fmt: skip


def classes_of(job: Job, board: Board) -> dict[str, Any]:
    """What the torn dump at the job's output has of each class of importance: ``classes`` of the result."""
    from vmsieve.formats.order_note import shares
    from vmsieve.formats.systems import open_system

    board.tell(child.OPENING, 0, 0)
    try:
        source = open_system(job.output)
        found = [{"name": one.name, "title": one.title, "pages": one.total, "written": one.written}
                 for one in shares(source)]  # fmt: skip
        source.close()
        return {"end": "finished", "error": "", "classes": found}
    except BaseException as error:
        end, sentence = _classified(error)
        return {"end": end, "error": sentence}


def _plain(job: Job, progress: Heartbeat) -> dict[str, Any]:
    from vmsieve.pipeline.capture.plain_copy import PlainCopy

    copy = PlainCopy(job)
    copy.run(progress)
    incomplete = copy.stopped is not None or copy.unreadable > 0
    return _finished(
        job, copy.stopped, copy.notes(), incomplete=incomplete, weaker=True, level=0, pages={}, bytes=copy.bytes,
        unreadable_bytes=copy.unreadable,
    )  # fmt: skip


def _finished(job: Job, stopped: VmsieveError | Interrupted | None, notes: list[str], **facts: Any) -> dict[str, Any]:
    """The result of a dump: it is renamed to its final name, or what stopped it is entered."""
    notes = [note[:_NOTE] for note in dict.fromkeys(notes)][:_NOTES]
    result: dict[str, Any] = {"end": "finished", "error": "", "notes": notes, **facts}
    if stopped is not None:
        result["end"], result["error"] = _classified(stopped)
    elif job.final:
        os.rename(job.output, job.final)
        sync_directory(".")
    return result


def estimate(job: Job, board: Board) -> dict[str, Any]:
    """Count the pages of a dump of the job's level: ``kept`` of the result."""
    from vmsieve.filters.gather import gather_knowledge_from
    from vmsieve.formats.systems import open_system
    from vmsieve.pipeline.capture.heartbeat import Heartbeat
    from vmsieve.pipeline.dump.scan import scan

    try:
        with interruptible():
            source = open_system(job.input)
            knowledge = gather_knowledge_from(job.basis, source)
            scanned = scan(source, knowledge, job.level, Heartbeat(job, board))
            return {"end": "finished", "error": "", "kept": scanned.kept.count(), "weaker": scanned.weaker}
    except BaseException as error:
        end, sentence = _classified(error)
        return {"end": end, "error": sentence}
