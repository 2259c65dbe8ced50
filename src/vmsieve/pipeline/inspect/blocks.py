"""Blocks of page frames and batches of pages, for the commands that look at every page."""

from __future__ import annotations

from ctypes import addressof

from vmsieve.formats.bitmap import BLOCK, Bitmap, address_of
from vmsieve.formats.loops.bits import and_bits
from vmsieve.formats.loops.compare import zero_pages
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.dump.batches import Gatherer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.classify import Classifier
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.dump.batches import PageBatch


def batches_of(first: int, bits: bytearray, pages: PageBatch, *sources: Source) -> Iterator[None]:
    """Choose the pages in ``bits``, the block of page frame ``first``, batch by batch; ``pages`` is each batch."""
    gatherer = gatherer_of(first, bits, *sources)
    while gatherer.claim(pages):
        yield


def gatherer_of(first: int, bits: bytearray, *sources: Source, zeros: bool = False) -> Gatherer:
    """A gatherer of the pages in ``bits``, the block of page frame ``first``.

    ``zeros``: pages that are known to be zeros need not be read.
    """
    wanted = Bitmap()
    wanted.put(first // BLOCK, bits)
    return Gatherer(wanted, wanted, *sources, zeros=zeros)


def classify_block(classifier: Classifier | None, first: int, classes: bytearray) -> None:
    """Fill ``classes`` with the class of each page frame of the block at ``first``; 0 without a classifier."""
    classes[:] = bytes(BLOCK)
    if classifier is not None:
        for pfn, found, count in classifier.classify(first, first + BLOCK):
            classes[pfn - first : pfn - first + count] = found[:count]


def mark_zeros(pages: PageBatch, marks: bytearray) -> int:
    """Set a byte of ``marks`` for each page of a batch: 1 if it is zeros, else 0; return the number of zero pages."""
    return zero_pages(pages.address, addressof(pages.index), pages.count, pages.page_size, address_of(marks))


def keep_common(bits: bytearray, other: bytearray) -> None:
    """Clear the bits of ``bits`` that are clear in ``other``."""
    and_bits(address_of(bits), address_of(other), len(bits), address_of(bits))
