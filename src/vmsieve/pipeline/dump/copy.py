"""Second pass: the kept pages, read, checked for zeros, packed, and handed to the writer in order."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.codecs import codec_number
from vmsieve.formats.loops import bits
from vmsieve.formats.loops.pack import pack_pages
from vmsieve.formats.mapping import anonymous
from vmsieve.formats.outputs import UNREADABLE, Batch
from vmsieve.formats.slim.records import record
from vmsieve.pipeline.dump.batches import Gatherer, PageBatch, batch_size
from vmsieve.pipeline.dump.pool import ordered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmsieve.formats.codecs import Codec, State
    from vmsieve.formats.inputs import Source
    from vmsieve.formats.outputs import Writer
    from vmsieve.pipeline.dump.scan import Scan
    from vmsieve.pipeline.process.progress import Progress

__all__ = ["Copied", "copy_pages"]

_NAMED = 8  # unreadable pages that are told one by one


@record
class Copied:
    """What the second pass did: page counts, and bytes of page data."""

    pages: int = 0
    zero: int = 0
    unreadable: int = 0
    bytes_packed: int = 0


class _Chunk(PageBatch):
    """Pages on their way, and room for what they pack into."""

    def __init__(self, page_size: int, codec: Codec, level: int, size: int) -> None:
        super().__init__(page_size, mapped=True, size=size)
        self.out = memoryview(anonymous((self.room + 1) * page_size))
        self.sizes = (ctypes.c_uint32 * self.room)()
        self.flags = (ctypes.c_uint32 * self.room)()
        self.state: State = codec.open_compressor(level, page_size)
        self.packed = 0
        pfns, sizes, flags = (memoryview(row).cast("B") for row in (self.pfns, self.sizes, self.flags))
        self._batch = Batch(0, pfns.cast("Q"), sizes.cast("I"), flags.cast("I"), self.out)

    def batch(self) -> Batch:
        """What is in it, for a writer."""
        self._batch.count, self._batch.data = self.count, self.out[: self.packed]
        return self._batch


class _Packer:
    """Reads and packs one chunk; several may run side by side."""

    def __init__(self, source: Source, codec: Codec, *, drop_zero: bool) -> None:
        self._source = source
        self._codec = codec
        self._number = codec_number(codec.name)
        self._drop_zero = drop_zero

    def work(self, chunk: _Chunk) -> None:
        chunk.use(self._source, lambda: self._pack(chunk))

    def _pack(self, chunk: _Chunk) -> None:
        if chunk.bad:
            self._leave_out(chunk)
        count = chunk.count - len(chunk.bad)
        chunk.packed = pack_pages(
            self._number, chunk.state.address, count, chunk.address, ctypes.addressof(chunk.index),
            chunk.page_size, int(self._drop_zero), self._codec.flag, ctypes.addressof(chunk.sizes),
            ctypes.addressof(chunk.flags), address_of(chunk.out),
        )  # fmt: skip
        if chunk.bad:
            self._put_back(chunk, count)

    def _leave_out(self, chunk: _Chunk) -> None:
        bad = set(chunk.bad)
        for place, k in enumerate(k for k in range(chunk.count) if k not in bad):
            chunk.index[place] = chunk.index[k]

    def _put_back(self, chunk: _Chunk, count: int) -> None:
        """Spread the results over all pages, those that could not be read among them."""
        sizes, flags = list(chunk.sizes[:count]), list(chunk.flags[:count])
        bad = set(chunk.bad)
        for k in range(chunk.count):
            chunk.sizes[k], chunk.flags[k] = (0, UNREADABLE) if k in bad else (sizes.pop(0), flags.pop(0))


def copy_pages(
    source: Source, scan: Scan, page_size: int, codec: Codec, level: int, writer: Writer, progress: Progress,
    notes: list[str], *, drop_zero: bool, threads: int, copied: Copied, cuts: Sequence[int] = (),
) -> None:  # fmt: skip
    """Copy every kept page to ``writer``; ``copied`` is up to date at any moment, also when this raises.

    ``cuts``: of a dump that is shared out, the page frames that its parts begin at, and its end: some pages of each
    part come in turn.
    """
    claim = Gatherer(scan.kept, scan.stored, source).claim
    if cuts:
        from vmsieve.pipeline.dump.split import InTurns

        claim = InTurns(scan, source, cuts).claim
    packer = _Packer(source, codec, drop_zero=drop_zero)
    chunks = ordered(
        threads, lambda: _Chunk(page_size, codec, level, batch_size(threads)), claim, packer.work, notes.append
    )
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
