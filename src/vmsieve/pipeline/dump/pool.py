"""Work shared among threads, with results in order and in bounded memory.

The number of buffers is fixed. A worker takes a free buffer before it claims work, so the worker with the next result
in order always has the memory to finish it.
"""

from __future__ import annotations

import os

from vmsieve.formats.places.writeback import available
from vmsieve.formats.slim.typing import TYPE_CHECKING, Callable, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of available memory for each thread: it takes some 10 MiB, and a crash kernel needs the rest.
_MEMORY_A_THREAD = 32 << 20

B = TypeVar("B")


def usable_cores() -> int:
    """The cores that this process may use."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def affordable(threads: int) -> int:
    """Limit a number of threads by the usable cores and the available memory; at least one."""
    memory = available() or _MEMORY_A_THREAD * threads
    return max(1, min(threads, usable_cores(), memory // _MEMORY_A_THREAD))


def ordered(
    threads: int,  # with the calling one, which works while no result is ready: so no more threads than cores
    make_buffer: Callable[[], B],  # called at most 2 * threads times
    claim: Callable[[B], bool],  # stores the next piece of work in a buffer, one call at a time; False if none is left
    work: Callable[[B], None],  # does the work in a buffer; calls run in parallel
    warn: Callable[[str], None],  # receives a message if fewer threads can be started
) -> Iterator[B]:
    """Yield filled buffers in the order they were claimed; each is reused after the next iteration.

    Exceptions of ``claim`` and ``work`` are raised here, in order.
    """
    if threads > 1:
        # Imported here: a single thread, as in a crash kernel, saves the half megabyte that threads need.
        from vmsieve.pipeline.dump.workers import Workers

        pool = Workers(make_buffer, claim, work)
        started = pool.start(threads)
        if started < threads:
            warn(f"only {started} of {threads} threads can be started")
        if started > 1:
            yield from pool.results(started)
            return
    buffer = make_buffer()
    while claim(buffer):
        work(buffer)
        yield buffer
