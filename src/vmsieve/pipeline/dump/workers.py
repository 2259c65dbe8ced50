"""The threads of :mod:`vmsieve.pipeline.dump.pool`."""

from __future__ import annotations

import queue
import threading

from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

B = TypeVar("B")


class Workers(Generic[B]):
    """See :func:`vmsieve.pipeline.dump.pool.ordered`."""

    def __init__(self, make_buffer: Callable[[], B], claim: Callable[[B], bool], work: Callable[[B], None]) -> None:
        self._make_buffer, self._claim, self._work = make_buffer, claim, work
        self._free: queue.Queue[B | None] = queue.Queue()
        self._claiming = threading.Lock()
        self._changed = threading.Condition()
        self._finished: dict[int, B | BaseException] = {}
        self._claimed = 0
        self._running = 0
        self._stop = False

    def start(self, threads: int) -> int:
        """Start ``threads - 1`` threads; returns the number that work, including the calling one."""
        for _ in range(threads - 1):
            thread = threading.Thread(target=self._run, daemon=True)
            try:
                with self._changed:
                    self._running += 1
                thread.start()
            except RuntimeError:
                with self._changed:
                    self._running -= 1
                break
        return self._running + 1

    def _run(self) -> None:
        try:
            while True:
                buffer = self._free.get()
                if buffer is None or not self._do_one(buffer):
                    return
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify()

    def _do_one(self, buffer: B) -> bool:
        """Claim a piece of work and do it; False if none is left."""
        with self._claiming:
            if self._stop:
                return False
            number = self._claimed
            result: B | BaseException = buffer
            try:
                if not self._claim(buffer):
                    self._stop = True
                    return False
            except BaseException as error:  # raised by results()
                result = error
            self._claimed += 1
            if result is not buffer:
                self._stop = True
        if result is buffer:
            try:
                self._work(buffer)
            except BaseException as error:
                result = error
        with self._changed:
            self._finished[number] = result
            self._changed.notify()
        return True

    def _is_over(self, number: int) -> bool:
        """True if there will be no result with this number."""
        return self._stop and number >= self._claimed

    def _wait_for(self, number: int) -> B | BaseException | None:
        """Wait for the result with this number; None after the last one."""
        while number not in self._finished and not self._is_over(number):
            # Work in the calling thread instead of waiting, as long as work and a buffer are left.
            with suppress(queue.Empty):
                buffer = self._free.get_nowait()
                if buffer is not None and self._do_one(buffer):
                    continue
            with self._changed:
                while number not in self._finished and not self._is_over(number) and self._free.empty():
                    self._changed.wait()
        return self._finished.pop(number, None)

    def results(self, threads: int) -> Iterator[B]:
        """Yield the filled buffers in the order of their claims, and then end the threads."""
        try:
            for _ in range(2 * threads):
                self._free.put(self._make_buffer())
            number = 0
            while True:
                result = self._wait_for(number)
                if result is None:
                    return
                if isinstance(result, BaseException):
                    raise result
                yield result
                self._free.put(result)
                number += 1
        finally:
            self._stop = True
            for _ in range(threads):
                self._free.put(None)
            with self._changed:
                while self._running:
                    self._changed.wait()
