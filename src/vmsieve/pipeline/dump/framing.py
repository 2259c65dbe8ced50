"""A compressed frame around the output: what is written is packed block by block, on several threads, in order."""

from __future__ import annotations

import queue
import threading
from array import array
from collections import deque
from typing import TYPE_CHECKING

from vmsieve.formats.errors import OutputError, UsageError
from vmsieve.formats.frames import frame as find_frame
from vmsieve.formats.slim.contexts import suppress

if TYPE_CHECKING:
    from typing import Callable

    from vmsieve.formats.frames import Frame
    from vmsieve.formats.places import Sender
    from vmsieve.pipeline.dump.plan import Plan

__all__ = ["FramedStream", "chosen_frame"]


def chosen_frame(plan: Plan) -> tuple[Frame, int] | None:
    """The frame that ``plan`` asks for, and its level; None for no frame.

    Raises:
        UsageError: There is no such frame, or it has no such level.
    """
    if plan.frame is None:
        return None
    frame = find_frame(plan.frame)
    level = frame.default_level if plan.frame_level is None else plan.frame_level
    if not frame.levels[0] <= level <= frame.levels[1]:
        raise UsageError(f"frame {frame.name} has levels {frame.levels[0]} to {frame.levels[1]}", found=level)
    return frame, level


class _Block:
    """Content, until it is packed.

    The lock is held by whoever packs it; a thread that a signal tore out of it can take it again.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.content = bytearray()
        self.size = 0
        self.packed: bytes | None = None

    def pack(self, pack: Callable[[bytearray], bytes]) -> bytes:
        """The packed block; made once, whoever asks first. A failure leaves it for the next one to try."""
        with self.lock:
            if self.packed is None:
                self.size = len(self.content)
                self.packed = pack(self.content)
                self.content = bytearray()
            return self.packed


class FramedStream:
    """Takes content in order and sends it in a frame.

    A signal may raise an exception in the middle of anything. So a block stays where it is until its work is done, and
    :meth:`finish` goes on from there.
    """

    def __init__(self, frame: Frame, level: int, threads: int, sender: Sender) -> None:
        """Get ready.

        Args:
            frame: What kind of frame.
            level: Its level.
            threads: How many blocks are packed side by side; with one, the calling thread does everything.
            sender: Takes the packed bytes.

        Raises:
            UnsupportedError: A package is missing.
        """
        self._frame = frame
        self._sender = sender
        self._pack = frame.packer(level)
        #: Blocks that are not yet sent; the last one is being filled.
        self._blocks = deque([_Block()])
        self._packed, self._content = array("Q"), array("Q")
        #: Stays set when sending was broken off: nobody knows how much went out, so that nothing may follow.
        self._sending = False
        self._most = threads + 2 if threads > 1 else 1
        self._work: queue.SimpleQueue[_Block | None] = queue.SimpleQueue()
        self._workers = 0
        for _ in range(threads if threads > 1 else 0):
            self._start(frame.packer(level))

    def _start(self, pack: Callable[[bytearray], bytes]) -> None:
        try:
            threading.Thread(target=self._run, args=(pack,), daemon=True).start()
        except RuntimeError:
            return  # fewer threads do as well: the caller packs what nobody else does
        self._workers += 1

    def _run(self, pack: Callable[[bytearray], bytes]) -> None:
        while (block := self._work.get()) is not None:
            with suppress(Exception):  # the caller will meet it when it tries
                block.pack(pack)

    def write(self, data: memoryview) -> None:
        """Take ``data``, all of it.

        Raises:
            OutputError: What was packed can't be sent.
        """
        while data:
            block = self._blocks[-1]
            room = self._frame.block - len(block.content)
            block.content += data[:room]
            data = data[room:]
            if len(block.content) == self._frame.block:
                self._blocks.append(_Block())
                if self._workers:
                    self._work.put(block)
                while len(self._blocks) > self._most:
                    self._send()

    def _send(self) -> None:
        """Send the oldest block."""
        block = self._blocks[0]
        packed = block.pack(self._pack)
        self._sending = True
        self._sender.send(packed)
        self._blocks.popleft()
        self._packed.append(len(packed))
        self._content.append(block.size)
        block.packed = b""  # it may still wait for a thread
        self._sending = False

    def finish(self) -> None:
        """Send what is left, and the end of the frame.

        Raises:
            OutputError: It can't be sent, or sending was broken off before.
        """
        if self._sending:
            raise OutputError("the frame was broken off: its last block is not whole")
        while self._blocks and (self._blocks[0].packed or self._blocks[0].content):
            self._send()
        self._sender.send(self._frame.ending(self._packed, self._content))

    def close(self) -> None:
        """Let the threads end. What they pack at the moment is not waited for."""
        while self._workers:
            self._workers -= 1
            self._work.put(None)
