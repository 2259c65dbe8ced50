"""LKCD dumps of s390x, version 8, from the time before kdump: vmconvert's and the old zfcpdump's.

See :mod:`vmsieve.formats.layouts.lkcd`. Pages come in any order, as they are, run-length encoded or as zlib streams. A
page that has no record reads as zeros, as zgetdump has it: the writers left out what was zero, and holes. Known faults
of writers: vmconvert stores the last page twice instead of an end mark; zfcpdump's mark has its fields mixed up.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from vmsieve.formats.bitmap import address_of
from vmsieve.formats.codecs import codec, codec_number
from vmsieve.formats.errors import ReadError, TruncatedError, UnsupportedError
from vmsieve.formats.files import read_exactly
from vmsieve.formats.inputs import InputFormat
from vmsieve.formats.inputs._zero_filled import ADDRESS_END, PAGE, FilledSource
from vmsieve.formats.inputs._lkcd_records import PLACE_BITS, Walk, full_size
from vmsieve.formats.inputs._s390 import complete
from vmsieve.formats.loops.pack import unpack_pages
from vmsieve.formats.loops.page_records import RUN_PAGES, expand_rle, plan_records
from vmsieve.formats.layouts import lkcd

if TYPE_CHECKING:
    from vmsieve.formats.codecs import State
    from vmsieve.formats.files import ByteFile

__all__ = ["FORMAT", "LkcdSource"]

_MAGIC: Final = struct.pack(">Q", lkcd.MAGIC)
_WITHIN: Final = (1 << PLACE_BITS) - 1
#: Bytes that a run takes in the file at the most.
_RUN_BYTES: Final = RUN_PAGES * (lkcd.RECORD_SIZE + 2 * PAGE)


class LkcdSource(FilledSource):
    """An open LKCD dump."""

    def __init__(self, file: ByteFile) -> None:
        """Read the header and look through all records.

        Raises:
            FormatError: They can't be used.
        """
        if file.size < lkcd.DATA_AT:
            raise TruncatedError("the file ends within the dump's header", file=file.name, expected=lkcd.DATA_AT)
        head = read_exactly(file, 0, lkcd.HEADER_SIZE)
        _, version, size, level, page_size, memory_size, _, memory_end, _ = struct.unpack_from(lkcd.HEADER, head)
        names = tuple(_name(head, i) for i in range(lkcd.UTSNAME_COUNT))
        self._method, _, _ = struct.unpack_from(lkcd.METHOD, head, lkcd.METHOD_AT)
        _check(file, names[4], page_size, self._method)
        end = memory_end or memory_size
        walk = Walk(file)
        if self._method == lkcd.NONE and PAGE <= end < ADDRESS_END and file.size == full_size(end):
            walk.full(end)
        else:
            walk.all()
        super().__init__(file, f"LKCD, version {version}", max(end, walk.highest))
        self._runs, data = walk.runs, walk.data
        self.compressed = True  # or as good as: pages are not aligned, and each is read by itself
        self.utsname = names
        seconds, _ = struct.unpack_from(lkcd.TIME, head, lkcd.TIME_AT)
        self.crash_time = seconds if 0 < seconds < 1 << 40 else None
        self.header = {
            "version": version, "level": level, "method": lkcd.METHODS[self._method], "pages": walk.records,
            "pages_taken_as_zeros": self.end() // PAGE - (sum(data.ends) - sum(data.starts)) // PAGE,
        }  # fmt: skip
        self.prefixes = self._prefixes(size)
        self._idle: list[State] = []
        self._which = codec_number("zlib")
        if walk.problem:
            self.incomplete = True
            self.oddities.append(walk.problem)
        if data.repeated:
            self.oddities.append(f"{data.repeated // PAGE} pages are stored more than once; the first ones hold")
        self.hold(data, walk.highest if walk.problem else self.end())

    def _prefixes(self, at: int) -> tuple[int, ...]:
        """What the machine's own header tells; nothing where it is missing."""
        if not 0 < at <= lkcd.DATA_AT - lkcd.MACHINE_SIZE - 4 * lkcd.CPUS_MOST:
            return ()
        data = read_exactly(self.file, at, lkcd.MACHINE_SIZE + 4 * lkcd.CPUS_MOST)
        magic, _, _, count, real = struct.unpack_from(lkcd.MACHINE, data)
        if magic != lkcd.MACHINE_MAGIC:
            self.oddities.append("there is no header of the machine: no registers")
            return ()
        self.header.update(cpus_online=count, cpus_real=real)
        return struct.unpack_from(f">{min(count, lkcd.CPUS_MOST)}I", data, lkcd.MACHINE_SIZE)

    def map_at(self, address: int, paddr: int, size: int) -> bool:  # noqa: ARG002 - no page is aligned
        """See :class:`Source`."""
        return False

    def _read_piece(self, place: int, paddr: int, out: memoryview) -> None:
        at, end = paddr, paddr + len(out)
        while at < end:
            here = place + at - paddr
            within = here % PAGE
            part = out[at - paddr : min(end - paddr, at - paddr + (1 << PLACE_BITS) - (here & _WITHIN))]
            if within or len(part) < PAGE:
                page = bytearray(PAGE)
                part = part[: PAGE - within]
                self._unpack(here - within, at - within, memoryview(page))
                part[:] = page[within : within + len(part)]
            else:
                part = part[: len(part) // PAGE * PAGE]
                self._unpack(here, at, part)
            at += len(part)

    def _unpack(self, place: int, paddr: int, out: memoryview) -> None:
        """Fill ``out`` with whole pages of one run."""
        number, skip, count = place >> PLACE_BITS, (place & _WITHIN) // PAGE, len(out) // PAGE
        start = self._runs[number]
        packed = bytearray(min(self._runs[number + 1] - start, _RUN_BYTES))
        got = self.file.read_into(start, memoryview(packed))
        table = bytearray(count * 16)
        places = address_of(packed), address_of(table), address_of(out)
        good = plan_records(places[0], got, skip, count, paddr, places[1])
        if good:
            good = self._expand(good, *places)
        if good < count:
            raise ReadError("the page's data are damaged", file=self.file.name, offset=paddr + good * PAGE)

    def _expand(self, count: int, packed: int, table: int, out: int) -> int:
        if self._method == lkcd.RLE:
            return expand_rle(count, table, packed, PAGE, out)
        try:
            state = self._idle.pop()
        except IndexError:
            state = codec("zlib").open_decompressor(PAGE)
        try:
            return unpack_pages(self._which, state.address, count, table, packed, PAGE, out)
        finally:
            self._idle.append(state)

    def close(self) -> None:
        """See :class:`Source`."""
        while self._idle:
            self._idle.pop().close()
        super().close()


def _name(head: bytes, i: int) -> str:
    at = lkcd.UTSNAME_AT + i * lkcd.UTSNAME_SIZE
    return head[at : at + lkcd.UTSNAME_SIZE].partition(b"\0")[0].decode("ascii", "replace")


def _check(file: ByteFile, machine: str, page_size: int, method: int) -> None:
    if machine != "s390x":
        raise UnsupportedError(
            "an LKCD dump of a machine that is unknown here", file=file.name, expected="s390x", found=machine or "none"
        )
    if page_size != PAGE:
        raise UnsupportedError("pages of s390x have one size", file=file.name, expected=PAGE, found=page_size)
    if method not in lkcd.METHODS:
        raise UnsupportedError("pages are packed by a method that is unknown here", file=file.name, found=method)


def _open(file: ByteFile) -> LkcdSource:
    source = LkcdSource(file)
    complete(source, source.prefixes)
    return source


def _probe(start: bytes) -> bool:
    return start.startswith(_MAGIC)


FORMAT = InputFormat("lkcd", "LKCD dump", 56, _probe, _open)
