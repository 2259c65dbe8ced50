"""Work shared among threads: order, errors, early ends, and freedom from deadlock."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, TypeVar

import pytest

from vmsieve.pipeline.dump.pool import ordered, usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
_PATIENCE = 30.0  # seconds; far more than any test takes


def in_time(function: Callable[[], T]) -> T:
    """The result of ``function``, or a failure if it does not end; its exception is raised here."""
    result: list[T] = []
    problem: list[BaseException] = []

    def call() -> None:
        try:
            result.append(function())
        except BaseException as error:
            problem.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    assert not thread.is_alive(), "it waits for ever"
    if problem:
        raise problem[0]
    return result[0]


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(_PATIENCE)
        assert not thread.is_alive(), thread


@dataclass
class Buffer:
    number: int = -1
    made_of: int = -1


@dataclass
class Job:
    """Numbers below ``end``, doubled; records its calls for the tests."""

    end: int
    fail_claim: int = -1
    fail_work: int = -1
    fail_buffer: int = -1
    naps: bool = False
    claimed: int = 0
    buffers: list[Buffer] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    workers: set[int] = field(default_factory=set)
    in_claim: int = 0

    def buffer(self) -> Buffer:
        if len(self.buffers) == self.fail_buffer:
            raise MemoryError
        self.buffers.append(Buffer())
        return self.buffers[-1]

    def claim(self, buffer: Buffer) -> bool:
        self.in_claim += 1
        assert self.in_claim == 1, "two claims at once"
        if self.claimed == self.fail_claim:
            self.in_claim -= 1
            raise LookupError(f"claim {self.claimed}")
        buffer.number = self.claimed
        self.claimed += self.claimed < self.end
        self.in_claim -= 1
        return buffer.number < self.end

    def work(self, buffer: Buffer) -> None:
        self.workers.add(threading.get_ident())
        if self.naps:
            time.sleep(random.random() / 500)
        if buffer.number == self.fail_work:
            raise ArithmeticError(f"work {buffer.number}")
        buffer.made_of = buffer.number * 2

    def run(self, threads: int) -> Iterator[Buffer]:
        return ordered(threads, self.buffer, self.claim, self.work, self.warnings.append)

    def results(self, threads: int) -> list[tuple[int, int]]:
        return [(buffer.number, buffer.made_of) for buffer in self.run(threads)]


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("end", [0, 1, 2, 50])
def test_results_come_in_the_order_they_were_claimed(threads: int, end: int) -> None:
    job = Job(end, naps=True)
    assert in_time(lambda: job.results(threads)) == [(n, 2 * n) for n in range(end)]
    assert len(job.buffers) <= 2 * threads
    assert job.warnings == []


def test_one_thread_works_in_the_calling_thread_with_one_buffer() -> None:
    """No second thread exists unless requested: a crash kernel may have one CPU."""
    job = Job(5)
    assert len(job.results(1)) == 5
    assert job.workers == {threading.get_ident()}
    assert len(job.buffers) == 1


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("number", [0, 1, 7, 19])
@pytest.mark.parametrize(("where", "kind"), [("fail_claim", LookupError), ("fail_work", ArithmeticError)])
def test_an_error_comes_in_its_place(threads: int, number: int, where: str, kind: type[Exception]) -> None:
    """All results before it are yielded first, then it is raised."""
    job = Job(20, naps=True)
    setattr(job, where, number)
    seen: list[int] = []

    def consume() -> None:
        seen.extend(buffer.number for buffer in job.run(threads))

    with pytest.raises(kind, match=str(number)):
        in_time(consume)
    assert seen == list(range(number))


@pytest.mark.parametrize("threads", [2, 5])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_no_memory_for_a_buffer(threads: int, number: int) -> None:
    """Raised to the caller; no thread waits for a buffer endlessly (see the fixture)."""
    job = Job(20, fail_buffer=number)
    with pytest.raises(MemoryError):
        in_time(lambda: job.results(threads))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("after", [0, 1, 7])
def test_the_consumer_may_stop_early(threads: int, after: int) -> None:
    """Closing ends the threads in any state."""
    job = Job(1 << 40, naps=True)

    def consume() -> None:
        results = job.run(threads)
        for _ in range(after):
            next(results)
        results.close()  # type: ignore[attr-defined]

    in_time(consume)
    assert job.claimed <= after + 2 * threads


def test_an_error_of_the_consumer_ends_the_threads() -> None:
    job = Job(1 << 40)

    def consume() -> None:
        for buffer in job.run(3):
            if buffer.number == 3:
                raise KeyError

    with pytest.raises(KeyError):
        in_time(consume)


def test_a_claim_under_way_does_not_undo_the_end() -> None:
    """The consumer stops while a claim runs: that claim is the last one."""
    job = Job(1 << 40)
    go, waiting = threading.Event(), threading.Event()
    plain = job.claim

    def claim(buffer: Buffer) -> bool:
        if job.claimed == 4:
            waiting.set()
            go.wait(_PATIENCE)
        return plain(buffer)

    results: Any = ordered(4, job.buffer, claim, job.work, job.warnings.append)
    # Results 0 and 1 are taken; 2 and 3 are done or being done. Claim 4 waits, in a thread of the pool: the caller
    # claims only when it is asked for a result.
    assert [next(results).number for _ in range(2)] == [0, 1]
    assert waiting.wait(_PATIENCE)
    closing = threading.Thread(target=results.close, daemon=True)
    closing.start()
    time.sleep(0.05)
    go.set()
    closing.join(_PATIENCE)
    assert not closing.is_alive()
    assert job.claimed == 5


@pytest.mark.parametrize("possible", [0, 1, 3])
def test_fewer_threads_than_asked_for(possible: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The started threads do the work, or the caller alone, with a single remark."""
    started = 0
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        nonlocal started
        if started >= possible:
            raise RuntimeError("can't start new thread")
        started += 1
        start(thread)

    job = Job(30)
    monkeypatch.setattr(threading.Thread, "start", limited)
    try:
        found = job.results(5)
    finally:
        monkeypatch.undo()
    assert found == [(n, 2 * n) for n in range(30)]
    assert job.warnings == [f"only {possible + 1} of 5 threads can be started"]
    assert possible > 0 or job.workers == {threading.get_ident()}


def test_the_caller_works_too() -> None:
    """Two threads are one started thread and the caller."""
    job = Job(50, naps=True)
    found = job.results(2)
    assert found == [(n, 2 * n) for n in range(50)]
    assert len(job.workers) == 2
    assert threading.get_ident() in job.workers


def test_a_slow_consumer_is_waited_for() -> None:
    """Workers run ahead by at most the number of buffers."""
    job = Job(100)

    def consume() -> None:
        for buffer in job.run(2):
            if buffer.number % 25 == 0:
                time.sleep(0.02)
            assert job.claimed <= buffer.number + 4

    in_time(consume)
    assert len(job.buffers) == 4


def test_usable_cores_is_a_count() -> None:
    assert usable_cores() >= 1
