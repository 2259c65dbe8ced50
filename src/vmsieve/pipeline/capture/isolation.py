"""What touches the target runs in another process: a server that does not answer holds the one that asks it."""

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

__all__ = ["ask_target", "opened", "reopened"]

#: Seconds in which a target answers that was not taken away.
_ANSWER = 10.0


def ask_target(question: Callable[[], Any], target: Target, watcher: Watcher, board: Board) -> dict[str, Any]:
    """The ``answer`` to a question about ``target``; without an answer, ``end`` says why: ``stalled`` or another."""

    def work(_: Board) -> dict[str, Any]:
        target.enter()
        return {"end": "finished", "answer": question(), "state": target.state}

    told = watcher.run(work, board, Limits(stall=_ANSWER), calm=True)
    if told["end"] == "crashed":
        # No memory for another process: the target does not hang at least.
        try:
            told = work(board)
        except OSError:
            return told
    if "state" in told:
        target.state = told["state"]
    return told


def opened(request: Request, watcher: Watcher, board: Board) -> Target:
    """The target that ``request`` names.

    Raises:
        OSError: It can't be opened, or does not answer.
        ValueError: It is no target.
    """

    def make(board: Board) -> Target:
        from vmsieve.pipeline.capture.opening import open_target

        return open_target(request, board)

    return _open_in_child(make, watcher, board, min(request.stall, request.deadline or request.stall))


def reopened(target: Target, watcher: Watcher, board: Board) -> Target:
    """The directory of ``target``, which was removed, made anew on the same medium.

    Raises:
        OSError: It can't be made, or does not answer.
    """

    def make(_: Board) -> Target:
        from vmsieve.pipeline.capture.opening import reopen

        return reopen(target)

    return _open_in_child(make, watcher, board, _ANSWER)


def _open_in_child(make: Callable[[Board], Target], watcher: Watcher, board: Board, patience: float) -> Target:
    """The target that ``make`` opens in a child; its descriptor comes through a socket."""
    import _socket

    here, there = _socket.socketpair()

    def work(board: Board) -> dict[str, Any]:
        try:
            target = make(board)
        except ValueError as error:
            return {"end": "usage", "error": str(error)}
        except OSError as error:
            return {"end": "failed", "errno": error.errno, "error": error.strerror}
        if target.held is not None:
            rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, target.held.to_bytes(4, sys.byteorder))
            there.sendmsg([b"."], [rights])
        return {"end": "finished", "target": target.facts()}

    try:
        told = watcher.run(work, board, Limits(stall=patience))
        there.close()
        if "target" in told:
            _, sent, _, _ = here.recvmsg(1, _socket.CMSG_LEN(4), _socket.MSG_CMSG_CLOEXEC)
            return Target(**told["target"], held=int.from_bytes(sent[0][2], sys.byteorder) if sent else None)
    finally:
        here.close()
    if told["end"] == "usage":
        raise ValueError(told["error"])
    if told["end"] == "stalled":
        raise OSError(errno.ETIMEDOUT, "it does not answer")
    if told["end"] == "failed":
        raise OSError(told["errno"], told["error"])
    if watcher.asked:
        raise OSError(errno.EINTR, os.strerror(errno.EINTR))
    # No memory for another process.
    return make(board)
