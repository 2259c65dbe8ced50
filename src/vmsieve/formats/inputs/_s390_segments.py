"""The segments of an extended s390 dump: found by going from header to header."""

from __future__ import annotations

import struct
from array import array
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import ReadError
from vmsieve.formats.extents import Extents
from vmsieve.formats.inputs._zero_filled import PAGE, ZeroFilledSource
from vmsieve.formats.inputs._zlib_units import Inflater, Units
from vmsieve.formats.layouts import s390
from vmsieve.formats.slim.records import record

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.inputs._s390_header import Header

__all__ = ["Segment", "SegmentSource", "Segments", "read_segment"]

#: In a place: what follows is the number of a compressed segment.
_PACKED: Final = 1 << 62
_MIB: Final = 1 << 20
#: Largest unit of compression that is believed; the dump tool's is 1 MiB.
_UNIT_LIMIT: Final = 4 << 20

_TRIED, _TRIED_UNITS = 4, 64  # segments, and units of each, that are looked at to find out what a block is


@record(frozen=True)
class Segment:
    """One segment.

    Attributes:
        start: First address.
        size: Bytes of memory.
        last: It has the stop marker.
        data: Where its data begin in the file.
        stored: Bytes of them.
        entries: Offset of each unit in blocks, with the bit that says that it is not packed; empty if none is.
    """

    start: int
    size: int
    last: bool
    data: int
    stored: int
    entries: tuple[int, ...]


def read_segment(file: ByteFile, offset: int, unit: int, block: int) -> Segment | None:
    """The segment whose header is at ``offset``; None if the file ends there, or there is none that can be.

    Args:
        file: Where it is.
        offset: Of its header.
        unit: Bytes that were compressed at a time.
        block: Bytes of a block of the disk.
    """
    data = bytearray(s390.SEGMENT_SIZE)
    if offset >= file.size or file.read_into(offset, memoryview(data)) < len(data):
        return None
    head, data_at = s390.SEGMENT.unpack(data), offset + s390.SEGMENT_SIZE
    size, last, blocks, count = head.len, head.stop_marker != 0, head.size_on_disk, head.entry_count
    if head.start % PAGE or size % PAGE or (size == 0 and not last):
        return None
    if blocks == 0:
        return Segment(head.start, size, last, data_at, size, ())
    if not PAGE <= unit <= _UNIT_LIMIT or count > s390.ENTRIES_MOST or count != -(-size // unit):
        return None
    entries = struct.unpack_from(f">{count}I", data, s390.ENTRIES_AT)
    offsets = [entry & ~s390.ENTRY_PLAIN for entry in entries] + [blocks]
    if any(a >= b for a, b in zip(offsets, offsets[1:])):
        return None
    return Segment(head.start, size, last, data_at, blocks * block, entries)


class Segments:
    """All segments of a volume, as far as they make sense.

    Attributes:
        data: Which memory lies where; a place of a compressed segment is its number and a mark.
        heads: Where the headers of the compressed ones are.
        block: Bytes of a block.
        count: Segments.
        end: One above the last address of the last one.
        there: The same, as far as the file has it.
        at: Where in the file the next header, or the end marker, should be.
        stopped: The last one has the stop marker.
    """

    def __init__(self, file: ByteFile, header: Header, block: int) -> None:
        """Nothing yet."""
        self.data = Extents()
        self.heads = array("Q")
        self.block = block
        self.count = self.end = self.there = self.at = 0
        self.stopped = False
        self._file, self._header = file, header
        self._size = file.size

    def walk(self, at: int, least: int = 0, until: int | None = None) -> None:
        """Take the segments from ``at`` on, until the last one or until one that can't be.

        Args:
            at: Where the first header is.
            least: Its memory is not below this address.
            until: Where in the file the volume ends, if others may follow; it ends before room for the header of a
                segment, a MiB, and a page.
        """
        self.at, self.end, self.there = at, least, least
        if until is not None:
            self._size = min(self._size, until)
        # A segment is a number of whole MiBs, of which the machine may lack the last part.
        most = -(-self._header.memory_size // _MIB) * _MIB
        while not self.stopped and (until is None or self.at + 2 * s390.SEGMENT_SIZE + _MIB <= until):
            segment = read_segment(self._file, self.at, self._header.unit_size, self.block)
            if segment is None or segment.start < self.end or segment.start + segment.size > most:
                return
            self._take(segment)
            if self.there < self.end:
                return

    def streams(self) -> int:
        """How well the places of packed units fit: those that begin as zlib streams do, less twice those that don't."""
        fit = 0
        for at in self.heads[:_TRIED]:
            segment = read_segment(self._file, at, self._header.unit_size, self.block)
            # The first unit follows its header whatever a block is.
            for entry in segment.entries[1 : 1 + _TRIED_UNITS] if segment is not None else ():
                start = bytearray(2)
                place = segment.data + entry * self.block if segment is not None else 0
                if entry & s390.ENTRY_PLAIN or place + 2 > self._size:
                    continue
                self._file.read_into(place, memoryview(start))
                fit += 1 if start[0] & 15 == 8 and int.from_bytes(start, "big") % 31 == 0 else -2
        return fit

    def _take(self, segment: Segment) -> None:
        end = segment.start + segment.size
        there = min(max(self._size - segment.data, 0), segment.stored)
        if segment.entries:
            self.data.add(segment.start, end, _PACKED + len(self.heads))
            self.heads.append(segment.data - s390.SEGMENT_SIZE)
            missing = there < segment.stored
            whole = _whole_units(segment, there // self.block) if missing else 0
            self.there = segment.start + whole * self._header.unit_size if missing else end
        else:
            self.data.add(segment.start, segment.start + there, segment.data)
            self.there = segment.start + there
        self.end = end
        self.stopped = segment.last
        self.count += 1
        self.at = segment.data + segment.stored


def _whole_units(segment: Segment, blocks: int) -> int:
    """Units that end within the first ``blocks`` blocks; the last one never does."""
    return sum((entry & ~s390.ENTRY_PLAIN) <= blocks for entry in segment.entries[1:])


class SegmentSource(ZeroFilledSource):
    """An open dump made of segments."""

    def __init__(self, file: ByteFile, kind: str, header: Header) -> None:
        """No segments yet; see :meth:`hold_segments`."""
        super().__init__(file, kind, header.memory_size)
        self.crash_time = header.crash_time()
        self.header.update(header.facts())
        self._unit = header.unit_size
        self._block = 0
        self._heads = array("Q")
        self._known: tuple[int, Segment | None] = (0, None)

    def hold_segments(self, found: Segments) -> None:
        """Take the segments of a single volume."""
        self._block, self._heads = found.block, found.heads
        self.compressed = bool(found.heads)
        self.header["segments"] = found.count
        if self.compressed:
            self.header["block_size"] = found.block
            self._inflater = Inflater()
            self._units: Units[tuple[int, int]] = Units(self._unit, self._fill)
        self.hold(found.data, self.end() if found.stopped and found.there == found.end else found.there)

    def _read_piece(self, place: int, paddr: int, out: memoryview) -> None:
        if place < _PACKED:
            super()._read_piece(place, paddr, out)
            return
        i = self._data.find(paddr)
        number, start = self._data.places[i] - _PACKED, self._data.starts[i]
        at, end = paddr, paddr + len(out)
        while at < end:
            index, first = divmod(at - start, self._unit)
            stop = min(end, start + (index + 1) * self._unit)
            part = out[at - paddr : stop - paddr]
            try:
                self._read_unit(number, index, first, part)
            except ReadError as error:
                raise ReadError(error.message, file=self.file.name, offset=at) from error
            at = stop

    def _read_stored(self, place: int, paddr: int, out: memoryview) -> None:
        super()._read_piece(place, paddr, out)

    def _segment(self, number: int) -> Segment:
        """A compressed segment; the last one is remembered."""
        known, segment = self._known
        if segment is None or known != number:
            segment = read_segment(self.file, self._heads[number], self._unit, self._block)
            if segment is None:
                raise ReadError("the dump has changed while it was read")
            self._known = (number, segment)
        return segment

    def _read_unit(self, number: int, index: int, first: int, out: memoryview) -> None:
        """Fill ``out`` from byte ``first`` of a unit on."""
        segment = self._segment(number)
        entry = segment.entries[index]
        if entry & s390.ENTRY_PLAIN:
            place = segment.data + (entry & ~s390.ENTRY_PLAIN) * self._block + first
            super()._read_piece(place, segment.start + index * self._unit + first, out)
        else:
            self._units.copy((number, index), first, out)

    def _fill(self, key: tuple[int, int], out: memoryview) -> None:
        """Unpack a unit."""
        segment, index = self._segment(key[0]), key[1]
        first = segment.entries[index] * self._block
        following = segment.entries[index + 1 : index + 2]
        end = (following[0] & ~s390.ENTRY_PLAIN) * self._block if following else segment.stored
        size = min(self._unit, segment.size - index * self._unit)
        # A stream is shorter than what it holds, or it would have been stored as it is.
        packed = min(end - first, 2 * self._unit + _MIB)
        place, paddr = segment.data + first, segment.start + index * self._unit
        if not self._inflater.unpack(packed, lambda room: self._read_stored(place, paddr, room), out[:size]):
            raise ReadError("the compressed data are damaged")

    def close(self) -> None:
        """See :class:`Source`."""
        if self.compressed:
            self._inflater.close()
        super().close()
