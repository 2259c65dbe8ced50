"""Blocks of page frames, for the commands that look at every page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmsieve.formats.bitmap import BLOCK, Bitmap
from vmsieve.pipeline.dump.scan import blocks_with_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.classify import Classifier
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.process.progress import Progress


def walk_blocks(title: str, end_pfn: int, page_size: int, progress: Progress, *sources: Source) -> Iterator[int]:
    """Yield the first page frame of each block with memory below ``end_pfn``; ``progress`` follows."""
    progress.step(title, end_pfn, page_size)
    done = 0
    for first in blocks_with_memory(end_pfn, page_size, *sources):
        yield first
        progress.advance(min(first + BLOCK, end_pfn) - done)
        done = min(first + BLOCK, end_pfn)


def block_bitmap(first: int, bits: bytearray) -> Bitmap:
    """Return a bitmap whose only block is that of page frame ``first``, with these bits."""
    bitmap = Bitmap()
    put_block(bitmap, first, bits)
    return bitmap


def put_block(bitmap: Bitmap, first: int, bits: bytearray) -> None:
    """Append the block of page frame ``first`` to ``bitmap``, after blocks of zeros for those not put."""
    bitmap.skip(first // BLOCK - len(bitmap))
    bitmap.append(bits)


def classify_block(classifier: Classifier | None, first: int, classes: bytearray) -> None:
    """Fill ``classes`` with the class of each page frame of the block at ``first``; 0 without a classifier."""
    classes[:] = bytes(BLOCK)
    if classifier is not None:
        for pfn, found, count in classifier.classify(first, first + BLOCK):
            classes[pfn - first : pfn - first + count] = found[:count]
