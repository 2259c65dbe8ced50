"""The threads of :mod:`vmsieve.pipeline.pool`."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Callable, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Workers"]

B = TypeVar("B")


class Workers(Generic[B]):
    """See :func:`vmsieve.pipeline.pool.ordered`."""

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
        """Start so many threads; returns how many there are, which may be fewer."""
        for _ in range(threads):
            thread = threading.Thread(target=self._run, daemon=True)
            try:
                with self._changed:
                    self._running += 1
                thread.start()
            except RuntimeError:
                with self._changed:
                    self._running -= 1
                break
        return self._running

    def _run(self) -> None:
        try:
            while True:
                buffer = self._free.get()
                if buffer is None:
                    return
                with self._claiming:
                    if self._stop:
                        return
                    number = self._claimed
                    result: B | BaseException = buffer
                    try:
                        if not self._claim(buffer):
                            self._stop = True
                            return
                    except BaseException as error:  # handed to the reader of the results
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
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify()

    def results(self, threads: int) -> Iterator[B]:
        """Filled buffers in the order of their claims; ``threads``: how many were asked for."""
        try:
            for _ in range(self._running + 2):
                self._free.put(self._make_buffer())
            number = 0
            while True:
                with self._changed:
                    while number not in self._finished and (self._running or number < self._claimed):
                        if self._stop and number >= self._claimed:
                            return
                        self._changed.wait()
                    if number not in self._finished:
                        return
                    result = self._finished.pop(number)
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
