"""VMDUMP files of z/VM guests, in the format of 64-bit machines (64big).

See :mod:`vmsieve.formats.layouts.vmdump`. Pages of zeros are not stored. Where a page is follows from how many are
stored before it, which is counted once, for each 4096 pages.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from vmsieve.formats.errors import CorruptError, TruncatedError, UnsupportedError
from vmsieve.formats.extents import Extents
from vmsieve.formats.files import read_exactly
from vmsieve.formats.inputs import InputFormat
from vmsieve.formats.inputs._zero_filled import PAGE, FilledSource
from vmsieve.formats.inputs._s390 import Registers, complete, notes
from vmsieve.formats.inputs._s390_header import moment
from vmsieve.formats.layouts import s390, vmdump

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmsieve.formats.files import ByteFile

__all__ = ["FORMAT", "VmdumpSource"]

#: Most processors that are looked at: what z/VM gives a guest is 64.
_CPUS_MOST: Final = 512
_NUMBERS: Final = ("prefix", "fpc", "timer", "clock_comparator")
#: The lowest bit of each byte.
_LOWEST: Final = bytes(range(2)) * 128


class VmdumpSource(FilledSource):
    """An open VMDUMP file."""

    def __init__(self, file: ByteFile) -> None:
        """Read the records and count the pages.

        Raises:
            FormatError: They can't be used.
        """
        symptom = read_exactly(file, 0, vmdump.RECORD)
        magic, info, access = struct.unpack_from(vmdump.MAP, read_exactly(file, vmdump.RECORD, vmdump.RECORD))
        if magic != vmdump.MAP_MAGIC or info < 1 or access < 1:
            raise CorruptError("the file map record is damaged", file=file.name, offset=vmdump.RECORD)
        registers = _registers(file, (info - 1) * vmdump.RECORD)
        space = read_exactly(file, access * vmdump.RECORD, vmdump.RECORD)
        if not space.startswith(vmdump.SPACE_MAGIC):
            raise CorruptError(
                "the record of the address space is damaged", file=file.name, offset=access * vmdump.RECORD
            )
        super().__init__(file, "VMDUMP, 64big", _memory_size(space))
        model, serial, _, tod = struct.unpack_from(vmdump.SYMPTOM, symptom)
        if tod:
            self.crash_time = s390.microseconds(tod) // 1_000_000
            self.header["dump_created"] = moment(tod)
        self.header["cpu_model"] = f"{model:08x}, serial number {serial.hex()}"
        self.header["node"] = _text(symptom, vmdump.NODE)
        self.header["cpus_online"] = len(registers)
        self._groups, self._keys, self._ranks = array("L"), array("Q"), array("Q")
        self._known = (-1, b"")
        self._base = self._count((access + 1) * vmdump.RECORD)
        self.header["pages"] = self._stored_pages
        self.notes = notes(registers, None)
        self._hold_pages()

    def _count(self, at: int) -> int:
        """Go through the bitmaps at ``at``; returns where the pages begin."""
        total, first, self._stored_pages = -(-self._end // PAGE), 0, 0
        while first < total:
            index = self._bitmap(at)
            at += vmdump.RECORD
            bits = int.from_bytes(index, "big")
            while bits:
                group = vmdump.INDEX_BITS - bits.bit_length()
                bits &= (1 << vmdump.INDEX_BITS - 1 - group) - 1
                pages = total - first - group * vmdump.KEYS
                if pages <= 0:
                    raise CorruptError("the bitmaps tell of more memory than there is", file=self.file.name, offset=at)
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

    def _hold_pages(self) -> None:
        there = max(self.file.size - self._base, 0) // PAGE
        if there >= self._stored_pages:
            self.hold(Extents(), self._end)
            return
        self.oddities.append(f"the file is cut off: {self._stored_pages - there} pages are missing")
        i = max(bisect_left(self._ranks, there + 1) - 1, 0)
        mask, page = self._mask(i), -1
        for _ in range(there - self._ranks[i] + 1):
            page = mask.index(1, page + 1)
        self.hold(Extents(), (self._groups[i] * vmdump.KEYS + page) * PAGE)

    def _mask(self, i: int) -> bytes:
        """A byte for each page of row ``i`` of the table: 1 if it is stored. The last one is remembered."""
        known, mask = self._known
        if known != i:
            mask = read_exactly(self.file, self._keys[i], vmdump.RECORD).translate(_LOWEST)
            self._known = (i, mask)
        return mask

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
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
    count = min(_number(space, vmdump.RANGES), vmdump.RANGES_MOST)
    ends = [
        struct.unpack_from(vmdump.RANGE, space, vmdump.RANGES_AT + i * struct.calcsize(vmdump.RANGE))[1]
        for i in range(count)
    ]
    highest: int = max(ends, default=0)
    return highest + 1 if highest else _number(space, vmdump.STORAGE)


def _number(data: bytes, place: tuple[int, int]) -> int:
    return int.from_bytes(data[place[0] : sum(place)], "big")


def _text(data: bytes, place: tuple[int, int]) -> str:
    return data[place[0] : sum(place)].decode("cp037").strip("\0 ")


def _registers(file: ByteFile, at: int) -> list[Registers]:
    """The processors that the information record tells of.

    Raises:
        UnsupportedError: It is of an old format.
    """
    info = read_exactly(file, at, vmdump.INFO_SIZE)
    kind = info[vmdump.FORMAT_AT]
    if kind != vmdump.FORMAT_64BIG:
        raise UnsupportedError(
            f"a VMDUMP file of another format: {vmdump.FORMATS_OLD.get(kind, 'unknown')}", file=file.name,
            expected="64big", found=kind,
        )  # fmt: skip
    others = min(_number(info, vmdump.OTHERS), _CPUS_MOST - 1)
    data = read_exactly(file, at + vmdump.INFO_SIZE, others * vmdump.OTHER_SIZE) if others else b""
    parts = [data[i : i + vmdump.OTHER_SIZE] for i in range(0, len(data), vmdump.OTHER_SIZE)]
    return [_cpu(info, vmdump.INFO), *(_cpu(part, vmdump.OTHER) for part in parts)]


def _cpu(data: bytes, places: Mapping[str, tuple[int, int]]) -> Registers:
    fields: dict[str, object] = {
        name: _number(data, place) if name in _NUMBERS else data[place[0] : sum(place)]
        for name, place in places.items()
    }
    return Registers(**fields)  # type: ignore[arg-type]


def _open(file: ByteFile) -> VmdumpSource:
    source = VmdumpSource(file)
    complete(source)
    return source


def _probe(start: bytes) -> bool:
    return start.startswith(vmdump.MAGIC) and start[vmdump.KIND_AT :].startswith(vmdump.KIND)


FORMAT = InputFormat("vmdump", "VMDUMP file", 58, _probe, _open)
