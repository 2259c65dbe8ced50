"""Segments of an extended s390 dump, found by going from header to header."""

from __future__ import annotations

import struct

from vmsieve.formats.errors import ReadError
from vmsieve.formats.extents import Extents
from vmsieve.formats.files import read_memory
from vmsieve.formats.inputs._zero_filled import PAGE
from vmsieve.formats.inputs._zlib_units import Inflater, Units
from vmsieve.formats.inputs.s390 import StandAloneSource
from vmsieve.formats.layouts import s390
from vmsieve.formats.slim.arrays import array
from vmsieve.formats.slim.records import record
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vmsieve.formats.files import ByteFile
    from vmsieve.formats.layouts import Fields

#: Marks an entry of :class:`Extents` that is not a file offset, but the number of a compressed segment.
_PACKED: Final = 1 << 62
_MIB: Final = 1 << 20
#: Largest valid unit of compression; the dump tool's is 1 MiB.
_UNIT_LIMIT: Final = 4 << 20

_TRIED, _TRIED_UNITS = 4, 64  # segments, and units of each, that are checked to find the block size


@record(frozen=True)
class Segment:
    """One segment."""

    start: int  # first address
    size: int  # bytes of memory
    last: bool  # it has the stop marker
    data: int  # file offset of its data
    stored: int  # bytes of its data
    #: Offset of each unit in blocks, with :data:`s390.ENTRY_PLAIN`; empty if the segment is not compressed.
    entries: tuple[int, ...]


def read_segment(file: ByteFile, offset: int, unit: int, block: int) -> Segment | None:
    """The segment whose header is at ``offset``; None if the header is invalid or behind the end of the file.

    ``unit``: bytes compressed at a time; ``block``: block size of the disk.
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
    """The segments of a volume, up to the first invalid one."""

    def __init__(self, file: ByteFile, header: Fields, block: int) -> None:
        self.data = Extents()  # stored memory; compressed segments have :data:`_PACKED` plus their number for an offset
        self.heads = array("Q")  # file offsets of the headers of compressed segments
        self.block = block
        self.count = 0  # segments
        self.end = 0  # one above the last address of the last segment
        self.stored_end = 0  # the same, of what the file contains
        self.at = 0  # file offset where the next header, or the end marker, should be
        self.stopped = False  # the last segment has the stop marker
        self._file, self._header = file, header
        self._size = file.size

    def walk(self, at: int, least: int = 0, until: int | None = None) -> None:
        """Add the segments from offset ``at`` on, up to the last or the first invalid one.

        ``least`` is the lowest valid address; ``until`` is the end of the volume, if others may follow: a segment
        starts only if there is space for its header, a MiB, and a page.
        """
        self.at, self.end, self.stored_end = at, least, least
        if until is not None:
            self._size = min(self._size, until)
        # A segment has whole MiBs; the machine's memory may end within the last one.
        most = -(-self._header.mem_size // _MIB) * _MIB
        while not self.stopped and (until is None or self.at + 2 * s390.SEGMENT_SIZE + _MIB <= until):
            segment = read_segment(self._file, self.at, self._header.zlib_entry_size, self.block)
            if segment is None or segment.start < self.end or segment.start + segment.size > most:
                return
            self._take(segment)
            if self.stored_end < self.end:
                return

    def streams(self) -> int:
        """Score of the block size: units that begin like zlib streams, minus twice those that do not."""
        fit = 0
        for at in self.heads[:_TRIED]:
            segment = read_segment(self._file, at, self._header.zlib_entry_size, self.block)
            # The first unit follows its header with any block size.
            for entry in segment.entries[1 : 1 + _TRIED_UNITS] if segment is not None else ():
                start = bytearray(2)
                offset = segment.data + entry * self.block if segment is not None else 0
                if entry & s390.ENTRY_PLAIN or offset + 2 > self._size:
                    continue
                self._file.read_into(offset, memoryview(start))
                fit += 1 if start[0] & 15 == 8 and int.from_bytes(start, "big") % 31 == 0 else -2
        return fit

    def _take(self, segment: Segment) -> None:
        end = segment.start + segment.size
        stored = min(max(self._size - segment.data, 0), segment.stored)
        if segment.entries:
            self.data.add(segment.start, end, _PACKED + len(self.heads))
            self.heads.append(segment.data - s390.SEGMENT_SIZE)
            missing = stored < segment.stored
            # Units that end within the stored blocks; the last unit is not counted.
            whole = sum((entry & ~s390.ENTRY_PLAIN) <= stored // self.block for entry in segment.entries[1:])
            self.stored_end = segment.start + whole * self._header.zlib_entry_size if missing else end
        else:
            self.data.add(segment.start, segment.start + stored, segment.data)
            self.stored_end = segment.start + stored
        self.end = end
        self.stopped = segment.last
        self.count += 1
        self.at = segment.data + segment.stored


class SegmentSource(StandAloneSource):
    """An open dump that consists of segments."""

    def __init__(self, file: ByteFile, kind: str, header: Fields) -> None:
        """Describe the memory; :meth:`set_segments` takes the segments."""
        super().__init__(file, kind, header)
        self._unit = header.zlib_entry_size
        self._block = 0
        self._heads = array("Q")
        self._known: tuple[int, Segment | None] = (0, None)

    def set_segments(self, found: Segments) -> None:
        """Use the segments of a single volume."""
        self._block, self._heads = found.block, found.heads
        self.compressed = bool(found.heads)
        self.header["segments"] = found.count
        if self.compressed:
            self.header["block_size"] = found.block
            self._inflater = Inflater()
            self._units: Units[tuple[int, int]] = Units(self._unit, self._fill)
        self.set_pieces(found.data, self.end() if found.stopped and found.stored_end == found.end else found.stored_end)

    def _read_piece(self, offset: int, paddr: int, out: memoryview) -> None:
        if offset < _PACKED:
            super()._read_piece(offset, paddr, out)
            return
        i = self._data.find(paddr)
        number, start = self._data.offsets[i] - _PACKED, self._data.starts[i]
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

    def _segment(self, number: int) -> Segment:
        """A compressed segment; the last one is cached."""
        known, segment = self._known
        if segment is None or known != number:
            segment = read_segment(self.file, self._heads[number], self._unit, self._block)
            if segment is None:
                raise ReadError("the dump has changed while it was read")
            self._known = (number, segment)
        return segment

    def _read_unit(self, number: int, index: int, first: int, out: memoryview) -> None:
        """Fill ``out`` from byte ``first`` of unit ``index`` on."""
        segment = self._segment(number)
        entry = segment.entries[index]
        if entry & s390.ENTRY_PLAIN:
            offset = segment.data + (entry & ~s390.ENTRY_PLAIN) * self._block + first
            super()._read_piece(offset, segment.start + index * self._unit + first, out)
        else:
            self._units.copy((number, index), first, out)

    def _fill(self, key: tuple[int, int], out: memoryview) -> None:
        """Unpack a unit."""
        segment, index = self._segment(key[0]), key[1]
        first = segment.entries[index] * self._block
        following = segment.entries[index + 1 : index + 2]
        end = (following[0] & ~s390.ENTRY_PLAIN) * self._block if following else segment.stored
        size = min(self._unit, segment.size - index * self._unit)
        # A stream is shorter than its content, which would be stored unpacked otherwise.
        packed = min(end - first, 2 * self._unit + _MIB)
        offset, paddr = segment.data + first, segment.start + index * self._unit
        if not self._inflater.unpack(packed, lambda buffer: read_memory(self.file, offset, buffer, paddr), out[:size]):
            raise ReadError("the compressed data are damaged")

    def close(self) -> None:
        if self.compressed:
            self._inflater.close()
        super().close()
