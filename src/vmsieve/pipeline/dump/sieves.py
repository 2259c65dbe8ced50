"""The scan by several threads: each sieves a block of page frames by itself, and the results are joined in order.

A free block or a compound page may reach from one block of page frames into the next, though none of a sound kernel
does: they are aligned to their size. So each block is sieved as if nothing reached into it, and its result counts only
if that turns out to be true. From the first block on where it is not, or where anything else is unusual (struct pages
that can't be read, that contradict each other, or that are not stored as they are), one thread does the rest.
"""

from __future__ import annotations

from vmsieve.filters.ahead import BlockAhead
from vmsieve.formats.slim.typing import TYPE_CHECKING, Any
from vmsieve.pipeline.dump.pool import ordered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vmsieve.filters.classify import Classifier
    from vmsieve.filters.histogram import Histogram

    #: First page frame, and the bitmaps of pages that exist, that are stored and that are kept.
    Block = tuple[int, bytearray, bytearray, bytearray]


class _Block(BlockAhead):
    """A block of page frames in work, and its bitmaps."""

    exists = bytearray()
    stored = bytearray()


def sieve_blocks(
    classifier: Classifier, firsts: Iterator[int], bits: Callable[[int], tuple[bytearray, bytearray]],
    histogram: Histogram, threads: int, warn: Callable[[str], None],
) -> Iterator[Block]:  # fmt: skip
    """Sieve the blocks of the page frames ``firsts``; ``bits`` returns the first two bitmaps of one."""
    claimed: list[int] = []

    def claim(block: _Block) -> bool:
        first = next(firsts, None)
        if first is None:
            return False
        claimed.append(first)
        block.exists, block.stored = bits(first)
        block.begin(first, bytearray(block.stored))
        return True

    blocks: Any = ordered(threads, lambda: _Block(classifier), claim, _Block.work, warn)
    try:
        for block in blocks:
            if not block.join(histogram):
                break
            del claimed[0]
            yield block.first, block.exists, block.stored, block.kept
        else:
            return
    finally:
        blocks.close()  # no thread works after this
    # Behind a surprise there are more as a rule; and threads that start over for each would take longer than one.
    block.undo()
    for first in (*claimed, *firsts):
        exists, stored = bits(first)
        kept = bytearray(stored)
        classifier.sieve(first, kept, histogram)
        yield first, exists, stored, kept
