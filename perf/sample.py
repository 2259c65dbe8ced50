"""Nonzero pages of a real dump for benchmarks, spread over the whole dump."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from vmsieve.filters.gather import gather_knowledge
from vmsieve.formats.bitmap import address_of
from vmsieve.formats.inputs import open_source
from vmsieve.formats.loops.compare import zero_pages
from vmsieve.pipeline.dump.batches import Gatherer, PageBatch
from vmsieve.pipeline.dump.scan import scan
from vmsieve.pipeline.process.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_sample"]


def write_sample(dump: Path, out: Path, pages: int, level: int = 0) -> int:
    """Write about ``pages`` nonzero pages of 4 KiB that ``level`` keeps; return their number.

    Raises:
        ValueError: The dump has another page size.
    """
    source = open_source(str(dump))
    knowledge = gather_knowledge(source)
    if knowledge.page_size != 4096:
        raise ValueError("only dumps with pages of 4 KiB are sampled")
    found = scan(source, knowledge, level, Silent())
    gatherer, batch = Gatherer(found.kept, found.stored, source), PageBatch(4096)
    zeros = bytearray(batch.room)
    step = max(1, found.kept.count() // (2 * pages))
    written = number = 0
    with out.open("wb") as file:
        while gatherer.claim(batch) and written < pages:
            number += 1
            if number % step:
                continue
            batch.read(source)
            zero_pages(batch.address, ctypes.addressof(batch.index), batch.count, 4096, address_of(zeros))
            for k in range(batch.count):
                if not zeros[k] and k not in batch.bad and written < pages:
                    file.write(ctypes.string_at(batch.address + batch.index[k] * 4096, 4096))
                    written += 1
    source.close()
    return written
