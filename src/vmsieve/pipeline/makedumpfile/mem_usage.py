"""``--mem-usage``: counts the pages of each type."""

from __future__ import annotations

import os

from vmsieve.formats.errors import FormatError
from vmsieve.formats.live import CRASH_KERNEL, iomem_ranges
from vmsieve.formats.outputs import Writer
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.pipeline.dump.copy import CopyJob, copy_pages
from vmsieve.pipeline.dump.scan import scan
from vmsieve.pipeline.dump.watch import Through
from vmsieve.pipeline.makedumpfile.kernel_info import opened
from vmsieve.pipeline.makedumpfile.reports import usage_lines
from vmsieve.pipeline.process.exits import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from vmsieve.formats.inputs import Source
    from vmsieve.formats.outputs import Batch
    from vmsieve.pipeline.makedumpfile.messages import Messages
    from vmsieve.pipeline.makedumpfile.request import Request

_KCORE: Final = "/proc/kcore"
_LEVEL: Final = 31  # counts all classes that a dump may leave out, and the zero pages of the rest


class _Nowhere(Writer):
    """Discards pages, which are read only to be counted."""

    def begin(self) -> None: ...

    def pages(self, batch: Batch) -> None: ...

    def end(self, *, complete: bool) -> None: ...


class Excluding(Through):
    """A source without some ranges of its memory."""

    def __init__(self, inner: Source, ranges: list[tuple[int, int]]) -> None:
        """Exclude the pages that lie wholly within ``ranges`` (start and end address)."""
        super().__init__(inner)
        self._ranges = ranges

    def memory_bits(self, first_pfn: int, count: int, page_size: int) -> tuple[bytearray, bytearray]:
        exists, stored = super().memory_bits(first_pfn, count, page_size)
        for start, end in self._ranges:
            first = max(-(-start // page_size) - first_pfn, 0)
            last = min(end // page_size - first_pfn, count)
            if first < last:
                left = ~((1 << last) - (1 << first))
                for bits in (exists, stored):
                    bits[:] = (int.from_bytes(bits, "little") & left).to_bytes(len(bits), "little")
        return exists, stored


def show_usage(request: Request, messages: Messages) -> int:
    """Print the table of page types; returns the exit status."""
    with opened(request) as (source, knowledge):
        if os.path.realpath(request.operands[0]) == _KCORE:
            source = Excluding(source, _reserved(messages))
        progress = messages.progress()
        scanned = scan(source, knowledge, _LEVEL, progress, whole=False)
        notes = source.remarks + knowledge.notes + scanned.notes
        job = CopyJob(source, scanned, knowledge.page_size, _Nowhere(), progress, notes, drop_zero=True)
        copy_pages(job)
        progress.close()
        messages.errors(notes)
        counts, stored = {**scanned.counts, "zero": job.copied.zero}, scanned.stored.count()
    for line in usage_lines(counts, stored, knowledge.page_size):
        messages.common(line)
    return EXIT_FAILED if scanned.weaker else EXIT_OK


def _reserved(messages: Messages) -> list[tuple[int, int]]:
    """Ranges reserved for the crash kernel, which a dump of this machine will not contain."""
    try:
        return iomem_ranges(CRASH_KERNEL)
    except FormatError as error:
        messages.error(f"the memory of the crash kernel is counted too: {error}")
        return []
