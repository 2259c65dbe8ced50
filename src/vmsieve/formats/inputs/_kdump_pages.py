"""Pages of a kdump-compressed file: an index of its bitmaps, and a reader of page data."""

from __future__ import annotations

import sys
from ctypes import addressof, c_uint64

from vmsieve.formats.bitmap import address_of, cut_bits
from vmsieve.formats.codecs import codecs
from vmsieve.formats.codecs._pack import unpack_pages
from vmsieve.formats.errors import ReadError
from vmsieve.formats.files import next_data
from vmsieve.formats.layouts import kdump
from vmsieve.formats.loops import descriptors as plan
from vmsieve.formats.loops.bits import count_bits, join_bits, spread_bits
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.formats.codecs import State
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.inputs._kdump_header import KdumpHeader

#: Page frames per block of the index: 4 KiB of bitmap.
BLOCK: Final = 1 << 15
_BLOCK_BYTES: Final = BLOCK // 8
#: Blocks read at a time to count bits.
_STEP: Final = 64
#: Shortest hole in a file, in bytes, that is skipped: reading less costs nothing, and file systems have reported wrong
#: holes.
_HOLE_LEAST: Final = 16 << 20
#: Bytes of pages unpacked at a time, and cached for small reads.
_BATCH_BYTES: Final = 1 << 20
_CACHE_BYTES: Final = 256 << 10

_REASONS: Final = {
    plan.MISSING: "the dump is incomplete: the page was not written",
    plan.EMPTY: "the page's descriptor is damaged: too few bytes",
    plan.TOO_LONG: "the page's descriptor is damaged: more bytes than a page",
    plan.BEYOND: "the page's data are not in the file",
}


class PageMap:
    """The two bitmaps, which stay in the file, and an index of their blocks: 10 bytes per 32768 pages.

    A file of a split dump has the bitmaps of the whole dump, and stores the pages of its own part.
    """

    def __init__(self, file: ByteFile, header: KdumpHeader) -> None:
        """Count the bits of both bitmaps, one pass each."""
        self._file = file
        self._header = header
        self._size = -(-header.pages // 8)
        blocks = -(-header.pages // BLOCK)
        self._ranks = (c_uint64 * blocks)()
        #: For each block 1 if any of its pages is stored, or exists.
        self._stored = bytearray(blocks)
        self.count = self._rank(header.stored, addressof(self._ranks), self._stored)  # stored pages
        self._exists = bytearray(self._stored)
        if header.exists != header.stored:
            self._rank(header.exists, 0, self._exists)

    def _rank(self, bitmap: int, ranks: int, filled: bytearray) -> int:
        """Index the bitmap at offset ``bitmap``, skipping holes of the file; returns the number of set bits."""
        found, first, blocks, words = 0, 0, len(filled), _BLOCK_BYTES // 8
        while first < blocks:
            hole = next_data(self._file, bitmap + first * _BLOCK_BYTES) - bitmap - first * _BLOCK_BYTES
            if hole >= _HOLE_LEAST:
                count = min(hole // _BLOCK_BYTES, blocks - first)
                plan.rank_blocks(0, count, 0, found, ranks and ranks + first * 8, 0)
            else:
                count = min(_STEP, blocks - first)
                bits = self.bits(bitmap, first * BLOCK, count * BLOCK)
                to = address_of(filled) + first
                found = plan.rank_blocks(address_of(bits), count, words, found, ranks and ranks + first * 8, to)
            first += count
        return found

    def next_block(self, block: int, *, stored: bool) -> int:
        """The first block from ``block`` on with any page that exists, or is ``stored``; -1 if there is none."""
        return (self._stored if stored else self._exists).find(1, block)

    def last_block(self) -> int:
        """The last block with any page that exists, or -1."""
        return self._exists.rfind(1)

    def bits(self, bitmap: int, first_pfn: int, count: int) -> bytearray:
        """Bits of the bitmap at offset ``bitmap``; both numbers are multiples of 8. Bits behind its end are 0."""
        out = bytearray(count // 8)
        start = first_pfn // 8
        size = min(len(out), self._size - start)
        if size > 0:
            if self._file.read_into(bitmap + start, memoryview(out)[:size]) < size:
                raise ReadError("the file has become shorter", file=self._file.name, offset=bitmap + start)
            if start + size == self._size:
                out[size - 1] &= 0xFF >> (-self._header.pages & 7)
        part = self._header.part
        if part is not None and bitmap == self._header.stored:
            cut_bits(out, part[1] - first_pfn, part[0] - first_pfn)
        return out

    def both(self, first_pfn: int, count: int) -> tuple[bytearray, bytearray]:
        """Bitmaps of existing and of stored pages. Stored pages exist even if the first bitmap lacks them."""
        stored = self.bits(self._header.stored, first_pfn, count)
        if self._header.exists == self._header.stored:
            return bytearray(stored), stored
        exists = self.bits(self._header.exists, first_pfn, count)
        either = int.from_bytes(exists, "little") | int.from_bytes(stored, "little")
        return bytearray(either.to_bytes(len(stored), "little")), stored

    def divided(self, first_pfn: int, count: int, ratio: int) -> tuple[bytearray, bytearray]:
        """As :meth:`both`, with ``ratio`` pages per block."""
        low, high = first_pfn // ratio // 8 * 8, -(-(first_pfn + count) // (8 * ratio)) * 8
        outs = bytearray((high - low) * ratio // 8), bytearray((high - low) * ratio // 8)
        for bits, out in zip(self.both(low, high - low), outs):
            spread_bits(address_of(bits), high - low, ratio, address_of(out))
        start = (first_pfn - low * ratio) // 8
        return outs[0][start : start + count // 8], outs[1][start : start + count // 8]

    def joined(self, first_pfn: int, count: int, ratio: int) -> tuple[bytearray, bytearray]:
        """As :meth:`both`, with ``ratio`` blocks per page: a page exists, or is stored, if any of its blocks is."""
        outs = bytearray(count // 8), bytearray(count // 8)
        for bits, out in zip(self.both(first_pfn * ratio, count * ratio), outs):
            join_bits(address_of(bits), count, ratio, address_of(out))
        return outs

    def rank(self, block: int) -> int:
        """Stored pages before ``block``."""
        return self._ranks[block]


class PageReader:
    """Reader of pages for one thread at a time, with buffers, codec states and a cache of its last pages."""

    def __init__(self, file: ByteFile, header: KdumpHeader, pages: PageMap) -> None:
        self._file = file
        self._header = header
        self._pages = pages
        self._page_size = header.page_size
        self._swap = int(header.byte_order != sys.byteorder)
        self._codecs = {codec.flag: i for i, codec in enumerate(codecs()) if codec.flag}
        self._states: dict[int, State] = {}
        self._batch = max(1, _BATCH_BYTES // header.page_size)
        self._descriptors = bytearray(self._batch * kdump.DESCRIPTOR.size)
        self._table = bytearray(self._batch * 16)
        self._extents = (c_uint64 * (self._batch * 2))()
        self._plan = (c_uint64 * plan.PLAN_WORDS)()
        self._packed = bytearray((self._batch + 2) * header.page_size)
        self._block = -1
        self._exists = self._stored = bytearray()
        self._cache: dict[int, tuple[bytes, int]] = {}

    def close(self) -> None:
        """Free the codecs' states."""
        for state in self._states.values():
            state.close()
        self._states.clear()

    def read(self, paddr: int, out: memoryview) -> int:
        """As :meth:`vmsieve.formats.source.Source.read_into`; returns how many of the pages are stored."""
        at = stored = 0
        while at < len(out):
            pfn, within = divmod(paddr + at, self._page_size)
            left = len(out) - at
            if within or left < self._page_size:
                size = min(self._page_size - within, left)
                page, count = self._cached(pfn)
                out[at : at + size] = page[within : within + size]
            else:
                count = min(left // self._page_size, self._batch, BLOCK - pfn % BLOCK)
                size = count * self._page_size
                count = self._run(pfn, count, out[at : at + size])
            at += size
            stored += count
        return stored

    def _error(self, message: str, pfn: int) -> ReadError:
        return ReadError(message, file=self._file.name, offset=pfn * self._page_size)

    def _cached(self, pfn: int) -> tuple[bytes, int]:
        """A page, and 1 if it is stored."""
        known = self._cache.pop(pfn, None)
        if known is None:
            page = bytearray(self._page_size)
            stored = self._run(pfn, 1, memoryview(page))
            known = bytes(page), stored
            if len(self._cache) * self._page_size >= _CACHE_BYTES:
                del self._cache[next(iter(self._cache))]
        self._cache[pfn] = known
        return known

    def _run(self, pfn: int, count: int, out: memoryview) -> int:
        """Fill ``out`` with whole pages of one block; returns how many of them are stored."""
        rank = self._enter(pfn, count)
        done = stored = 0
        while done < count:
            self._read_descriptors(rank + stored, count - done)
            pages = self._plan_run(pfn + done, count - done)
            self._fetch(pfn + done)
            self._unpack(pfn + done, pages, out[done * self._page_size : (done + pages) * self._page_size])
            done += pages
            stored += self._plan[5]
        return stored

    def _enter(self, pfn: int, count: int) -> int:
        """Load the block of ``pfn``; returns the number of stored pages before ``pfn``."""
        if pfn >= self._header.pages:
            raise self._error("no such physical memory", pfn)
        block, first = divmod(pfn, BLOCK)
        if block != self._block:
            self._block = -1
            self._exists, self._stored = self._pages.both(block * BLOCK, BLOCK)
            self._block = block
        hole = plan.find_bit(address_of(self._exists), first, first + count, 0)
        if hole < first + count:
            raise self._error("no such physical memory", pfn + hole - first)
        before = self._stored[first >> 3] & ((1 << (first & 7)) - 1)
        return self._pages.rank(block) + count_bits(address_of(self._stored), first >> 3) + bin(before).count("1")

    def _read_descriptors(self, rank: int, count: int) -> None:
        """Read ``count`` page descriptors; behind the end of the file they are zero: their pages are missing."""
        size = count * kdump.DESCRIPTOR.size
        view = memoryview(self._descriptors)[:size]
        got = self._file.read_into(self._header.descriptors + rank * kdump.DESCRIPTOR.size, view)
        view[got:] = bytes(size - got)

    def _plan_run(self, pfn: int, count: int) -> int:
        """Plan the next pages, at least one; returns their number."""
        shared = self._plan[1]
        pages = plan.plan_pages(
            address_of(self._stored), pfn % BLOCK, count, address_of(self._descriptors), self._swap, self._page_size,
            self._file.size, address_of(self._table), addressof(self._extents), addressof(self._plan),
        )  # fmt: skip
        if self._plan[1] != shared:
            offset, size = self._plan[0], self._plan[1]
            self._plan[1] = 0  # not loaded, should the read fail
            self._read(pfn, offset, self._page_size, size)
            self._plan[1] = size
        if pages == 0:
            error = self._error(_REASONS[self._plan[2]], pfn)
            if self._plan[2] == plan.MISSING and not any(
                memoryview(self._descriptors)[: count * kdump.DESCRIPTOR.size]
            ):
                error.span = count * self._page_size
            raise error
        return pages

    def _fetch(self, pfn: int) -> None:
        """Read the packed data of the planned pages."""
        at = 2 * self._page_size
        for i in range(self._plan[3]):
            offset, size = self._extents[2 * i], self._extents[2 * i + 1]
            self._read(pfn, offset, at, size)
            at += size

    def _read(self, pfn: int, offset: int, at: int, size: int) -> None:
        try:
            got = self._file.read_into(offset, memoryview(self._packed)[at : at + size])
        except ReadError as error:
            raise self._error(error.message, pfn) from error
        if got < size:
            raise self._error("the file has become shorter", pfn)

    def _unpack(self, pfn: int, pages: int, out: memoryview) -> None:
        which, state = self._codec(pfn, self._plan[4])
        packed, table = address_of(self._packed), address_of(self._table)
        good = unpack_pages(which, state, pages, table, packed, self._page_size, address_of(out))
        if good < pages:
            raise self._error("the page's data are damaged", pfn + good)

    def _codec(self, pfn: int, flags: int) -> tuple[int, int]:
        """Number and state of the codec with ``flags``."""
        if flags == 0:
            return 0, 0
        which = self._codecs.get(flags)
        if which is None:
            raise self._error(f"pages are packed by an unknown method (flags {flags:#x})", pfn)
        if which not in self._states:
            self._states[which] = codecs()[which].open_decompressor(self._page_size)
        return which, self._states[which].address
