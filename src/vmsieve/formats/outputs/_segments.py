"""Segments of an ELF file, and their kernel addresses.

Memory use does not grow with the number of segments: each walk finds them anew from the bitmaps.
"""

from __future__ import annotations

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.loops.describe import cut_segments
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final
from vmsieve.formats.source import VirtualRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmsieve.formats.bitmap import PageBits

#: Dropped pages in a row that end a segment. Every page in a segment's stored part is real: rows too short for a
#: segment are stored (:attr:`vmsieve.formats.outputs.OutputFormat.bridge`), not filled with zeros.
GAP: Final = 1
#: Most second mappings described. A kernel has one, of its text; QEMU's ``paging`` dumps have any number.
ALIASES: Final = 16

_ROOM: Final = 512
_MASK: Final = (1 << 64) - 1


@record(frozen=True)
class Segment:
    """A contiguous range of existing memory."""

    first: int  #: First page frame.
    stored: int  #: Number of pages, from the first on, in the file.
    pages: int  #: Pages in all.


class AddressMap:
    """Kernel addresses of physical memory, from the input's headers.

    Each page has one address: that of the mapping that begins first, the longest of those that begin together. The rest
    of the others (the kernel's text lies within its direct mapping) are aliases.
    """

    def __init__(self, virtual: Sequence[VirtualRange], page_size: int) -> None:
        #: First page frame, one above the last, and virtual minus physical address.
        self._pieces: list[tuple[int, int, int]] = []
        aliases: list[VirtualRange] = []
        top = 0
        for mapping in sorted((m for m in virtual if m.size), key=lambda m: (m.paddr, -m.size)):
            shift = (mapping.vaddr - mapping.paddr) & _MASK
            first = mapping.paddr // page_size
            end = -(-(mapping.paddr + mapping.size) // page_size)
            known = bool(self._pieces) and self._pieces[-1][0] <= first and self._pieces[-1][2] == shift
            if first < min(top, end) and not known:
                size = min(mapping.size, top * page_size - mapping.paddr)
                aliases.append(VirtualRange(mapping.vaddr, mapping.paddr, size))
            if max(first, top) < end:
                self._append(max(first, top), end, shift)
            top = max(top, end)
        #: Page frames, ascending, where addresses jump.
        self.breaks = sorted({pfn for first, end, _ in self._pieces for pfn in (first, end)})
        #: Mappings of memory that another mapping covers; the highest addresses if there are too many.
        self.aliases = sorted(aliases, key=lambda a: a.vaddr, reverse=True)[:ALIASES]

    def _append(self, first: int, end: int, shift: int) -> None:
        if self._pieces and self._pieces[-1][1:] == (first, shift):
            first = self._pieces.pop()[0]
        self._pieces.append((first, end, shift))

    def shifts(self) -> Iterator[tuple[int, int]]:
        """Yield, in ascending order of memory, the end of a range in page frames, and virtual minus physical address.

        Memory without a mapping gets its physical address, as in QEMU (``write_elf64_load`` of its ``dump/dump.c``).
        """
        for first, end, shift in self._pieces:
            yield first, 0
            yield end, shift
        yield _MASK, 0


def segments(exists: PageBits, kept: PageBits, breaks: Sequence[int]) -> Iterator[Segment]:
    """Yield the segments in ascending order; none crosses one of ``breaks``.

    :data:`GAP` or more pages in a row that are not kept end a segment, and belong to it unstored; fewer count as
    stored.
    """
    cutter = _Cutter(exists.block)
    waiting = iter(breaks)
    pause = next(waiting, _MASK)
    following = 0
    for number in exists.filled():
        if number != following:
            yield from cutter.close()
        following = number + 1
        cutter.load(number * exists.block, exists[number], kept[number])
        while pause < (number + 1) * exists.block:
            yield from cutter.cut(pause)
            yield from cutter.close()
            pause = next(waiting, _MASK)
        yield from cutter.cut((number + 1) * exists.block)
    yield from cutter.close()


class _Cutter:
    """Runs :func:`cut_segments` over one block after another."""

    def __init__(self, block: int) -> None:
        self._exists, self._kept = bytearray(block // 8), bytearray(block // 8)
        self._base = self._next = 0
        self._state = memoryview(bytearray(32)).cast("Q")
        self._out = memoryview(bytearray(_ROOM * 24)).cast("Q")

    def load(self, base: int, exists: bytes, kept: bytes) -> None:
        """Take the block that begins with page frame ``base``."""
        self._exists[:], self._kept[:] = exists, kept
        self._base, self._next = base, 0

    def cut(self, end: int) -> Iterator[Segment]:
        """Yield segments finished before page frame ``end``."""
        last = end - self._base
        while self._next < last:
            found = cut_segments(
                address_of(self._exists), address_of(self._kept), self._next, last, self._base, GAP,
                address_of(self._state), address_of(self._out), _ROOM,
            )  # fmt: skip
            self._next = self._state[3]
            for i in range(found):
                yield self._segment(*self._out[3 * i : 3 * i + 3])

    def close(self) -> Iterator[Segment]:
        """Yield the open segment, if any: a hole follows."""
        first, stored_end, end, _ = self._state
        if first != end:
            yield self._segment(first, stored_end, end)
            self._state[0] = end

    def _segment(self, first: int, stored_end: int, end: int) -> Segment:
        return Segment(first, stored_end - first, end - first)
