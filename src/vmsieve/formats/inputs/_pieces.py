"""Memory that is stored in pieces of a file."""

from __future__ import annotations

from vmsieve.formats.errors import ReadError
from vmsieve.formats.files import clear, file_pieces, read_memory
from vmsieve.formats.slim.typing import TYPE_CHECKING
from vmsieve.formats.source import MemoryRange, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.extents import Extents
    from vmsieve.formats.mapping import FilePiece


class StoredPieces(Source):
    """A dump that stores memory in pieces. A reader sets the tables; for packed pieces it overrides ``_read_piece``.

    Attributes:
        _memory: All memory, settled; offsets are meaningless.
        _data: Stored memory, settled, with file offsets.
        _granule: Bytes per page. Pieces may begin and end within one; the rest of the page reads as zeros.
    """

    _memory: Extents
    _data: Extents
    _granule = 4096

    def end(self) -> int:
        return self._memory.ends[-1]

    def next_memory(self, paddr: int) -> int:
        return self._memory.next_address(paddr, self.end())

    def next_data(self, paddr: int) -> int:
        return self._data.next_address(paddr, self.end())

    def ranges(self) -> Iterator[MemoryRange]:
        data, i = self._data, 0
        for start, end in zip(self._memory.starts, self._memory.ends):
            while start < end:
                stored = start
                while i < len(data.starts) and data.starts[i] == stored:
                    stored = data.ends[i]
                    i += 1
                following = data.starts[i] if i < len(data.starts) else end
                yield MemoryRange(start, min(following, end), stored)
                start = min(following, end)

    def memory_bits(self, first_pfn: int, count: int, page_size: int) -> tuple[bytearray, bytearray]:
        wanted = first_pfn, count, page_size
        return self._memory.page_bits(*wanted), self._data.page_bits(*wanted)

    def read_into(self, paddr: int, out: memoryview) -> None:
        at, end = paddr, paddr + len(out)
        if at == end:
            return
        self._check_memory(paddr, end)
        self._check_stored(paddr, end)
        for start, stop, offset in self._pieces(paddr, end):
            if at < start:
                clear(out[at - paddr : start - paddr])
            self._read_piece(offset, start, out[start - paddr : stop - paddr])
            at = stop
        if at < end:
            clear(out[at - paddr :])

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield the stored pieces of ``start .. end``, as :meth:`Extents.pieces`."""
        return self._data.pieces(start, end)

    def _read_piece(self, offset: int, paddr: int, out: memoryview) -> None:
        read_memory(self.file, offset, out, paddr)

    def _check_memory(self, paddr: int, end: int) -> None:
        """Raise ReadError if a page of ``paddr .. end`` does not exist."""
        memory, page, at = self._memory, self._granule, paddr
        i = memory.find(paddr // page * page)
        while at < end:
            if i >= len(memory.starts) or memory.starts[i] // page * page > at:
                raise ReadError("no such physical memory", file=self.file.name, offset=at)
            at = max(at, -(-memory.ends[i] // page) * page)
            i += 1

    def _check_stored(self, paddr: int, end: int) -> None:
        """Raise ReadError if no page of ``paddr .. end`` is stored."""
        data, page = self._data, self._granule
        i = data.find(paddr // page * page)
        if i >= len(data.starts) or data.starts[i] >= -(-end // page) * page:
            raise ReadError("this memory was left out of the dump", file=self.file.name, offset=paddr)

    def file_pieces(self, paddr: int, size: int) -> list[FilePiece] | None:
        offset = self._offset(paddr, size)
        return None if offset is None else file_pieces(self.file, offset, size)

    def find_stored(self, paddr: int, size: int) -> tuple[int, int] | None:
        descriptor, offset = getattr(self.file, "descriptor", None), self._offset(paddr, size)
        fd = None if descriptor is None or offset is None else descriptor(offset + size)
        return None if fd is None or offset is None else (fd, offset)

    def _offset(self, paddr: int, size: int) -> int | None:
        """The file offset of memory that is stored in one piece; None if it is not."""
        data, i = self._data, self._data.find(paddr)
        if i >= len(data.starts) or not data.starts[i] <= paddr <= data.ends[i] - size:
            return None
        return data.offsets[i] + paddr - data.starts[i]
