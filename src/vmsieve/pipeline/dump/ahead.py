"""Reading ahead of the workers: the source is told what will be read, some MiB before it is.

Loaded if the source can use it: /proc/vmcore can't.
"""

from __future__ import annotations

from vmsieve.formats.bitmap import BLOCK
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.dump.batches import Chunk, Gatherer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.memmap import MemMap
    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.formats.bitmap import Bitmap
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.dump.order import Claim

#: Bytes of pages that are announced ahead of those being read.
_AHEAD = 24 << 20
#: Bytes of pages that are announced at a time.
_STEP = 8 << 20
#: Bytes of struct pages that one page table entry maps. Each smaller page would take a translation: left to the scan.
_MAPPED = 2 << 20


def announcing(claim: Claim, wanted: Bitmap, stored: Bitmap, source: Source, page_size: int) -> Claim:
    """``claim``, which chooses pages of ``wanted`` in ascending order, with a source that is told ahead."""
    ahead = Ahead(wanted, stored, source, page_size)
    more = ahead.follow(0)

    def claim_and_announce(pages: Chunk) -> bool:
        nonlocal more
        claimed = claim(pages)
        more = more and ahead.follow(pages.count)
        return claimed

    return claim_and_announce


def announcing_struct_pages(firsts: Iterator[int], memory: VirtualMemory, memmap: MemMap) -> Iterator[int]:
    """``firsts``, first page frames of blocks; the source is told of each block's struct pages one block ahead."""
    source, told, more = memory.physical.source, 0, True
    for first in firsts:
        end = first + 2 * BLOCK
        more = more and source.will_read(list(_struct_pages(memory, memmap, max(told, first), end)))
        told = end
        yield first


def _struct_pages(memory: VirtualMemory, memmap: MemMap, first: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the physical ranges (address, size) of struct pages, as far as large pages map them."""
    for run in memmap.runs(first, end):
        vaddr, stop = run.vaddr, run.vaddr + run.count * memmap.struct_page_size
        while vaddr < stop:
            step = min(_MAPPED - vaddr % _MAPPED, stop - vaddr)
            with suppress(VmsieveError):
                paddr, together = memory.translate(vaddr)
                yield paddr, min(together, step)
            vaddr += step


class Ahead:
    """Announces the pages of a bitmap, in ascending order, to the source that has them."""

    def __init__(self, wanted: Bitmap, stored: Bitmap, source: Source, page_size: int) -> None:
        """Announce ``wanted`` pages, which are all in ``stored``."""
        self._source, self._page_size = source, page_size
        self._gatherer = Gatherer(wanted, stored, source, zeros=True)
        self._pages = Chunk(page_size, _STEP)
        self._lead = 0  # pages announced and not yet read

    def follow(self, pages: int) -> bool:
        """Announce more, as ``pages`` more are being read; False if there is no more to announce."""
        self._lead -= pages
        while self._lead * self._page_size < _AHEAD:
            if not self._gatherer.claim(self._pages):
                return False
            self._lead += self._pages.count
            if not self._source.will_read(list(self._pages.spans())):
                return False
        return True
