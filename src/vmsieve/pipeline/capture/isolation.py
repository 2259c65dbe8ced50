"""Runs everything that touches the target in a child: a server that hangs blocks the process that asks it."""

from __future__ import annotations

import errno
import os
import sys

from vmsieve.pipeline.capture.child import Limits
from vmsieve.pipeline.capture.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vmsieve.pipeline.capture.child import Board, Watcher
    from vmsieve.pipeline.capture.options import Request

_ANSWER = 10.0  # seconds after which a target that does not answer counts as hanging


def ask_target(question: Callable[[], Any], target: Target, watcher: Watcher, board: Board) -> dict[str, Any]:
    """Call ``question`` in a child; the result has its ``answer``, or an ``end`` other than ``finished``."""

    def work(_: Board) -> dict[str, Any]:
        target.enter()
        return {"end": "finished", "answer": question(), "state": target.state}

    result = watcher.run(work, board, Limits(stall=_ANSWER), calm=True)
    if result["end"] == "crashed":
        # fork() failed for lack of memory: ask in this process, at the risk that the target hangs.
        try:
            result = work(board)
        except OSError:
            return result
    if "state" in result:
        target.state = result["state"]
    return result


def opened(request: Request, watcher: Watcher, board: Board) -> Target:
    """Open the target of ``request``; raises OSError if that fails or times out, ValueError for a regular file."""
    patience = min(request.stall, request.deadline or request.stall)
    return _open_in_child(lambda opening: opening.open_target(request, board), watcher, board, patience)


def reopened(target: Target, watcher: Watcher, board: Board) -> Target:
    """Recreate the directory of ``target``, which was removed, on the same medium; raises OSError as :func:`opened`."""
    return _open_in_child(lambda opening: opening.reopen(target), watcher, board, _ANSWER)


def _open_in_child(make: Callable[[Any], Target], watcher: Watcher, board: Board, patience: float) -> Target:
    """Call ``make`` with :mod:`.opening` in a child, and receive its target.

    The file descriptor comes through a socket (SCM_RIGHTS).
    """
    import _socket

    here, there = _socket.socketpair()

    def work(_: Board) -> dict[str, Any]:
        from vmsieve.pipeline.capture import opening

        try:
            target = make(opening)
        except ValueError as error:
            return {"end": "usage", "error": str(error)}
        except OSError as error:
            return {"end": "failed", "errno": error.errno, "error": error.strerror}
        if target.held is not None:
            rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, target.held.to_bytes(4, sys.byteorder))
            there.sendmsg([b"."], [rights])
        return {"end": "finished", "target": target.facts()}

    try:
        result = watcher.run(work, board, Limits(stall=patience))
        there.close()
        if "target" in result:
            _, sent, _, _ = here.recvmsg(1, _socket.CMSG_LEN(4), _socket.MSG_CMSG_CLOEXEC)
            return Target(**result["target"], held=int.from_bytes(sent[0][2], sys.byteorder) if sent else None)
    finally:
        here.close()
    if result["end"] == "usage":
        raise ValueError(result["error"])
    if result["end"] == "stalled":
        raise OSError(errno.ETIMEDOUT, "it does not answer")
    if result["end"] == "failed":
        raise OSError(result["errno"], result["error"])
    if watcher.asked:
        raise OSError(errno.EINTR, os.strerror(errno.EINTR))
    # fork() failed for lack of memory.
    from vmsieve.pipeline.capture import opening

    return make(opening)
