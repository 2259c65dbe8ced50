"""Dumps of all memory from address 0 on, in which zeros need not be stored."""

from __future__ import annotations

from vmsieve.formats.bitmap import cut_bits
from vmsieve.formats.errors import CorruptError, ReadError, UsageError
from vmsieve.formats.extents import Extents
from vmsieve.formats.files import file_pieces
from vmsieve.formats.inputs import MemoryRange
from vmsieve.formats.inputs._pieces import StoredPieces
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.mapping import FilePiece

#: Pages of s390x have one size.
PAGE: Final = 4096
#: One above the highest valid physical address: 64 TiB, the limit of Linux (MAX_PHYSMEM_BITS).
ADDRESS_END: Final = 1 << 46
#: Most bytes of memory that are accepted: per byte of the file, and in any case. A sixty-fourth of memory is struct
#: pages, which are not zeros, and no codec packs them to a twentieth. Zeros pack to a hundredth.
_BELIEVED_EACH: Final = 1536
_BELIEVED_LEAST: Final = 1 << 30
#: A source is sparse if its memory is this many times larger than the file.
_SPARSE: Final = 16


class ZeroFilledSource(StoredPieces):
    """Memory of an s390x machine, stored in pieces; memory between them is zero."""

    def __init__(self, file: ByteFile, kind: str, size: int) -> None:
        """Describe ``size`` bytes of memory; :meth:`set_pieces` takes the pieces."""
        super().__init__(file, format=kind, machine="s390x", byte_order="big", page_size=PAGE)
        if not PAGE <= size <= ADDRESS_END:
            raise CorruptError(
                "the size of memory is invalid", file=file.name, expected=f"at most {ADDRESS_END:#x}", found=size
            )
        self._memory = Extents()
        self._memory.add(0, size, 0)

    def set_pieces(self, data: Extents, stored_end: int) -> None:
        """Take the table of pieces. Other memory below ``stored_end`` is zero; memory behind it is missing.

        If the file is too small to be a dump of that much memory, only the pieces exist.
        """
        end = self.end()
        self._data, self._stored_end = data, min(stored_end, end)
        if end > _BELIEVED_LEAST + _BELIEVED_EACH * self.file.size:
            self._keep_pieces_only(end)
            return
        self.sparse = end > _SPARSE * self.file.size
        if self._stored_end < end:
            self.incomplete = True
            self.remarks.append(f"{end - self._stored_end} bytes of memory are missing at its end")

    def _keep_pieces_only(self, claimed: int) -> None:
        self._memory = Extents()
        for start, stop, _ in self._pieces(0, claimed):
            self._memory.add(start // PAGE * PAGE, _pages(stop) * PAGE, start // PAGE * PAGE)
        self._memory.resolve_overlaps(last_wins=False)
        if not self._memory.starts:
            raise CorruptError("the size of memory is invalid, and none is stored", file=self.file.name, found=claimed)
        self._stored_end = self.end()
        self.incomplete = True
        self.remarks.append(
            f"{claimed} bytes of memory can't be in a file of {self.file.size}: memory it does not store is ignored"
        )

    def ranges(self) -> Iterator[MemoryRange]:
        for start, end in zip(self._memory.starts, self._memory.ends):
            yield MemoryRange(start, end, min(end, self._stored_end))

    def next_data(self, paddr: int) -> int:
        start = next((start for start, _, _ in self._pieces(paddr, self._stored_end)), self.end())
        return max(paddr, start // PAGE * PAGE)

    def memory_bits(self, first_pfn: int, count: int, page_size: int) -> tuple[bytearray, bytearray]:
        if page_size != PAGE:
            raise UsageError("a dump has pages of one size", file=self.file.name, expected=PAGE, found=page_size)
        exists = self._memory.page_bits(first_pfn, count, page_size)
        stored = bytearray(exists)
        cut_bits(stored, _pages(self._stored_end) - first_pfn)
        return exists, stored

    def _check_stored(self, paddr: int, end: int) -> None:  # noqa: ARG002 - all memory below _stored_end is
        if paddr >= _pages(self._stored_end) * PAGE:
            raise ReadError("the dump ends before this memory", file=self.file.name, offset=paddr)

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        return self._data.pieces(start, min(end, self._stored_end))

    def file_pieces(self, paddr: int, size: int) -> list[FilePiece] | None:
        if self.compressed or paddr + size > self._stored_end:
            return None
        found: list[FilePiece] = []
        at = paddr
        for start, stop, offset in self._pieces(paddr, paddr + size):
            pieces = file_pieces(self.file, offset, stop - start)
            if pieces is None:
                return None
            if at < start:
                found.append((-1, 0, start - at))
            found += pieces
            at = stop
        if at < paddr + size:
            found.append((-1, 0, paddr + size - at))
        return found

    def find_stored(self, paddr: int, size: int) -> tuple[int, int] | None:
        if self.compressed or paddr + size > self._stored_end:
            return None
        return super().find_stored(paddr, size)


def _pages(size: int) -> int:
    """Pages that the first ``size`` bytes of memory touch."""
    return -(-size // PAGE)
