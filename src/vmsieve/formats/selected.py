"""One system of a dump with two (:mod:`vmsieve.formats.systems`), loaded for such dumps only."""

from __future__ import annotations

from vmsieve.formats.errors import ReadError
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.source import Source, join_ranges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.mapping import FilePiece
    from vmsieve.formats.source import MemoryRange

#: Attributes of a source that are the same for both systems.
_SHARED: Final = (
    "format", "machine", "byte_order", "page_size", "dump_level", "incomplete", "compressed", "sparse",
)  # fmt: skip


@record(frozen=True)
class Piece:
    """Memory ``start <= paddr < end`` of the selected system, at ``paddr + shift`` in the dump."""

    start: int
    end: int
    shift: int


class SelectedSource(Source):
    """One system. Header values that may be the other system's are left out."""

    def __init__(self, inner: Source, pieces: list[Piece], name: str) -> None:
        shared = {attribute: getattr(inner, attribute) for attribute in _SHARED}
        super().__init__(inner.file, header={"system": name}, **shared)
        if inner.incomplete:
            self.remarks += inner.remarks
        self._inner = inner
        self._pieces = [piece for piece in pieces if piece.start < piece.end]
        self._end: int | None = None

    def end(self) -> int:
        if self._end is None:
            self._end = max((one.end for one in self.ranges()), default=0)
        return self._end

    def ranges(self) -> Iterator[MemoryRange]:
        return join_ranges(self._each_range())

    def _each_range(self) -> Iterator[tuple[int, int, int]]:
        for piece in self._pieces:
            low, high = piece.start + piece.shift, piece.end + piece.shift
            for one in self._inner.ranges():
                start, end = max(one.start, low), min(one.end, high)
                if start < end:
                    stored = min(max(one.stored_end, start), end)
                    yield start - piece.shift, end - piece.shift, stored - piece.shift

    def next_memory(self, paddr: int) -> int:
        for piece in self._pieces:
            if paddr < piece.end:
                at = max(paddr, piece.start)
                found = self._inner.next_memory(at + piece.shift) - piece.shift
                if found < piece.end:
                    return max(found, at)
        return max(paddr, self.end())

    def memory_bits(self, first_pfn: int, count: int, page_size: int) -> tuple[bytearray, bytearray]:
        exists, stored = bytearray(count // 8), bytearray(count // 8)
        for piece in self._pieces:
            start = max(first_pfn, piece.start // page_size)
            end = min(first_pfn + count, -(-piece.end // page_size // 8) * 8)
            if start >= end:
                continue
            first, last = (start - first_pfn) // 8, (end - first_pfn) // 8
            found = self._inner.memory_bits(start + piece.shift // page_size, end - start, page_size)
            exists[first:last], stored[first:last] = found
        return exists, stored

    def read_into(self, paddr: int, out: memoryview) -> None:
        done = 0
        while done < len(out):
            at = paddr + done
            piece = next((one for one in self._pieces if one.start <= at < one.end), None)
            if piece is None:
                raise ReadError("no such physical memory", file=self.file.name, offset=at)
            step = min(piece.end - at, len(out) - done)
            try:
                self._inner.read_into(at + piece.shift, out[done : done + step])
            except ReadError as error:
                if error.offset is not None:
                    error.offset -= piece.shift
                raise
            done += step

    def file_pieces(self, paddr: int, size: int) -> list[FilePiece] | None:
        piece = next((one for one in self._pieces if one.start <= paddr and paddr + size <= one.end), None)
        return None if piece is None else self._inner.file_pieces(paddr + piece.shift, size)

    def find_stored(self, paddr: int, size: int) -> tuple[int, int] | None:
        piece = next((one for one in self._pieces if one.start <= paddr and paddr + size <= one.end), None)
        return None if piece is None else self._inner.find_stored(paddr + piece.shift, size)

    def close(self) -> None:
        self._inner.close()
