"""VMDUMP files of z/VM guests, in the format of 64-bit machines (64big).

Layout: :mod:`vmsieve.formats.layouts.vmdump`. Zero pages are not stored. The offset of a page follows from the number
of stored pages before it, which is counted once for each 4096 pages.
"""

from __future__ import annotations

from bisect import bisect_left

from vmsieve.formats.errors import CorruptError, TruncatedError, UnsupportedError
from vmsieve.formats.extents import Extents
from vmsieve.formats.files import read_exactly
from vmsieve.formats.inputs import InputFormat
from vmsieve.formats.inputs._zero_filled import PAGE, ZeroFilledSource
from vmsieve.formats.inputs.s390 import moment
from vmsieve.formats.layouts import s390, vmdump
from vmsieve.formats.s390_registers import Registers, notes, registers
from vmsieve.formats.slim.arrays import array
from vmsieve.formats.slim.typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmsieve.formats.files import ByteFile

#: Most processors that are read; z/VM gives a guest up to 64.
_CPUS_MOST: Final = 512
#: The lowest bit of each byte.
_LOWEST: Final = bytes(range(2)) * 128


class VmdumpSource(ZeroFilledSource):
    """An open VMDUMP file."""

    def __init__(self, file: ByteFile) -> None:
        """Read the records and count the pages; raises FormatError if they are unusable."""
        symptom = vmdump.SYMPTOM.unpack(read_exactly(file, 0, vmdump.RECORD))
        records = vmdump.MAP.unpack(read_exactly(file, vmdump.RECORD, vmdump.RECORD))
        if records.magic != vmdump.MAP_MAGIC or records.info < 1 or records.access < 1:
            raise CorruptError("the file map record is damaged", file=file.name, offset=vmdump.RECORD)
        cpus = _registers(file, (records.info - 1) * vmdump.RECORD)
        space_at = records.access * vmdump.RECORD
        space = read_exactly(file, space_at, vmdump.RECORD)
        if not space.startswith(vmdump.SPACE_MAGIC):
            raise CorruptError("the record of the address space is damaged", file=file.name, offset=space_at)
        super().__init__(file, "VMDUMP, 64big", _memory_size(space))
        if symptom.tod:
            self.crash_time = s390.microseconds(symptom.tod) // 1_000_000
            self.header["dump_created"] = moment(symptom.tod)
        self.header["cpu_model"] = f"{symptom.cpu_model:08x}, serial number {symptom.serial.hex()}"
        self.header["node"] = symptom.node.decode("cp037").strip("\0 ")
        self.header["cpus_online"] = len(cpus)
        self._groups, self._keys, self._ranks = array("L"), array("Q"), array("Q")
        self._known = (-1, b"")
        self._base = self._count(space_at + vmdump.RECORD)
        self.header["pages"] = self._stored_pages
        self.notes = notes(cpus, None)
        self._set_pages()

    def _count(self, at: int) -> int:
        """Index the bitmaps at ``at``; returns the offset of the pages."""
        total, first, self._stored_pages = -(-self.end() // PAGE), 0, 0
        while first < total:
            index = self._bitmap(at)
            at += vmdump.RECORD
            bits = int.from_bytes(index, "big")
            while bits:
                group = vmdump.INDEX_BITS - bits.bit_length()
                bits &= (1 << vmdump.INDEX_BITS - 1 - group) - 1
                pages = total - first - group * vmdump.KEYS
                if pages <= 0:
                    raise CorruptError(
                        "the bitmaps cover more memory than the guest has", file=self.file.name, offset=at
                    )
                self._groups.append(first // vmdump.KEYS + group)
                self._keys.append(at)
                self._ranks.append(self._stored_pages)
                self._stored_pages += self._bitmap(at).translate(_LOWEST).count(1, 0, pages)
                at += vmdump.RECORD
            first += vmdump.INDEX_BITS * vmdump.KEYS
        return at

    def _bitmap(self, at: int) -> bytes:
        if self.file.size - at < vmdump.RECORD:
            raise TruncatedError("the file ends within its bitmaps", file=self.file.name, offset=at)
        return read_exactly(self.file, at, vmdump.RECORD)

    def _set_pages(self) -> None:
        complete = max(self.file.size - self._base, 0) // PAGE
        if complete >= self._stored_pages:
            self.set_pieces(Extents(), self.end())
            return
        self.remarks.append(f"the file is cut off: {self._stored_pages - complete} pages are missing")
        i = max(bisect_left(self._ranks, complete + 1) - 1, 0)
        mask, page = self._mask(i), -1
        for _ in range(complete - self._ranks[i] + 1):
            page = mask.index(1, page + 1)
        self.set_pieces(Extents(), (self._groups[i] * vmdump.KEYS + page) * PAGE)

    def _mask(self, i: int) -> bytes:
        """A byte for each page of row ``i`` of the table: 1 if it is stored. The last row is cached."""
        known, mask = self._known
        if known != i:
            mask = read_exactly(self.file, self._keys[i], vmdump.RECORD).translate(_LOWEST)
            self._known = (i, mask)
        return mask

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        end = min(end, self._stored_end)
        first, last = start // PAGE, -(-end // PAGE)
        i = bisect_left(self._groups, first // vmdump.KEYS)
        while i < len(self._groups) and self._groups[i] * vmdump.KEYS < last:
            base, mask = self._groups[i] * vmdump.KEYS, self._mask(i)
            low, high = max(first - base, 0), min(last - base, vmdump.KEYS)
            rank = self._ranks[i] + mask.count(1, 0, low)
            at = mask.find(1, low, high)
            while at >= 0:
                stop = mask.find(0, at, high)
                stop = high if stop < 0 else stop
                begin, finish = max(start, (base + at) * PAGE), min(end, (base + stop) * PAGE)
                yield begin, finish, self._base + (rank - base - at) * PAGE + begin
                rank += stop - at
                at = mask.find(1, stop, high)
            i += 1


def _memory_size(space: bytes) -> int:
    head = vmdump.SPACE.unpack(space)
    ranges = vmdump.RANGE.array(space, vmdump.SPACE.size, min(head.range_count, vmdump.RANGES_MOST))
    highest = max((one.last for one in ranges), default=0)
    return int(highest + 1 if highest else head.storage)


def _registers(file: ByteFile, at: int) -> list[Registers]:
    """The processors in the information record at ``at``; raises UnsupportedError if it has an old format."""
    info = vmdump.INFO.unpack(read_exactly(file, at, vmdump.INFO.size))
    if info.format != vmdump.FORMAT_64BIG:
        raise UnsupportedError(
            f"a VMDUMP file of another format: {vmdump.FORMATS_OLD.get(info.format, 'unknown')}", file=file.name,
            expected="64big", found=info.format,
        )  # fmt: skip
    count = min(info.others, _CPUS_MOST - 1)
    data = read_exactly(file, at + vmdump.INFO.size, count * vmdump.OTHER.size) if count else b""
    return [registers(info), *map(registers, vmdump.OTHER.array(data, 0, count))]


def _probe(start: bytes) -> bool:
    return start.startswith(vmdump.MAGIC) and start[vmdump.SYMPTOM.offset("kind") :].startswith(vmdump.KIND)


FORMAT = InputFormat("vmdump", "VMDUMP file", 58, _probe, VmdumpSource)
