"""Second pass: the kept pages, read, checked for zeros, packed, and handed to the writer in order."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmsieve.formats.bitmap import BLOCK, BLOCK_BYTES, address_of
from vmsieve.formats.codecs import codecs
from vmsieve.formats.errors import ReadError
from vmsieve.formats.kernels import bits
from vmsieve.formats.kernels.pack import pack_pages
from vmsieve.formats.outputs import UNREADABLE, Batch
from vmsieve.pipeline.pool import ordered

if TYPE_CHECKING:
    from vmsieve.formats.codecs import Codec, State
    from vmsieve.formats.inputs import Source
    from vmsieve.formats.outputs import Writer
    from vmsieve.pipeline.progress import Progress
    from vmsieve.pipeline.scan import Scan

__all__ = ["Copied", "copy_pages"]

_CHUNK_BYTES = 1 << 20  # of pages that are read at a time: large enough to make Python's share vanish
_MOST_SPANS = 512
_BRIDGE = 16  # pages worth reading over: 64 KiB cost less than another read
_NAMED = 8  # unreadable pages that are told one by one


@dataclass
class Copied:
    """What the second pass did: page counts, and bytes of page data."""

    pages: int = 0
    zero: int = 0
    unreadable: int = 0
    bytes_packed: int = 0


class _Chunk:
    """Buffers for up to a megabyte of pages on their way, owned by whoever works on them."""

    def __init__(self, page_size: int, codec: Codec, level: int) -> None:
        self.room = max(1, _CHUNK_BYTES // page_size)
        self.page_size = page_size
        self.raw = bytearray(self.room * page_size)
        self.out = bytearray((self.room + 1) * page_size)
        self.spans = (ctypes.c_uint64 * (2 * _MOST_SPANS))()
        self.index = (ctypes.c_uint32 * self.room)()
        self.pfns = (ctypes.c_uint64 * self.room)()
        self.sizes = (ctypes.c_uint32 * self.room)()
        self.flags = (ctypes.c_uint32 * self.room)()
        self.result = (ctypes.c_uint64 * bits.GATHER_WORDS)()
        self.state: State = codec.open_compressor(level, page_size)
        self.base = 0
        self.count = 0
        self.packed = 0
        self.bad: list[int] = []

    def batch(self) -> Batch:
        return Batch(
            self.count,
            memoryview(self.pfns).cast("B").cast("Q"),
            memoryview(self.sizes).cast("B").cast("I"),
            memoryview(self.flags).cast("B").cast("I"),
            memoryview(self.out)[: self.packed],
        )


class _Gatherer:
    """Hands out the kept pages, a chunk at a time, in ascending order."""

    def __init__(self, scan: Scan, bridge: int) -> None:
        self._kept, self._stored = scan.kept, scan.stored
        self._bridge = bridge
        self._number = 0
        self._bit = BLOCK
        self._kept_block = bytearray(BLOCK_BYTES)
        self._stored_block = bytearray(BLOCK_BYTES)
        self._addresses = address_of(self._kept_block), address_of(self._stored_block)

    def claim(self, chunk: _Chunk) -> bool:
        while True:
            if self._bit >= BLOCK:
                if self._number == len(self._kept):
                    return False
                self._kept_block[:] = self._kept[self._number]
                self._stored_block[:] = self._stored[self._number]
                self._number += 1
                self._bit = 0
            chunk.base = (self._number - 1) * BLOCK
            chunk.count = bits.gather_pages(
                *self._addresses, self._bit, BLOCK, chunk.room, chunk.room, self._bridge,
                ctypes.addressof(chunk.spans), _MOST_SPANS, ctypes.addressof(chunk.index),
                ctypes.addressof(chunk.pfns), chunk.base, ctypes.addressof(chunk.result),
            )  # fmt: skip
            self._bit = chunk.result[0]
            if chunk.count:
                return True


class _Packer:
    """Reads and packs one chunk; several may run side by side."""

    def __init__(self, source: Source, codec: Codec, *, drop_zero: bool) -> None:
        self._source = source
        self._codec = codec
        self._number = [c.name for c in codecs()].index(codec.name)
        self._drop_zero = drop_zero

    def work(self, chunk: _Chunk) -> None:
        chunk.bad = []
        self._read(chunk)
        if chunk.bad:
            self._leave_out(chunk)
        count = chunk.count - len(chunk.bad)
        if chunk.state.words is not None:
            chunk.packed = pack_pages(
                self._number, chunk.state.address, count, address_of(chunk.raw), ctypes.addressof(chunk.index),
                chunk.page_size, int(self._drop_zero), self._codec.flag, ctypes.addressof(chunk.sizes),
                ctypes.addressof(chunk.flags), address_of(chunk.out),
            )  # fmt: skip
        else:
            self._pack_slowly(chunk, count)
        if chunk.bad:
            self._put_back(chunk, count)

    def _read(self, chunk: _Chunk) -> None:
        view = memoryview(chunk.raw)
        size = chunk.page_size
        done = 0
        for i in range(chunk.result[2]):
            first, pages = chunk.spans[2 * i], chunk.spans[2 * i + 1]
            paddr = (chunk.base + first) * size
            try:
                self._source.read_into(paddr, view[done * size : (done + pages) * size])
            except ReadError:
                self._read_singly(chunk, paddr, done, pages)
            done += pages

    def _read_singly(self, chunk: _Chunk, paddr: int, done: int, pages: int) -> None:
        """Read a span page by page: what is readable of it is not given up."""
        view, size = memoryview(chunk.raw), chunk.page_size
        wanted = {chunk.index[k]: k for k in range(chunk.count) if done <= chunk.index[k] < done + pages}
        for place, k in wanted.items():
            try:
                self._source.read_into(paddr + (place - done) * size, view[place * size : (place + 1) * size])
            except ReadError:
                chunk.bad.append(k)

    def _leave_out(self, chunk: _Chunk) -> None:
        good = [chunk.index[k] for k in range(chunk.count) if k not in set(chunk.bad)]
        chunk.index[: len(good)] = good

    def _put_back(self, chunk: _Chunk, count: int) -> None:
        """Spread the results over all pages, those that could not be read among them."""
        sizes, flags = list(chunk.sizes[:count]), list(chunk.flags[:count])
        bad = set(chunk.bad)
        for k in range(chunk.count):
            chunk.sizes[k], chunk.flags[k] = (0, UNREADABLE) if k in bad else (sizes.pop(0), flags.pop(0))

    def _pack_slowly(self, chunk: _Chunk, count: int) -> None:
        """One page at a time through the codec's Python binding."""
        pack, size = chunk.state.page, chunk.page_size
        assert pack is not None
        zero = bytes(size)
        at = 0
        for k in range(count):
            start = chunk.index[k] * size
            page = bytes(chunk.raw[start : start + size])
            if self._drop_zero and page == zero:
                chunk.sizes[k] = chunk.flags[k] = 0
                continue
            packed = pack(page, size)
            shrunk = len(packed) < size
            data = packed if shrunk else page
            chunk.out[at : at + len(data)] = data
            chunk.sizes[k], chunk.flags[k] = len(data), self._codec.flag if shrunk else 0
            at += len(data)
        chunk.packed = at


def copy_pages(
    source: Source, scan: Scan, page_size: int, codec: Codec, level: int, writer: Writer, progress: Progress,
    notes: list[str], *, drop_zero: bool, threads: int, copied: Copied,
) -> None:  # fmt: skip
    """Copy every kept page to ``writer``; ``copied`` is up to date at any moment, also when this raises."""
    gatherer = _Gatherer(scan, 0 if source.compressed else _BRIDGE)
    packer = _Packer(source, codec, drop_zero=drop_zero)
    progress.step("Copying pages", scan.kept.count(), page_size)
    chunks = ordered(threads, lambda: _Chunk(page_size, codec, level), gatherer.claim, packer.work, notes.append)
    for chunk in chunks:
        writer.pages(chunk.batch())
        for k in chunk.bad:
            if copied.unreadable < _NAMED:
                notes.append(f"the page at {chunk.pfns[k] * page_size:#x} can't be read")
            copied.unreadable += 1
        empty = bits.count_words(ctypes.addressof(chunk.sizes), chunk.count, 0)
        copied.zero += empty - len(chunk.bad)
        copied.pages += chunk.count
        copied.bytes_packed += chunk.packed
        progress.advance(chunk.count)
