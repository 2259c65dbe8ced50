"""What a child of a capture does first: the kernel's log, which is small and tells the most.

It takes half of what a dump does, and is written before the other half is loaded.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from vmsieve.filters.linux.printk import kernel_log
from vmsieve.filters.gather import gather_knowledge_from
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.errors import KernelError, VmsieveError
from vmsieve.formats.systems import open_system
from vmsieve.pipeline.capture import child
from vmsieve.pipeline.process.writing import open_output, sync_directory

if TYPE_CHECKING:
    from vmsieve.pipeline.capture.child import Board
    from vmsieve.pipeline.capture.job import Job

__all__ = ["show_log", "write_log"]

_GATHERED = 64 << 10
_SHOWN = 100  # lines of the log that a console is shown


def write_log(job: Job, board: Board) -> dict[str, Any]:
    """Write the kernel log to its own file; a log that breaks off keeps the name of an incomplete one."""
    board.tell(child.LOG, 0, 0)
    log: dict[str, Any] = {"file": job.log_partial, "bytes": 0, "complete": False, "error": ""}
    # What an earlier step has of it stays until there is more.
    made = job.log_partial if not os.path.lexists(job.log_partial) else f"{job.log_partial}.new"
    try:
        source = open_system(job.input)
        try:
            knowledge = gather_knowledge_from(job.basis, source)
            if knowledge.memory is None or knowledge.info is None:
                raise KernelError(f"the kernel log can't be found: {knowledge.problem}")
            with open(made, "wb", buffering=_GATHERED, opener=_made) as out:
                _copy_log(log, out, kernel_log(knowledge.memory, knowledge.info))
        finally:
            source.close()
    except (VmsieveError, OSError) as error:
        log["error"] = str(error)
    _name_log(job, log, made)
    if log["complete"]:
        board.log(log["bytes"])
    return log


def _made(path: str, flags: int) -> int:
    """Opener of a file that is made; what an earlier step had there goes."""
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
                out.flush()  # the first one; what follows comes in larger pieces
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
        sync_directory(".")
    except OSError as error:
        log["error"] = log["error"] or str(error)


def show_log(path: str) -> dict[str, Any]:
    """The last lines of the kernel log of the dump at ``path``, on standard error."""
    try:
        source = open_system(path)
        knowledge = gather_knowledge_from("note", source)
        if knowledge.memory is None or knowledge.info is None:
            raise KernelError(f"it can't be found: {knowledge.problem}")
        last: list[bytes] = []
        for line in kernel_log(knowledge.memory, knowledge.info):
            last = [*last[1 - _SHOWN :], line]
        os.write(2, b"".join(last))
    except (VmsieveError, OSError) as error:
        return {"end": "failed", "error": str(error)}
    return {"end": "finished", "error": ""}
