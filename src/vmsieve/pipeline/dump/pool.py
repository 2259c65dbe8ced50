"""Work shared among threads, results in order, nothing unbounded.

Each result is made in a *buffer* that the caller provides, and there are only so many buffers: a worker takes a free
one before it claims work, so whoever claimed the next result in order already has the memory to finish it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable, TypeVar

from vmsieve.formats.places.writeback import available

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["affordable", "ordered", "usable_cores"]

#: Bytes of available memory that each thread is worth: it takes some 10 MiB, and a crash kernel needs the rest.
_MEMORY_A_THREAD = 32 << 20

B = TypeVar("B")


def usable_cores() -> int:
    """The cores that this process may use."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def affordable(threads: int) -> int:
    """As many threads as asked for, but no more than the cores and the available memory are good for; at least one."""
    memory = available() or _MEMORY_A_THREAD * threads
    return max(1, min(threads, usable_cores(), memory // _MEMORY_A_THREAD))


def ordered(
    threads: int,
    make_buffer: Callable[[], B],
    claim: Callable[[B], bool],
    work: Callable[[B], None],
    warn: Callable[[str], None],
) -> Iterator[B]:
    """Yield filled buffers in the order they were claimed.

    Args:
        threads: That work, side by side. The calling one is among them: it works when no result is there to be yielded,
            so that there are no more threads than cores. With one, everything happens there.
        make_buffer: Makes a buffer; ``2 * threads`` are made at the most.
        claim: Fills in what the next piece of work is, one call at a time; False when there is none left.
        work: Does it; calls run side by side, each with its own buffer.
        warn: Told when fewer threads than asked for can be had.

    A yielded buffer is used again after the next step. An exception of ``claim`` or ``work`` is raised here, in order.
    """
    if threads > 1:
        # One thread, as in a crash kernel, does without what threads need: half a megabyte.
        from vmsieve.pipeline.dump.workers import Workers

        pool = Workers(make_buffer, claim, work)
        started = pool.start(threads)
        if started < threads:
            warn(f"only {started} of {threads} threads can be had")
        if started > 1:
            yield from pool.results(started)
            return
    buffer = make_buffer()
    while claim(buffer):
        work(buffer)
        yield buffer
