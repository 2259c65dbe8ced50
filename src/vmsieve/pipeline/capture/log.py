"""Writes the kernel log, a child's first work: it is small, and the most useful part of a dump.

It needs half of the modules of a dump, and is written before the other half is loaded.
"""

from __future__ import annotations

import os

from vmsieve.filters.gather import gather_knowledge_from
from vmsieve.filters.linux.printk import kernel_log
from vmsieve.formats.errors import KernelError, VmsieveError
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any
from vmsieve.formats.systems import open_system
from vmsieve.pipeline.capture import child
from vmsieve.pipeline.process.writing import open_output, sync_directory

if TYPE_CHECKING:
    from vmsieve.pipeline.capture.child import Board
    from vmsieve.pipeline.capture.job import Job

_BUFFER = 64 << 10
_SHOWN = 100  # lines printed on a console


def write_log(job: Job, board: Board) -> dict[str, Any]:
    """Write the kernel log to a file, which keeps its incomplete name if the log breaks off; returns its entry."""
    board.tell(child.LOG, 0, 0)
    log: dict[str, Any] = {"file": job.log_partial, "bytes": 0, "complete": False, "error": ""}
    # An earlier step's partial log stays until this one is longer.
    made = job.log_partial if not os.path.lexists(job.log_partial) else f"{job.log_partial}.new"
    try:
        source = open_system(job.input)
        try:
            knowledge = gather_knowledge_from(job.basis, source)
            if knowledge.memory is None or knowledge.info is None:
                raise KernelError(f"the kernel log can't be found: {knowledge.problem}")
            with open(made, "wb", buffering=_BUFFER, opener=_made) as out:
                _copy_log(log, out, kernel_log(knowledge.memory, knowledge.info))
        finally:
            source.close()
    except (VmsieveError, OSError) as error:
        log["error"] = str(error)
    _name_log(job, log, made)
    if log["complete"]:
        board.logged = log["bytes"]
    return log


def _made(path: str, flags: int) -> int:
    """Opener for ``open``: creates a file, replacing an earlier step's."""
    del flags
    with suppress(FileNotFoundError):
        os.unlink(path)
    return open_output(path, beside=False).fd


def _copy_log(log: dict[str, Any], out: Any, lines: Any) -> None:
    try:
        for line in lines:
            out.write(line)
            log["bytes"] += len(line)
            if log["bytes"] == len(line):
                out.flush()  # the first line at once, the rest buffered
        log["complete"] = True
    except VmsieveError as error:
        log["error"] = str(error)
    finally:
        out.flush()
        os.fsync(out.fileno())


def _name_log(job: Job, log: dict[str, Any], made: str) -> None:
    """Rename the log by its completeness; a partial log no longer than the earlier one is deleted."""
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
        sync_directory(".")
    except OSError as error:
        log["error"] = log["error"] or str(error)


def show_log(path: str) -> dict[str, Any]:
    """Print the last lines of the kernel log of the dump at ``path`` on standard error."""
    try:
        source = open_system(path)
        knowledge = gather_knowledge_from("note", source)
        if knowledge.memory is None or knowledge.info is None:
            raise KernelError(f"not found: {knowledge.problem}")
        last: list[bytes] = []
        for line in kernel_log(knowledge.memory, knowledge.info):
            last = [*last[1 - _SHOWN :], line]
        os.write(2, b"".join(last))
    except (VmsieveError, OSError) as error:
        return {"end": "failed", "error": str(error)}
    return {"end": "finished", "error": ""}
