"""A compressed frame around the output: content is packed in blocks by several threads, and sent in order."""

from __future__ import annotations

import queue
import threading
from collections import deque

from vmsieve.formats.errors import OutputError
from vmsieve.formats.slim.arrays import array
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Callable

    from vmsieve.formats.frames import Frame
    from vmsieve.formats.places import Sender


class _Block:
    """A block of content, and then of packed bytes.

    The thread that packs it holds the lock. It is reentrant, since a signal may interrupt :meth:`pack`, which is then
    called again.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.content = bytearray()
        self.size = 0
        self.packed: bytes | None = None

    def pack(self, pack: Callable[[bytearray], bytes]) -> bytes:
        """Return the packed block, packed by the first caller; after a failure, the next caller tries again."""
        with self.lock:
            if self.packed is None:
                self.size = len(self.content)
                self.packed = pack(self.content)
                self.content = bytearray()
            return self.packed


class FramedStream:
    """Takes content in order and sends it in a frame.

    A signal may raise an exception anywhere. So a block stays in the queue until it is sent, and :meth:`finish`
    continues from there.
    """

    def __init__(self, frame: Frame, level: int, threads: int, sender: Sender) -> None:
        """Start ``threads`` threads that pack; with one, the calling thread packs. Raises UnsupportedError."""
        self._frame = frame
        self._sender = sender
        self._pack = frame.packer(level)
        #: Blocks to send; the last one is being filled.
        self._blocks = deque([_Block()])
        self._packed, self._content = array("Q"), array("Q")
        #: Stays True if sending was interrupted: how much went out is unknown, so nothing may follow.
        self._sending = False
        self._most = threads + 2 if threads > 1 else 1
        self._work: queue.SimpleQueue[_Block | None] = queue.SimpleQueue()
        self._workers = 0
        for _ in range(threads if threads > 1 else 0):
            thread = threading.Thread(target=self._run, args=(frame.packer(level),), daemon=True)
            with suppress(RuntimeError):  # works with fewer threads: the calling thread packs the remaining blocks
                thread.start()
                self._workers += 1

    def _run(self, pack: Callable[[bytearray], bytes]) -> None:
        while (block := self._work.get()) is not None:
            with suppress(Exception):  # the calling thread tries again, and gets the error
                block.pack(pack)

    def write(self, data: memoryview) -> None:
        """Take all of ``data``; raises OutputError if a packed block can't be sent."""
        while data:
            block = self._blocks[-1]
            space = self._frame.block - len(block.content)
            block.content += data[:space]
            data = data[space:]
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
        block.packed = b""  # frees it; the block may still be in the queue of the threads
        self._sending = False

    def finish(self) -> None:
        """Send what is left; raises OutputError if that fails, or sending was interrupted before."""
        if self._sending:
            raise OutputError("the frame was interrupted: its last block is not whole")
        while self._blocks and (self._blocks[0].packed or self._blocks[0].content):
            self._send()
        self._sender.send(self._frame.ending(self._packed, self._content))

    def close(self) -> None:
        """Make the threads end, without waiting for them."""
        while self._workers:
            self._workers -= 1
            self._work.put(None)
