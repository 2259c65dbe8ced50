"""Reading ahead of the workers: the source is told what will be read, some MiB before it is.

Loaded if the source can use it: /proc/vmcore can't.
"""

from __future__ import annotations

import ctypes

from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, address_of
from vmsieve.formats.errors import VmsieveError
from vmsieve.formats.loops import bits
from vmsieve.formats.slim.contexts import suppress
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.pipeline.dump.batches import BRIDGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.filters.linux.memmap import MemMap
    from vmsieve.filters.linux.memory import VirtualMemory
    from vmsieve.formats.bitmap import Bitmap
    from vmsieve.formats.inputs import Source
    from vmsieve.pipeline.dump.batches import Chunk
    from vmsieve.pipeline.dump.order import Claim

#: Bytes of pages that are announced ahead of those being read.
_AHEAD = 24 << 20
#: Bytes of pages that are announced at a time.
_STEP = 8 << 20
_MOST_SPANS = 1024
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
        self._wanted, self._stored, self._source, self._page_size = wanted, stored, source, page_size
        self._numbers = wanted.filled()
        self._number, self._bit = 0, BLOCK
        self._blocks = bytearray(BLOCK_BYTES), bytearray(BLOCK_BYTES)
        self._zeros: bytearray | None = None
        self._most = max(1, _STEP // page_size)
        self._spans = (ctypes.c_uint64 * (2 * _MOST_SPANS))()
        self._index, self._pfns = (ctypes.c_uint32 * self._most)(), (ctypes.c_uint64 * self._most)()
        self._result = (ctypes.c_uint64 * bits.GATHER_WORDS)()
        self._lead = 0  # pages announced and not yet read

    def follow(self, pages: int) -> bool:
        """Announce more, as ``pages`` more are being read; False if there is no more to announce."""
        self._lead -= pages
        while self._lead * self._page_size < _AHEAD:
            count = self._gather()
            if not count:
                return False
            self._lead += count
            size, base = self._page_size, self._number * BLOCK
            spans = zip(*[iter(self._spans[: 2 * self._result[2]])] * 2)
            if not self._source.will_read([((base + first) * size, pages * size) for first, pages in spans]):
                return False
        return True

    def _gather(self) -> int:
        """Choose the next pages; returns their number, 0 at the end."""
        while True:
            if self._bit >= BLOCK:
                self._number = next(self._numbers, -1)
                if self._number < 0:
                    return 0
                self._blocks[0][:] = self._wanted[self._number]
                self._blocks[1][:] = self._stored[self._number]
                self._zeros = self._source.zero_bits(self._number * BLOCK, BLOCK, self._page_size)
                self._bit = 0
            wanted, stored = map(address_of, self._blocks)
            found = bits.gather_pages(
                wanted, stored, self._bit, BLOCK, self._most, self._most, BRIDGE,
                ctypes.addressof(self._spans), _MOST_SPANS, ctypes.addressof(self._index),
                ctypes.addressof(self._pfns), 0, ctypes.addressof(self._result),
                address_of(self._zeros) if self._zeros is not None else 0,
            )  # fmt: skip
            self._bit = self._result[0]
            if found:
                return found
